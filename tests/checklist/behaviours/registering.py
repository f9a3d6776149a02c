"""The connections of a client with many: where their fields come from, and how they come and go."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from maim_trio.client import ClientConfig, ConnectionEntry, MultiClientConfig
from maim_trio.errors import ConfigError
from tests.checklist import library
from tests.checklist.behaviour import real_sockets
from tests.checklist.bus import BUS_URL, NAMES, bus, platforms_of
from tests.checklist.world import (
    KEY,
    Recorder,
    certificates,
    content,
    settle,
    user_is_key,
)
from tests.memory import Hosts, MemoryMultiClient, Network, text_message

if TYPE_CHECKING:
    from tests.checklist.rows import Row


async def connections_are_registered_while_running() -> None:
    async with bus(MultiClientConfig()) as (_server, client):
        for name in NAMES:
            assert client.register_connection(name, BUS_URL, f"{name}_key", name)
        assert await client.connect() == dict.fromkeys(NAMES, True)
        with pytest.raises(ConfigError):
            client.register_connection("wrong", "http://bot.example", "key")


async def registering_keeps_the_configuration_in_step() -> None:
    async with bus(MultiClientConfig()) as (_server, client):
        client.register_connection("wechat", BUS_URL, "key")
        client.config.register_connection("qq", BUS_URL, "key")
        assert set(client.config.connections) == set(client.list_connections()) == {"wechat", "qq"}
        assert await client.connect("qq") == {"qq": True}
        client.unregister_connection("wechat")
        client.config.remove_connection("qq")
        assert client.config.connections == client.list_connections() == {}


async def an_update_of_key_or_url_reconnects() -> None:
    async with bus() as (server, client):
        assert client.update_connection("wechat", api_key="new_api_key")
        assert not client.update_connection("nobody", api_key="new_api_key")
        await trio.sleep(1)
        assert len(server.get_user_connections("new_api_key")) == 1
        assert server.get_user_connections("wechat_key") == set()
        assert client.is_connected("wechat")
        before = server.get_user_connections("qq_key")
        client.update_connection("qq", ping_interval=5.0)
        await trio.sleep(1)
        assert server.get_user_connections("qq_key") == before, "no other change does"


async def an_update_of_a_connection_changes_all_or_nothing() -> None:
    async with bus() as (_server, client):
        for wrong in ({"platform": "other", "api_key": 5}, {"platform": "other", "no_such_field": 1}):
            with pytest.raises(ConfigError):
                client.update_connection("wechat", **wrong)
        assert client.config.connections["wechat"].platform == "wechat"


async def unregistering_closes() -> None:
    async with bus() as (server, client):
        assert client.unregister_connection("qq")
        assert not client.unregister_connection("qq")
        await trio.sleep(1)
        assert platforms_of(server) == {"wechat", "telegram"}
        assert client.get_connection_info("qq") is None


async def a_platform_left_out_comes_from_the_defaults() -> None:
    for register in ("client", "config"):
        network, came = Network(), Recorder()
        async with network.server(on_connect=came):
            default = ClientConfig(BUS_URL, "default_key", platform="default_platform")
            async with MemoryMultiClient(Hosts(bus=network), default_config=default) as client:
                target = client if register == "client" else client.config
                target.register_connection("left_out", BUS_URL, "key_1")
                target.register_connection("given", BUS_URL, "key_2", "default")
                await client.connect()
        platforms = {metadata["api_key"]: metadata["platform"] for _, metadata in came.calls}
        assert platforms == {"key_1": "default_platform", "key_2": "default"}


async def defaults_come_from_the_default_config() -> None:
    network, came, heard = Network(), Recorder(), Recorder()
    default = ClientConfig(
        BUS_URL,
        "default_key",
        platform="default_platform",
        headers={"X-Bot": "maim"},
        on_message=heard,
        on_connect=came,
    )
    async with (
        network.server(on_auth_extract_user=user_is_key) as server,
        MemoryMultiClient(Hosts(bus=network), default_config=default) as client,
    ):
        assert client.list_connections() == {}, "it registers no connection itself"
        client.register_connection("wechat", BUS_URL, "wechat_key", "wechat")
        assert await client.connect() == {"wechat": True}
        await server.send_message(text_message("hi", to="wechat_key", platform="wechat"))
        message, metadata = await heard.wait()
        assert (content(message), metadata["connection_name"]) == ("hi", "wechat")
        _, config = await came.wait()
        assert (config.api_key, config.headers) == ("wechat_key", {"X-Bot": "maim"})


async def the_entry_comes_first() -> None:
    network, seen = Network(), Recorder()
    default = ClientConfig(BUS_URL, KEY, log_level="ERROR", ping_interval=1.0, close_timeout=1.0, on_connect=seen)
    shared = MultiClientConfig(log_level="WARNING", connect_timeout=7.0)
    shared.connections["qq"] = ConnectionEntry("qq", BUS_URL, KEY, close_timeout=2.0, log_level="CRITICAL")
    shared.connections["wechat"] = ConnectionEntry("wechat", BUS_URL, KEY)
    async with network.server(), MemoryMultiClient(Hosts(bus=network), shared, default_config=default) as client:
        await client.connect("qq")
        await client.connect("wechat")
        await seen.wait(2)
    for (_, config), log_level, close_timeout in zip(seen.calls, ("CRITICAL", "WARNING"), (2.0, 1.0), strict=True):
        assert (config.log_level, config.close_timeout) == (log_level, close_timeout)
        assert (config.connect_timeout, config.ping_interval) == (7.0, 1.0)


@real_sockets  # a thread takes part in the durable outbox, and a virtual clock would jump while it works
async def an_entry_is_used(row: Row) -> None:
    """The configuration that a connection is made with shows what its entry says."""
    seen, files = Recorder(), certificates()
    values: dict[str, Any] = {
        "url": "wss://bus/ws",
        "ssl_enabled": True,
        "ssl_ca_certs": files.authority,
        "ssl_certfile": files.client_certfile,
        "ssl_keyfile": files.client_keyfile,
        "on_connect": seen,
        "outbox_path": str(Path(files.authority).with_name("outbox.db")),
        "when_full": "close",
    }
    current = getattr(library.example("ConnectionEntry"), row.name)
    value = values.get(row.name, _another(row.name, current))
    fields = {"url": BUS_URL, "api_key": KEY, "on_connect": seen, "ssl_certfile": files.certfile, row.name: value}
    if row.name == "ssl_keyfile":
        fields["ssl_certfile"] = files.client_certfile
    elif row.name != "ssl_certfile":
        del fields["ssl_certfile"]
    elif row.name == "ssl_certfile":
        fields["ssl_keyfile"] = files.client_keyfile
    network = Network()
    config = MultiClientConfig()
    config.connections["a name"] = ConnectionEntry(**{"name": "a name", **fields})
    async with network.server(), MemoryMultiClient(Hosts(bus=network), config) as client:
        assert await client.connect() == {"a name": True}
        _, used = await seen.wait()
        assert isinstance(used, ClientConfig)
        if row.name == "name":
            assert client.list_connections()["a name"]["name"] == "a name"
        elif row.name == "max_size":
            assert used.max_message_size == value
        else:
            assert getattr(used, row.name) == value


def _another(name: str, current: Any) -> Any:
    """A value of a field that is not its default."""
    if name == "custom_logger":
        return _Silent()
    if name == "log_level":
        return "ERROR"
    if name == "handler_ordering":
        return "per_connection"
    if name == "headers":
        return {"X-Bot": "maim"}
    if isinstance(current, bool):
        return not current
    if isinstance(current, int | float):
        return current + 1
    if isinstance(current, str) or name == "connection_uuid":
        return "another_value"
    return print if name.startswith("on_") or name == "stats_callback" else 2000


class _Silent:
    def debug(self, _line: str) -> None: ...

    info = warning = error = debug


async def an_entry_has_hooks_of_its_own(row: Row) -> None:
    own, shared, network = Recorder(), Recorder(), Network()
    config = MultiClientConfig(on_message=shared)
    config.connections["qq"] = ConnectionEntry("qq", BUS_URL, "qq_key", **{row.name: own})
    async with network.server(on_auth_extract_user=user_is_key) as server:
        async with MemoryMultiClient(Hosts(bus=network), config) as client:
            await client.connect()
            await server.send_message(text_message("hi", to="qq_key"))
            await settle()
        await own.wait()
    assert len(own.calls) == 1
    assert len(shared.calls) == (0 if row.name == "on_message" else 1)


async def an_entry_has_custom_handlers_of_its_own() -> None:
    own, shared, network = Recorder(), Recorder(), Network()
    config = MultiClientConfig(custom_handlers={"ping": shared, "pong": shared})
    config.connections["qq"] = ConnectionEntry("qq", BUS_URL, KEY, custom_handlers={"ping": own})
    async with network.server() as server, MemoryMultiClient(Hosts(bus=network), config) as client:
        await client.connect()
        for kind in ("ping", "pong"):
            await server.broadcast_custom_message(kind, {})
        await own.wait()
        await shared.wait()
        assert len(own.calls) == len(shared.calls) == 1
