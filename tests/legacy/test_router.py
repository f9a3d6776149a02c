"""The router: a connection for each platform, in step with its configuration."""

from __future__ import annotations

from collections import defaultdict

import pytest
import trio
import trio.testing

from maim_trio import RouteConfig, TargetConfig
from maim_trio.errors import ConfigError, InvalidMessage
from tests.legacy.memory import TOKEN, URL, Heard, MemoryMessageServer, MemoryRouter, routes, text
from tests.memory import Network

SETTLED = trio.testing.wait_all_tasks_blocked


@pytest.fixture
def networks(network):
    """By host. The tests that ask for none have the host ``memory``."""
    networks = defaultdict(Network)
    networks["memory"] = network
    return networks


@pytest.fixture
def router(networks):
    return MemoryRouter(networks, routes(qq=None, wechat=None))


async def test_all_platforms_are_connected_and_known_by_name(network, router):
    async with MemoryMessageServer(network) as server, router:
        await SETTLED()
        assert server.get_platforms() == {"qq", "wechat"} == set(router.clients)
        assert router.check_connection("qq")
        assert not router.check_connection("telegram")
    assert router.clients == {}
    assert not router.check_connection("qq")


@pytest.mark.parametrize("form", ["start", "run"])
async def test_the_other_forms_do_the_same(network, router, nursery, form):
    async with MemoryMessageServer(network) as server:
        if form == "start":
            await router.start(nursery)
        else:
            assert await nursery.start(router.run) is router
        await SETTLED()
        assert server.get_platforms() == {"qq", "wechat"}
        await router.stop()
        assert not router.is_running()
        await SETTLED()
        assert server.get_platforms() == set()


async def test_a_message_goes_over_the_connection_of_its_platform(network, router):
    heard, poked = Heard(), Heard()
    server = MemoryMessageServer(network)
    server.register_message_handler(heard)
    server.register_custom_message_handler("poke", poked)
    async with server, router:
        assert await router.connect("qq") is True
        assert await router.send_message(text("hi", platform="qq")) is True
        assert await router.send_custom_message("wechat", "poke", {"a": 1}) is True  # kept until it is connected
        await SETTLED()
    assert heard == [text("hi", platform="qq").to_dict()]
    assert [(message["platform"], message["content"]) for message in poked] == [("wechat", {"a": 1})]


async def test_what_comes_in_is_handled_whatever_the_platform(network, router):
    heard, poked = Heard(), Heard()
    router.register_class_handler(heard)
    router.register_message_handler(heard)  # the same thing
    router.register_custom_message_handler("poke", poked)
    async with MemoryMessageServer(network) as server, router:
        await SETTLED()
        await server.broadcast_message(text("to all").to_dict())
        await server.send_custom_message("qq", "poke", {})
        await SETTLED()
        assert heard.words == ["to all"] * 2
        assert len(poked) == 1
        late = Heard()
        router.register_class_handler(late)  # works for the connections that are there
        router.unregister_message_handler("poke", poked)
        await server.send_message(text("again", platform="qq"))
        await server.send_custom_message("qq", "poke", {})
        await SETTLED()
        assert late.words == ["again"]
        assert len(poked) == 1
        assert router.handlers == [heard, late]
        assert router.custom_message_handlers == {}


async def test_each_platform_has_its_own_token_and_its_own_trouble(network, networks):
    server = MemoryMessageServer(network, enable_token=True)
    server.add_valid_token(TOKEN)
    router = MemoryRouter(networks, routes(qq=TOKEN, wechat="wrong-token-987654"))
    async with server, router:
        assert await router.connect("wechat") is False
        assert "token is not valid" in router.get_last_error("wechat")
        assert await router.connect("qq") is True
        assert router.get_last_error("qq") is None
        assert router.get_last_error("nobody") is None
        assert server.get_platforms() == {"qq"}


async def test_a_platform_may_come_and_go(network, router):
    async with MemoryMessageServer(network) as server, router:
        await router.add_platform("telegram", TargetConfig(URL))
        await SETTLED()
        assert server.get_platforms() == {"qq", "wechat", "telegram"}
        await router.remove_platform("qq")
        await router.remove_platform("qq")
        await SETTLED()
        assert server.get_platforms() == {"wechat", "telegram"}
        assert set(router.config.route_config) == {"wechat", "telegram"}
        with pytest.raises(ValueError, match="there is no platform 'qq'"):
            await router.send_message(text(platform="qq"))


async def test_before_it_runs_only_the_configuration_changes(networks, network, router):
    await router.add_platform("telegram", TargetConfig(URL))
    await router.remove_platform("qq")
    assert await router.connect("telegram") is False
    assert await router.send_message(text(platform="telegram")) is False
    assert await router.send_custom_message("telegram", "poke", {}) is False
    async with MemoryMessageServer(network) as server, router:
        await SETTLED()
        assert server.get_platforms() == {"wechat", "telegram"}


