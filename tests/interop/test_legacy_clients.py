"""Our legacy server against maim_message's MessageClient and Router, as adapters run them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from maim_trio import MessageServer
from tests.interop.legacy import TOKEN, WRONG_TOKEN, Heard, one_of_each_kind, parsed, text, until
from tests.interop.versions import only_versions

if TYPE_CHECKING:
    from tests.interop.peer_process import PeerProcess

VERSIONS = only_versions("0.6.8", "0.6.0")


@pytest.fixture
async def server(nursery):
    """A server of ours that knows one token; its handlers' calls are in `server.heard` and `server.poked`."""
    server = MessageServer("127.0.0.1", 0, enable_token=True)
    server.add_valid_token(TOKEN)
    server.heard, server.poked = Heard(), Heard()
    server.register_message_handler(server.heard)
    server.register_custom_message_handler("poke", server.poked)
    await server.start(nursery)
    yield server
    await server.stop()


@pytest.fixture
async def peer(maim_message, start_peer) -> PeerProcess:
    return await start_peer("maim_message's legacy client", maim_message, "legacy_clients.py")


def url_of(server):
    return f"ws://127.0.0.1:{server.port}/ws"


async def connected(peer, server, platform="qq", token=TOKEN):
    await peer.do("client", url=url_of(server), platform=platform, token=token)
    await peer.expect("connected", platform=platform)


@VERSIONS
async def test_messages_of_every_kind_travel_both_ways_unchanged(server, peer):
    await connected(peer, server)
    for message in one_of_each_kind():
        await peer.do("send", message=message)
        assert (await peer.expect("sent"))["ok"] is True
        assert await server.heard.get_one() == message
        assert await server.send_message(parsed(message)) is True
        assert (await peer.expect("message"))["message"] == message
    await peer.stop()


@VERSIONS
async def test_custom_messages_travel_both_ways(server, peer):
    await connected(peer, server)
    await peer.do("custom", type="poke", content={"target": 10001})
    heard = await server.poked.get_one()
    assert (heard["platform"], heard["message_type_name"], heard["content"]) == ("qq", "poke", {"target": 10001})
    assert heard["is_custom_message"] is True
    assert await server.send_custom_message("qq", "poke", {"back": [1, None]}) is True
    heard = (await peer.expect("custom"))["message"]
    assert (heard["message_type_name"], heard["content"]) == ("poke", {"back": [1, None]})
    await server.broadcast_message(text("to all"))
    assert (await peer.expect("message"))["message"] == text("to all")
    await peer.stop()


@VERSIONS
async def test_a_burst_arrives_whole(server, peer):
    await connected(peer, server)
    for number in range(200):
        assert await server.send_message(parsed(text(f"{number}"))) is True
    heard = [(await peer.expect("message"))["message"]["message_segment"]["data"] for _ in range(200)]
    assert sorted(heard, key=int) == [f"{number}" for number in range(200)]
    await peer.stop()


@VERSIONS
async def test_a_wrong_token_is_understood_and_a_right_one_lets_it_in_later(server, peer):
    await peer.do("client", url=url_of(server), platform="qq", token=WRONG_TOKEN)
    await until(lambda: server.get_stats()["failed_auths"] >= 2)  # it tries again by itself
    assert server.get_platforms() == set()
    assert peer.unread("connected") == []
    server.add_valid_token(WRONG_TOKEN)
    await peer.expect("connected")
    await peer.do("send", message=text("in"))
    assert await server.heard.get_one() == text("in")
    await peer.stop()


@VERSIONS
async def test_it_comes_back_after_a_restart_of_the_server(server, peer, nursery):
    await connected(peer, server)
    port = server.port
    await server.stop()
    await peer.expect("disconnected")
    server.config.port = port
    await server.start(nursery)
    await peer.expect("connected")
    await until(lambda: server.get_platforms() == {"qq"})
    assert await server.send_message(parsed(text("welcome back")))
    assert (await peer.expect("message"))["message"] == text("welcome back")
    await peer.stop()


@only_versions("0.6.8")
async def test_the_newer_of_two_stays_and_the_older_leaves_it_alone(server, maim_message, start_peer):
    older = await start_peer("the older", maim_message, "legacy_clients.py")
    newer = await start_peer("the newer", maim_message, "legacy_clients.py")
    await connected(older, server)
    await connected(newer, server)
    await older.expect("disconnected")
    assert await server.send_message(parsed(text("for the newer")))
    assert (await newer.expect("message"))["message"] == text("for the newer")
    await older.stop()
    assert await server.send_message(parsed(text("still there")))
    assert (await newer.expect("message"))["message"] == text("still there")
    await newer.stop()


@VERSIONS
async def test_a_router_connects_all_its_platforms_and_follows_its_configuration(server, peer):
    routes = {name: {"url": url_of(server), "token": TOKEN} for name in ("qq", "wechat")}
    await peer.do("router", routes=routes)
    for name in routes:
        await peer.expect("connected", platform=name)
        assert await server.send_message(parsed(text(f"for {name}", platform=name)))
        assert (await peer.expect("message"))["message"] == text(f"for {name}", platform=name)
    await peer.do("send", message=text("from qq"))
    assert await server.heard.get_one() == text("from qq")
    await peer.do("custom", platform="wechat", type="poke", content={"a": 1})
    assert (await server.poked.get_one())["platform"] == "wechat"
    await peer.do("update", routes={"telegram": {"url": url_of(server), "token": TOKEN}})
    await peer.expect("connected", platform="telegram")
    await until(lambda: server.get_platforms() == {"telegram"})
    await peer.stop()
