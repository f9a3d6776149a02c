"""Who a server lets in, whom it tells about it, and what keeps people out."""

from __future__ import annotations

from typing import Any

import trio

from maim_trio.server import AuthResult
from tests.checklist.world import KEY, Recorder, content, linked, user_is_key
from tests.memory import Network, text_message
from tests.server.peer import Peer, joined, standard
from tests.transport.raw import request

# -- authentication


async def on_auth_decides_who_comes_in() -> None:
    for answer in (lambda metadata: metadata["api_key"] == KEY, _async_auth):
        network = Network()
        async with network.server(on_auth=answer) as server:
            async with network.client(KEY) as client, network.client("wrong_key") as stranger:
                assert await client.connect()
                assert not await stranger.connect()
                assert "401" in (stranger.get_last_error() or "")
            stats = server.get_stats()
            assert (stats["total_auth_requests"], stats["successful_auths"], stats["failed_auths"]) == (2, 1, 1)


async def _async_auth(metadata: dict[str, Any]) -> bool:
    await trio.sleep(1)
    return bool(metadata["api_key"] == KEY)


async def without_on_auth_everybody_comes_in() -> None:
    network = Network()
    async with network.server() as server:
        for key in ("one_key", "another_key"):
            await joined(network, key=key)
        assert len(server.get_user_connections("sys_default")) == 2


async def on_auth_may_return_an_auth_result() -> None:
    extract = Recorder("somebody_else")
    async with linked({"on_auth": lambda _: AuthResult(True, "alice"), "on_auth_extract_user": extract}) as (server, _):
        assert server.get_user_connections("alice")
        assert extract.calls == [], "the result has named the user"


async def an_auth_result_explains_a_refusal() -> None:
    network = Network()
    refusal = AuthResult(False, error_message="your key has expired")
    async with network.server(on_auth=lambda _: refusal), network.client() as client:
        assert not await client.connect()
        assert "your key has expired" in (client.get_last_error() or "")


async def authentication_is_concurrent() -> None:
    async def slow(_metadata: Any) -> bool:
        await trio.sleep(2)
        return True

    network = Network()
    async with network.server(on_auth=slow) as server:
        with trio.fail_after(2.5):
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(joined, network)
        assert server.get_connection_count() == 10


async def the_user_comes_from_extract_user() -> None:
    heard = Recorder()
    extract = {"on_auth_extract_user": lambda metadata: f"user_{metadata['api_key'].split('_')[1]}"}
    async with linked({**extract, "on_message": heard}, {"api_key": "test_7"}) as (server, client):
        assert server.get_user_connections("user_7") == {client.get_connection_uuid()}
        await client.send_message(text_message())
        _, metadata = await heard.wait()
        assert metadata["user_id"] == "user_7"


async def without_extract_user_there_is_a_user_per_key() -> None:
    network = Network()
    async with network.server(on_auth=lambda _: True) as server:
        for key in ("one_key", "one_key", "another_key"):
            await joined(network, key=key)
        assert (server.get_user_count(), server.get_connection_count()) == (2, 3)
        assert all(
            "key" not in info["user_id"] and info["user_id"].startswith("user_")
            for info in server.get_connections().values()
        )


async def extract_user_is_asked_for_each_outgoing_message() -> None:
    asked: list[dict[str, Any]] = []

    async def extract(metadata: dict[str, Any]) -> str:
        asked.append(metadata)
        return user_is_key(metadata)

    heard = Recorder()
    async with linked({"on_auth_extract_user": extract}, {"on_message": heard}) as (server, _client):
        await server.send_message(text_message("hi"))
        await heard.wait()
    connecting, outgoing = asked
    assert {"api_key", "platform", "headers"} <= set(connecting)
    assert "message_type" not in connecting
    assert (outgoing["api_key"], outgoing["platform"], outgoing["message_type"]) == (KEY, "default", "outgoing")
    assert outgoing["timestamp"] > 0


# -- coming and going


async def a_server_tells_who_comes_and_goes() -> None:
    came, went, network = Recorder(), Recorder(), Network()
    async with network.server(on_connect=came, on_disconnect=went) as server:
        peer = await joined(network, uuid="the-peer", platform="wechat")
        uuid, metadata = await came.wait()
        assert (uuid, metadata["platform"], server.get_connection_count()) == ("the-peer", "wechat", 1)
        await peer.close(1000, "bye")
        uuid, metadata = await went.wait()
        assert (uuid, metadata["close_code"], metadata["reason"]) == ("the-peer", 1000, "bye")
        assert server.get_connection_count() == 0


async def on_connect_comes_before_the_first_message() -> None:
    order: list[str] = []

    async def on_connect(_uuid: str, _metadata: Any) -> None:
        await trio.sleep(2)
        order.append("connected")

    network = Network()
    async with network.server(on_connect=on_connect, on_message=lambda *_: order.append("message")):
        peer = await joined(network)
        await peer.say(standard("m1"))
        await trio.sleep(5)
    assert order == ["connected", "message"]


async def a_connection_that_comes_back_is_resumed() -> None:
    came, network = Recorder(), Network()
    async with network.server(on_connect=came):
        first, _second = await joined(network, uuid="the-peer"), await joined(network, uuid="the-peer")
        assert (await first.closed())[0] == 4001
        await came.wait(2)
        assert [metadata["resumed"] for _, metadata in came.calls] == [False, True]


async def a_peer_cannot_claim_to_be_another() -> None:
    heard, network = Recorder(), Network()
    async with network.server(on_message=heard):
        peer = await joined(network, key="my_own_key", platform="wechat")
        claims = {"sender_user": "alice", "api_key": "her_key", "user_id": "alice", "platform": "qq", "extra": 1}
        await peer.say({**standard("m1"), "meta": claims})
        _, metadata = await heard.wait()
    assert (metadata["api_key"], metadata["platform"], metadata["user_id"]) == ("my_own_key", "wechat", "sys_default")
    assert metadata["meta"] == claims


async def secret_headers_are_left_out() -> None:
    came, network = Recorder(), Network()
    async with network.server(on_connect=came):
        await joined(network, b"Authorization: Bearer secret", b"Cookie: session=secret", b"X-Other: shown")
    _, metadata = came.calls[0]
    assert metadata["headers"]["x-other"] == "shown"
    assert not {"authorization", "cookie", "x-apikey"} & set(metadata["headers"])


async def the_user_agent_is_told() -> None:
    came, network = Recorder(), Network()
    async with network.server(on_connect=came):
        await joined(network, b"User-Agent: a browser")
        await joined(network)
    assert [metadata["user_agent"] for _, metadata in came.calls] == ["a browser", ""]


# -- external clients


async def an_external_client_comes_by_query() -> None:
    came, network = Recorder(), Network()
    async with network.server(on_connect=came):
        answer = await Peer(network.connect()).ask(request(target=b"/ws?api_key=your_key&platform=your_platform"))
        assert answer.status == 101
    _, metadata = came.calls[0]
    assert (metadata["api_key"], metadata["platform"]) == ("your_key", "your_platform")


async def an_external_client_comes_by_header() -> None:
    came, network = Recorder(), Network()
    async with network.server(on_connect=came):
        await joined(network, key="your_key", platform="your_platform")
    _, metadata = came.calls[0]
    assert (metadata["api_key"], metadata["platform"]) == ("your_key", "your_platform")


async def an_external_client_sends_the_bare_message() -> None:
    heard, network = Recorder(), Network()
    async with network.server(on_message=heard):
        peer = await joined(network)
        await peer.say(standard(text="bare")["payload"])
        message, _ = await heard.wait()
    assert content(message) == "bare"