async def test_an_update_keeps_what_is_the_same_and_changes_the_rest(networks, network):
    router = MemoryRouter(networks, routes(same="a-token-1234", moves=None, other_token="a-token-1234", goes=None))
    async with MemoryMessageServer(network) as here, MemoryMessageServer(networks["elsewhere"]) as there, router:
        await SETTLED()
        same = router.clients["same"]
        await router.update_config(
            {
                "route_config": {
                    "same": {"url": URL, "token": "a-token-1234"},
                    "moves": {"url": "ws://elsewhere/ws"},
                    "other_token": {"url": URL, "token": "another-token"},
                    "comes": {"url": URL},
                }
            }
        )
        await SETTLED()
        assert here.get_platforms() == {"same", "other_token", "comes"}
        assert there.get_platforms() == {"moves"}
        assert router.clients["same"] is same
        connections = {platform: stats["total_connections"] for platform, stats in router.get_stats().items()}
        assert connections == {"same": 1, "moves": 2, "other_token": 2, "comes": 1}


@pytest.mark.parametrize("bad", [{"url": "nonsense"}, {"url": None}, {"url": URL, "token": 5}])
async def test_an_update_that_cannot_work_changes_nothing(network, router, bad):
    async with MemoryMessageServer(network) as server, router:
        await SETTLED()
        before = router.config
        with pytest.raises(ConfigError, match="platform 'bad'"):
            await router.update_config({"route_config": {"bad": bad, "new": {"url": URL}}})
        with pytest.raises(ConfigError, match="platform 'bad'"):
            await router.add_platform("bad", TargetConfig.from_dict(bad))
        assert router.config is before
        await SETTLED()
        assert server.get_platforms() == {"qq", "wechat"} == set(router.config.route_config)


async def test_updates_at_the_same_time_end_with_the_last_one(network, router):
    async with MemoryMessageServer(network) as server, router:
        async with trio.open_nursery() as nursery:
            for number in range(20):
                config = RouteConfig({f"platform_{number}": TargetConfig(URL)})
                nursery.start_soon(router.update_config, config)
        await SETTLED()
        assert server.get_platforms() == set(router.config.route_config) == set(router.clients)
        assert len(router.clients) == 1


async def test_an_update_that_is_cancelled_is_finished_all_the_same(network, router):
    async with MemoryMessageServer(network) as server, router:
        await SETTLED()
        for steps in range(1, 12):
            config = RouteConfig({f"platform_{steps}": TargetConfig(URL)})
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_cancel_after, scope, steps)
                    await router.update_config(config)
            await trio.sleep(1)
            assert server.get_platforms() == set(router.config.route_config) == set(router.clients)


async def _cancel_after(scope, steps):
    for _ in range(steps):
        await trio.lowlevel.checkpoint()
    scope.cancel()


async def test_every_platform_comes_back_after_the_server_was_away(network, router):
    async with router:
        for _ in range(2):
            async with MemoryMessageServer(network) as server:
                await trio.sleep(40)
                assert server.get_platforms() == {"qq", "wechat"}
            await trio.sleep(5)
            assert not router.check_connection("qq")


async def test_a_platform_of_no_server_does_not_keep_it_from_starting(network, networks):
    router = MemoryRouter(networks, RouteConfig({"qq": TargetConfig(URL), "lost": TargetConfig("ws://nowhere/ws")}))
    async with MemoryMessageServer(network) as server, router:
        await SETTLED()
        assert server.get_platforms() == {"qq"}
        assert "could not be reached" in router.get_last_error("lost")
        assert await router.send_message(text(platform="lost")) is True  # kept


async def test_what_cannot_be_routed_is_an_error_of_the_caller(network, router):
    async with router:
        for platform in ("nobody", "", None):
            with pytest.raises(ValueError, match="there is no platform"):
                await router.send_message(text(platform=platform))
        with pytest.raises(ValueError, match="there is no platform"):
            await router.send_custom_message("nobody", "poke", {})
        with pytest.raises(ValueError, match="there is no platform"):
            await router.connect("nobody")
        with pytest.raises(InvalidMessage, match="only a MessageBase"):
            await router.send_message({"message_info": {"platform": "qq"}})


def test_it_tells_where_a_message_would_go():
    router = MemoryRouter({}, routes(qq=None))
    assert router.get_target_url(text(platform="qq")) == URL
    assert router.get_target_url(text(platform="wechat")) is None
    assert router.get_target_url(text(platform=None)) is None


async def test_cancelled_it_leaves_nothing_open(network, router):
    async with MemoryMessageServer(network):
        async with trio.open_nursery() as nursery:
            await router.start(nursery)
            await SETTLED()
            nursery.cancel_scope.cancel()
        assert not router.is_running()
        assert network.open_streams == set()
        async with router:  # and may be started again
            await SETTLED()
            assert router.check_connection("qq")


async def test_an_error_of_the_body_leaves_it_as_it_is(network, router):
    with pytest.raises(LookupError, match="of the body"):
        async with router:
            raise LookupError("of the body")
    assert not router.is_running()


async def test_options_are_those_of_a_client(networks, network):
    router = MemoryRouter(networks, routes(qq=None), message_cache_max_size=1)
    async with router:
        assert [await router.send_message(text()) for _ in range(2)] == [True, False]
    with pytest.raises(ConfigError, match="reconnect_delay"):
        MemoryRouter(networks, routes(), reconnect_delay=-1)
