"""What the legacy server, client and router do."""

from __future__ import annotations

from collections import defaultdict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio

from maim_trio import MessageClient, MessageServer, RouteConfig, Router, TargetConfig
from maim_trio.errors import ConfigError
from tests.checklist.behaviour import real_sockets
from tests.checklist.world import settle
from tests.legacy.memory import (
    TOKEN,
    URL,
    Heard,
    MemoryMessageClient,
    MemoryMessageServer,
    MemoryRouter,
    joined,
    routes,
    text,
)
from tests.memory import Network

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def _networks(network: Network) -> dict[str, Network]:
    return defaultdict(Network, memory=network)


@asynccontextmanager
async def _talking(**settings: Any) -> AsyncIterator[tuple[MemoryMessageServer, MemoryMessageClient]]:
    """A server, and a client that is its platform ``qq``; neither has a handler."""
    network = Network()
    async with MemoryMessageServer(network, **settings) as server, MemoryMessageClient(network) as client:
        assert await client.connect(URL, "qq")
        yield server, client


def a_legacy_server_checks_its_arguments() -> None:
    server = MessageServer("127.0.0.1", 1234)
    assert (server.host, server.port, server.mode) == ("127.0.0.1", 1234, "ws")
    for arguments in ({"port": -1}, {"app": object()}, {"path": "ws"}, {"inbox_size": "many"}):
        with pytest.raises(ConfigError, match=next(iter(arguments))):
            MessageServer(**arguments)


async def a_legacy_client_checks_its_arguments() -> None:
    with pytest.raises(ConfigError, match="reconnect_delay"):
        MessageClient(reconnect_delay=-1)
    client = MessageClient()
    for arguments in (("http://x", "qq"), (URL, ""), (URL, "qq", 5)):
        with pytest.raises(ConfigError, match="connect: "):
            await client.connect(*arguments)


def a_router_checks_its_configuration() -> None:
    with pytest.raises(ConfigError, match="platform 'qq': url"):
        Router(RouteConfig({"qq": TargetConfig("nonsense")}))
    with pytest.raises(ConfigError, match="takes a RouteConfig"):
        Router({})


async def the_legacy_half_has_the_life_cycle_of_all() -> None:
    network = Network()
    client = MemoryMessageClient(network)
    await client.connect(URL, "qq")
    router = MemoryRouter(_networks(network), routes(wechat=None))
    for service in (MemoryMessageServer(network), client, router):
        assert not service.is_running()
        async with trio.open_nursery() as nursery:
            await service.start(nursery)
            assert service.is_running()
            await service.stop()
            assert not service.is_running()
            assert await nursery.start(service.run) is service
            await service.stop()
        async with service as entered:
            assert entered is service
            assert service.is_running()
        assert not service.is_running()


async def legacy_messages_reach_the_handlers_of_their_kind() -> None:
    async with _talking() as (server, client):
        for side in (server, client):
            standard, poked = Heard(), Heard()
            side.register_message_handler(standard)
            side.register_custom_message_handler("poke", poked)
            assert side.message_handlers == [standard]
            assert side.custom_message_handlers == {"poke": [poked]}
            other = client if side is server else server
            await other.send_message(text("over the wire"))
            to = () if other is client else ("qq",)
            await other.send_custom_message(*to, "poke", {"a": 1})
            await settle()
            await side.process_message(text("by hand").to_dict())
            assert standard.words == ["over the wire", "by hand"]
            assert [message["content"] for message in poked] == [{"a": 1}]
            stats = side.get_stats()
            assert (stats["messages_processed"], stats["custom_messages_processed"]) == (2, 1)


async def a_legacy_server_sends_to_platforms() -> None:
    network = Network()
    async with MemoryMessageServer(network) as server:
        qq, nameless = await joined(network, "qq"), await joined(network, "")
        await settle()
        assert server.get_platforms() == {"qq"}
        assert await server.send_message(text("one")) is True
        assert await server.broadcast_to_platform("qq", text("two").to_dict()) is True
        assert await server.send_custom_message("qq", "poke", {"a": 1}) is True
        await server.broadcast_message(text("all").to_dict())
        assert [await qq.hear_text(), await qq.hear_text()] == ["one", "two"]
        assert (await qq.hear())["content"] == {"a": 1}
        assert await qq.hear_text() == await nameless.hear_text() == "all"
        assert await server.send_message(text(platform="nobody")) is False


async def legacy_tokens_are_checked() -> None:
    network = Network()
    async with MemoryMessageServer(network, enable_token=True) as server, MemoryMessageClient(network) as client:
        assert await server.verify_token(TOKEN) is False
        assert await client.connect(URL, "qq", TOKEN) is False
        assert "this token is not valid" in (client.get_last_error() or "")
        server.add_valid_token(TOKEN)
        assert await server.verify_token(TOKEN) is True
        assert await client.connect(URL, "qq", TOKEN) is True
        assert client.get_last_error() is None
        server.remove_valid_token(TOKEN)
        assert await server.verify_token(TOKEN) is False


