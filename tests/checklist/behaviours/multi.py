"""A client with many connections."""

from __future__ import annotations

from typing import Any

import trio

from maim_trio.client import MultiClientConfig
from tests.checklist.bus import BUS_URL, NAMES, bus, entries, platforms_of
from tests.checklist.world import (
    KEY,
    Recorder,
    settle,
)
from tests.client.raw import drops, refuses, serve_scripts, silent, welcomes
from tests.memory import Hosts, MemoryMultiClient, Network, text_message

# -- connecting


async def starting_connects_all_when_wanted() -> None:
    config = MultiClientConfig(connections=entries(*NAMES), auto_connect_on_start=True)
    async with bus(config, connect=False) as (server, client):
        assert set(client.get_active_connections()) == set(NAMES)
        assert platforms_of(server) == set(NAMES)


async def starting_connects_none_by_default() -> None:
    async with bus(connect=False) as (server, client):
        await trio.sleep(60)
        assert (client.is_running(), client.get_active_connections(), server.get_connection_count()) == (True, {}, 0)


async def running_a_multi_client_connects_it() -> None:
    network = Network()
    async with network.server(), trio.open_nursery() as nursery:
        client = MemoryMultiClient(Hosts(bus=network), MultiClientConfig(connections=entries("qq")))
        await nursery.start(client.run)
        await settle()
        assert client.is_connected("qq")
        await client.stop()


async def connecting_all_tells_the_truth_about_each() -> None:
    config = MultiClientConfig(connections=entries("wechat", "qq"))
    async with bus(config, connect=False, on_auth=_not_qq) as (_server, client):
        assert await client.connect() == {"wechat": True, "qq": False}
        assert list(client.get_active_connections()) == ["wechat"]


def _not_qq(metadata: dict[str, Any]) -> bool:
    return bool(metadata["api_key"] != "qq_key")


async def connecting_one_leaves_the_others() -> None:
    async with bus(connect=False) as (_server, client):
        assert await client.connect("qq") == {"qq": True}
        assert await client.connect("nobody") == {"nobody": False}
        assert [client.is_connected(name) for name in (*NAMES, "nobody")] == [False, True, False, False]
        assert client.is_connected(), "any"


async def disconnecting_one_or_all() -> None:
    async with bus() as (server, client):
        assert await client.disconnect("wechat") == {"wechat": True}
        assert set(client.get_active_connections()) == {"qq", "telegram"}
        assert set((await client.disconnect()).values()) == {True}
        await trio.sleep(60)
        assert not client.is_connected()
        assert server.get_connection_count() == 0


async def stopping_a_multi_client_closes_all_connections() -> None:
    went = Recorder()
    async with bus(on_disconnect=went) as (_server, client):
        await client.stop()
        await went.wait(3)
        assert [metadata["close_code"] for _, metadata in went.calls] == [1001] * 3
        assert not client.is_connected()


async def a_multi_client_tries_for_connect_timeout() -> None:
    config = MultiClientConfig(connections={"qq": {"url": BUS_URL, "api_key": KEY}}, connect_timeout=3.0)
    async with MemoryMultiClient(Hosts(), config) as client:
        began = trio.current_time()
        assert await client.connect() == {"qq": False}
        assert trio.current_time() == began + 3.0


async def one_connection_never_delays_another() -> None:
    hosts = {"good": welcomes, "refuses": refuses(401), "stalls": silent, "flaps": drops()}
    networks = Hosts()
    config = MultiClientConfig(connect_timeout=4.0)
    for host in (*hosts, "unknown"):
        config.register_connection(host, f"ws://{host}/ws", KEY)
    async with trio.open_nursery() as nursery:
        for host, script in hosts.items():
            await nursery.start(serve_scripts, networks[host], [script])
        async with MemoryMultiClient(networks, config) as client:
            nursery.start_soon(client.connect)
            with trio.fail_after(0.1):
                assert await client.connect("good") == {"good": True}
            began = trio.current_time()
            results = await client.connect()
            assert (results["good"], results["refuses"], results["stalls"], results["unknown"]) == (
                True, False, False, False,
            )  # fmt: skip
            assert trio.current_time() - began <= 4.0
        nursery.cancel_scope.cancel()


# -- sending


async def messages_go_over_the_named_connection() -> None:
    heard = Recorder()
    async with bus(on_message=heard, custom_handlers={"news": heard}) as (_server, client):
        assert await client.send_message("wechat", text_message("a"))
        assert await client.send_custom_message("qq", "news", {"n": 1})
        await heard.wait(2)
        assert {metadata["platform"] for _, metadata in heard.calls} == {"wechat", "qq"}
        assert not await client.send_message("nobody", text_message())
        assert not await client.send_custom_message("nobody", "news", {})
        await client.disconnect("wechat")
        assert not await client.send_message("wechat", text_message())


async def a_message_is_routed_by_its_receiver() -> None:
    heard = Recorder()
    async with bus(on_message=heard) as (_server, client):
        for key, platform in (("qq_key", "qq"), ("qq_key", "elsewhere"), ("another_key", "telegram")):
            assert await client.route_message(text_message(to=key, platform=platform))
            await heard.wait(len(heard.calls) or 1)
            await settle()
        assert [metadata["platform"] for _, metadata in heard.calls] == ["qq", "qq", "telegram"]
        assert not await client.route_message(text_message(to="another_key", platform="elsewhere"))
        await client.disconnect("qq")
        assert not await client.route_message(text_message(to="qq_key", platform="qq")), "only connected ones count"


# -- what it tells


async def a_multi_client_tells_about_its_connections() -> None:
    async with bus() as (_server, client):
        await client.disconnect("qq")
        listed, active = client.list_connections(), client.get_active_connections()
        assert (set(listed), set(active)) == (set(NAMES), {"wechat", "telegram"})
        info = client.get_connection_info("wechat")
        assert info == listed["wechat"]
        assert info is not None
        assert (info["name"], info["url"], info["platform"], info["connected"]) == ("wechat", BUS_URL, "wechat", True)
        assert client.get_connection_info("nobody") is None
        assert "wechat_key" not in repr(listed)
        listed.clear()
        assert len(client.list_connections()) == 3


async def a_multi_client_says_what_went_wrong() -> None:
    config = MultiClientConfig(connections=entries("wechat", "qq"))
    async with bus(config, connect=False, on_auth=_not_qq) as (_server, client):
        assert client.get_last_error() is None
        await client.connect()
        assert "401" in (client.get_last_error("qq") or "")
        assert client.get_last_error("wechat") is None
        assert (client.get_last_error() or "").startswith("qq: ")
        assert "nobody" in (client.get_last_error("nobody") or "")
