"""Our legacy client and router against maim_message's MessageServer, as its users run it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from maim_trio import MessageClient, RouteConfig, Router, TargetConfig
from tests.interop.legacy import TOKEN, WRONG_TOKEN, Heard, one_of_each_kind, parsed, text, until
from tests.interop.versions import only_versions

if TYPE_CHECKING:
    from tests.interop.peer_process import PeerProcess

VERSIONS = only_versions("0.6.8", "0.6.0")
SOON = {"reconnect_delay": 0.1, "max_reconnect_delay": 0.5}


@pytest.fixture
async def server(maim_message, start_peer) -> PeerProcess:
    return await start_peer("maim_message's legacy server", maim_message, "legacy_server.py")


@pytest.fixture
async def client(nursery):
    """A client of ours, not yet connected; its handlers' calls are in `client.heard` and `client.poked`."""
    client = MessageClient(**SOON)
    client.heard, client.poked = Heard(), Heard()
    client.register_message_handler(client.heard)
    client.register_custom_message_handler("poke", client.poked)
    await client.start(nursery)
    yield client
    await client.stop()


async def listening_at(server, *tokens):
    await server.do("start", port=0, tokens=tokens)
    return f"ws://127.0.0.1:{(await server.expect('listening'))['port']}/ws"


@VERSIONS
async def test_messages_of_every_kind_travel_both_ways_unchanged(server, client):
    assert await client.connect(await listening_at(server, TOKEN), "qq", TOKEN) is True
    for message in one_of_each_kind():
        assert await client.send_message(message) is True
        assert (await server.expect("message"))["message"] == message
        await server.do("send", message=message)
        assert await client.heard.get_one() == message
        assert (await server.expect("sent"))["ok"] is True
    assert await client.send_message(parsed(text("as a MessageBase"))) is True
    assert (await server.expect("message"))["message"] == text("as a MessageBase")
    await server.stop()


@VERSIONS
async def test_custom_messages_travel_both_ways(server, client):
    assert await client.connect(await listening_at(server), "qq")
    assert await client.send_custom_message("poke", {"target": 10001}) is True
    heard = (await server.expect("custom"))["message"]
    assert (heard["platform"], heard["message_type_name"], heard["content"]) == ("qq", "poke", {"target": 10001})
    await server.do("custom", platform="qq", type="poke", content={"back": 1})
    assert (await client.poked.get_one())["content"] == {"back": 1}
    await server.do("broadcast", message=text("to all"))
    assert await client.heard.get_one() == text("to all")
    await server.stop()


@VERSIONS
async def test_a_wrong_token_is_found_out_although_the_upgrade_was_accepted(server, client):
    url = await listening_at(server, TOKEN)
    for token in (WRONG_TOKEN, None):
        assert await client.connect(url, "qq", token) is False
        assert "1008" in client.get_last_error()
        assert "无效的令牌" in client.get_last_error()
        assert not client.is_connected()
    assert await client.send_message(text("kept until the token is right")) is True
    assert await client.connect(url, "qq", TOKEN) is True
    assert (await server.expect("message"))["message"] == text("kept until the token is right")
    await server.stop()


@VERSIONS
async def test_it_comes_back_after_a_restart_of_the_server_with_what_was_sent_meanwhile(server, client):
    assert await client.connect(await listening_at(server), "qq")
    await server.do("restart")
    await until(lambda: not client.is_connected())
    for number in range(20):
        assert await client.send_message(text(f"{number}")) is True
    await server.expect("listening")
    heard = [(await server.expect("message"))["message"]["message_segment"]["data"] for _ in range(20)]
    assert heard == [f"{number}" for number in range(20)]
    await until(client.is_connected)
    await server.stop()


@only_versions("0.6.8")
async def test_the_newer_of_two_clients_of_ours_stays(server, client, nursery):
    url = await listening_at(server)
    newer = MessageClient(**SOON)
    newer.register_message_handler(heard := Heard())
    await newer.start(nursery)
    assert await client.connect(url, "qq")
    assert await newer.connect(url, "qq")
    await until(lambda: not client.is_connected())
    assert "replaced by a newer connection of the same platform" in client.get_last_error()
    await client.stop()
    await server.do("send", message=text("for the newer"))
    assert await heard.get_one() == text("for the newer")
    await newer.stop()
    await server.stop()


@VERSIONS
async def test_a_router_of_ours_connects_all_its_platforms(server, nursery):
    url = await listening_at(server, TOKEN)
    router = Router(RouteConfig({name: TargetConfig(url, TOKEN) for name in ("qq", "wechat")}), **SOON)
    router.register_class_handler(heard := Heard())
    async with router:
        for name in ("qq", "wechat"):
            assert await router.connect(name) is True
            assert await router.send_message(parsed(text(f"from {name}", platform=name)))
            assert (await server.expect("message"))["message"] == text(f"from {name}", platform=name)
        await server.do("send", message=text("for wechat", platform="wechat"))
        assert await heard.get_one() == text("for wechat", platform="wechat")
        await router.update_config({"route_config": {"telegram": {"url": url, "token": TOKEN}}})
        assert await router.connect("telegram") is True
        await server.expect("platforms", platforms=["telegram"])
    await server.stop()
