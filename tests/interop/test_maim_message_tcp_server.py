"""Our client and router against maim_message's MessageServer in mode tcp."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from maim_trio import MessageClient, RouteConfig, Router, TargetConfig
from tests.interop.legacy import TOKEN, WRONG_TOKEN, Heard, message, one_of_each_kind
from tests.interop.peer_process import PATIENCE
from tests.interop.versions import only_versions

if TYPE_CHECKING:
    from tests.interop.peer_process import PeerProcess

pytestmark = only_versions("0.6.8", "0.6.0")

HURRY = {"reconnect_delay": 0.1, "max_reconnect_delay": 0.5}


@pytest.fixture
async def server(maim_message, start_peer) -> PeerProcess:
    """The peer's server, which wants a token."""
    peer = await start_peer("maim_message's tcp server", maim_message, "maim_message_tcp_server.py")
    await peer.do("start", port=0, tokens=[TOKEN])
    return peer


async def url_of(server: PeerProcess, scheme: str = "tcp") -> str:
    return f"{scheme}://127.0.0.1:{(await server.expect('listening'))['port']}"


async def registered(server: PeerProcess, *names: str) -> None:
    """Waits until these platforms are there, and no others."""
    with trio.fail_after(PATIENCE):
        while True:
            await server.do("platforms")
            if (await server.expect("platforms"))["names"] == sorted(names):
                return
            await trio.sleep(0.05)


@pytest.mark.parametrize("scheme", ["tcp", "tcps"])
async def test_messages_of_every_kind_travel_both_ways_unchanged(server, scheme):
    heard = Heard()
    async with MessageClient(mode="tcp") as client:
        client.register_message_handler(heard)
        assert await client.connect(await url_of(server, scheme), "qq", TOKEN)
        await registered(server, "qq")
        for payload in one_of_each_kind():
            assert await client.send_message(payload) is True
            assert (await server.expect("message"))["message"] == payload
            await server.do("send", platform="qq", message=payload)
            assert (await server.expect("sent"))["accepted"] is True
            assert await heard.get_one() == payload
    await registered(server)
    await server.stop()


async def test_custom_messages_travel_both_ways(server):
    heard = Heard()
    async with MessageClient() as client:
        client.register_custom_message_handler("poke", heard)
        assert await client.connect(await url_of(server), "qq", TOKEN)
        assert await client.send_custom_message("poke", {"times": 3})
        got = (await server.expect("custom"))["message"]
        assert (got["platform"], got["message_type_name"], got["content"]) == ("qq", "poke", {"times": 3})
        await server.do("custom", platform="qq", type="poke", content={"back": True})
        assert (await heard.get_one())["content"] == {"back": True}
    await server.stop()


@pytest.mark.parametrize("token", [WRONG_TOKEN, None])
async def test_a_refused_token_is_told_by_connect(server, token):
    async with MessageClient() as client:
        assert await client.connect(await url_of(server), "qq", token) is False
        assert "it does not let this client in" in client.get_last_error()
        assert ("sends no token" in client.get_last_error()) is (token is None)
        assert not client.is_connected()
    await registered(server)
    await server.stop()


async def test_a_burst_arrives_whole_and_in_order(server):
    async with MessageClient() as client:
        assert await client.connect(await url_of(server), "qq", TOKEN)
        texts = [f"{number}" for number in range(200)]
        for text in texts:
            assert await client.send_message(message(text))
        got = [(await server.expect("message"))["message"]["message_segment"]["data"] for _ in texts]
    assert got == texts
    await server.stop()


async def test_our_heartbeats_are_answered(server):
    async with MessageClient() as client:
        assert await client.connect(await url_of(server), "qq", TOKEN)
        assert await client._keeper.connection.link.ping(PATIENCE) < PATIENCE
    await server.stop()


async def test_a_restart_of_the_server_loses_nothing_that_was_sent_meanwhile(server):
    heard = Heard()
    async with MessageClient(**HURRY) as client:
        client.register_message_handler(heard)
        assert await client.connect(await url_of(server), "qq", TOKEN)
        for number in range(3):
            await server.do("restart")
            await server.expect("listening")
            assert await client.connect(client._keeper.target.url, "qq", TOKEN)
            assert await client.send_message(message(f"after restart {number}"))
            got = (await server.expect("message"))["message"]
            assert got["message_segment"]["data"] == f"after restart {number}"
            await server.do("send", platform="qq", message=message(number).to_dict())
            assert (await heard.get_one())["message_segment"]["data"] == number
    await server.stop()


async def test_a_router_has_a_connection_for_each_platform(server):
    heard, url = Heard(), await url_of(server)
    platforms = ["qq", "wechat"]
    async with Router(RouteConfig({name: TargetConfig(url, TOKEN) for name in platforms}), **HURRY) as router:
        router.register_class_handler(heard)
        await registered(server, *platforms)
        for platform in platforms:
            payload = message("to you", platform=platform)
            assert await router.send_message(payload)
            assert (await server.expect("message"))["message"] == payload.to_dict()
            await server.do("send", platform=platform, message=payload.to_dict())
            assert await heard.get_one() == payload.to_dict()
        await router.remove_platform("qq")
        await registered(server, "wechat")
    await server.stop()
