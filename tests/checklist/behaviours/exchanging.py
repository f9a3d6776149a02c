"""What a client sends, and how its messages are iterated over."""

from __future__ import annotations

import pytest

from maim_trio.errors import InvalidMessage, NotConnected
from tests.checklist.world import KEY, Recorder, content, linked
from tests.memory import Network, text_message


async def a_client_sends_a_message() -> None:
    heard = Recorder()
    async with linked({"on_message": heard}) as (_server, client):
        assert await client.send_message(text_message("hi", to="receiver", platform="wechat"))
        message, metadata = await heard.wait()
        assert message == text_message("hi", to="receiver", platform="wechat")
        assert metadata["api_key"] == KEY


async def a_client_sends_a_custom_message() -> None:
    heard = Recorder()
    async with linked({"custom_handlers": {"client_heartbeat": heard}}) as (_server, client):
        assert await client.send_custom_message("client_heartbeat", {"status": "active"})
        payload, metadata = await heard.wait()
        assert (payload, metadata["message_type"]) == ({"status": "active"}, "custom_client_heartbeat")


async def sending_without_connection_is_false() -> None:
    network = Network()
    client = network.client()
    for state in ("not started", "not connected", "stopped"):
        if state == "not connected":
            async with client:
                assert not await client.send_message(text_message()), state
                assert not await client.send_custom_message("ping", {}), state
        else:
            assert not await client.send_message(text_message()), state
            assert not await client.send_custom_message("ping", {}), state
        assert client.get_last_error(), state


async def a_client_refuses_what_is_no_message() -> None:
    async with linked() as (_server, client):
        for wrong in ({"no": "message"}, text_message({1, 2}), text_message(float("nan"))):
            with pytest.raises(InvalidMessage):
                await client.send_message(wrong)
        with pytest.raises(InvalidMessage):
            await client.send_custom_message("ping", {"a": {1, 2}})


async def messages_can_be_iterated() -> None:
    network, got = Network(), []
    async with network.server() as server, network.client() as client:
        messages = client.messages()
        await client.connect()
        for text in ("a", "b"):
            await server.send_message(text_message(text))
        async for message, metadata in messages:
            got.append((content(message), metadata["sender_user"]))
            if len(got) == 2:
                break
    assert got == [("a", "server"), ("b", "server")]


async def messages_have_one_reader() -> None:
    async with linked() as (_server, client):
        messages = client.messages()
        with pytest.raises(RuntimeError):
            client.messages()
        await messages.aclose()
        await client.messages().aclose()
    async with linked(client={"on_message": print}) as (_server, client):
        with pytest.raises(RuntimeError):
            client.messages()


async def iterating_ends_with_the_client() -> None:
    async with linked() as (server, client):
        messages = client.messages()
        await server.disconnect_user("sys_default")
        with pytest.raises(NotConnected):
            await anext(messages)
    async with linked() as (_server, client):
        messages = client.messages()
        await client.stop()
        with pytest.raises(StopAsyncIteration):
            await anext(messages)