@real_sockets
async def a_legacy_server_runs_by_itself() -> None:
    server = MessageServer("127.0.0.1", 0)
    async with trio.open_nursery() as nursery:
        await server.start(nursery)
        await server.start_server()  # returns at once: it runs already
        await server.stop()

    class Counted(MessageServer):
        async def run(self, **_options: Any) -> None:
            async with trio.open_nursery() as nursery:
                await nursery.start(super().run)
                assert self.is_running()
                await self.stop()

    await trio.to_thread.run_sync(Counted("127.0.0.1", 0).run_sync)


async def a_legacy_client_connects_and_sends() -> None:
    async with _talking() as (server, client):
        assert client.is_connected()
        assert client.platform == "qq"
        heard, poked = Heard(), Heard()
        server.register_message_handler(heard)
        server.register_custom_message_handler("poke", poked)
        assert await client.send_message(text("one")) is True
        assert await client.send_message(text("two").to_dict()) is True
        assert await client.send_custom_message("poke", {"a": 1}) is True
        await settle()
        assert sorted(heard.words) == ["one", "two"]
        assert [(message["platform"], message["content"]) for message in poked] == [("qq", {"a": 1})]


async def a_legacy_client_keeps_what_it_cannot_send_yet() -> None:
    network = Network()
    heard = Heard()
    async with MemoryMessageClient(network, message_cache_max_size=2) as client:
        await client.connect(URL, "qq")
        assert [await client.send_message(text(number)) for number in range(3)] == [True, True, False]
        server = MemoryMessageServer(network)
        server.register_message_handler(heard)
        async with server:
            await trio.sleep(60)
            await settle()
    assert sorted(heard.words) == [0, 1]


async def the_newer_connection_of_a_platform_stays() -> None:
    network = Network()
    async with MemoryMessageServer(network) as server:
        older, newer = await joined(network), await joined(network)
        assert await older.closed() == (1000, "新的连接已建立")
        await older.aclose()
        await settle()
        assert await server.send_message(text("hi"))
        assert await newer.hear_text() == "hi"


async def a_router_follows_its_configuration() -> None:
    network = Network()
    router = MemoryRouter(_networks(network), routes(qq=None))
    async with MemoryMessageServer(network) as server, router:
        assert await router.connect("qq") is True
        assert router.check_connection("qq")
        assert router.get_last_error("qq") is None
        await router.add_platform("wechat", TargetConfig(URL))
        assert await router.connect("wechat") is True
        await router.remove_platform("qq")
        assert not router.check_connection("qq")
        await router.update_config({"route_config": {"telegram": {"url": URL}}})
        assert await router.connect("telegram") is True
        await settle()
        assert server.get_platforms() == {"telegram"} == set(router.config.route_config)


async def a_router_routes_by_platform() -> None:
    network = Network()
    router = MemoryRouter(_networks(network), routes(qq=None, wechat=None))
    heard, poked, also = Heard(), Heard(), Heard()
    router.register_class_handler(heard)
    router.register_message_handler(also.append)
    router.register_custom_message_handler("poke", poked)
    assert router.handlers == [heard, also.append]
    assert router.custom_message_handlers == {"poke": [poked]}
    assert router.get_target_url(text(platform="qq")) == URL
    assert router.get_target_url(text(platform="nobody")) is None
    async with MemoryMessageServer(network) as server, router:
        server.register_message_handler(arrived := Heard())
        server.register_custom_message_handler("poke", arrived)
        await settle()
        assert set(router.clients) == {"qq", "wechat"} == set(router.get_stats())
        assert await router.send_message(text(platform="wechat")) is True
        assert await router.send_custom_message("qq", "poke", {}) is True
        await server.send_message(text("back", platform="qq"))
        await server.send_custom_message("wechat", "poke", {})
        await settle()
        assert len(arrived) == 2
        assert heard.words == also.words == ["back"]
        assert len(poked) == 1
        with pytest.raises(ValueError, match="there is no platform"):
            await router.send_message(text(platform="nobody"))
    router.unregister_message_handler("poke", poked)
    assert router.custom_message_handlers == {}


def routes_are_plain_dicts_and_back() -> None:
    plain = {"route_config": {"qq": {"url": URL, "token": TOKEN, "ssl_verify": None}}}
    config = RouteConfig.from_dict(plain)
    assert config.route_config["qq"] == TargetConfig.from_dict({"url": URL, "token": TOKEN})
    assert config.to_dict() == plain
    assert TargetConfig(URL, TOKEN).to_dict() == plain["route_config"]["qq"]
    assert TOKEN not in repr(config)
