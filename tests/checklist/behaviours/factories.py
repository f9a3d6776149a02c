"""Factories, the connections of a configuration, and the configuration manager."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from maim_trio.client import (
    ClientConfig,
    ConnectionEntry,
    MultiClientConfig,
    WebSocketClient,
    WebSocketMultiClient,
    create_ssl_client_config,
)
from maim_trio.client_factory import create_client, create_multi_client
from maim_trio.errors import ConfigError
from maim_trio.server import (
    ConfigManager,
    ServerConfig,
    create_ssl_server_config,
    get_config_manager,
)
from tests.checklist import library
from tests.checklist.library import KEY, URL

if TYPE_CHECKING:
    from tests.checklist.rows import Row

UNREADABLE = "/nowhere/at/all.pem"


def connections_may_be_entries_or_dicts() -> None:
    given: dict[str, Any] = {"wechat": {"url": URL, "api_key": KEY, "platform": "wechat", "max_reconnect_attempts": 7}}
    before = {name: dict(entry) for name, entry in given.items()}
    given["qq"] = ConnectionEntry("qq", URL, KEY)
    config = MultiClientConfig(connections=given)
    assert {name: type(entry) for name, entry in config.connections.items()} == {
        "wechat": ConnectionEntry,
        "qq": ConnectionEntry,
    }
    assert (config.connections["wechat"].name, config.connections["wechat"].max_reconnect_attempts) == ("wechat", 7)
    assert given["wechat"] == before["wechat"], "what the caller passes is not changed"
    for wrong in ({"qq": 5}, {"qq": {"url": URL, "no_such_field": 1}}):
        with pytest.raises(ConfigError, match="qq"):
            MultiClientConfig(connections=wrong)


def an_entry_remembers_what_was_given() -> None:
    entry = ConnectionEntry("wechat", URL, KEY, "wechat", ping_interval=5)
    assert (entry.name, entry.url, entry.api_key, entry.platform, entry.ping_interval) == (
        "wechat", URL, KEY, "wechat", 5,
    )  # fmt: skip
    assert set(entry.given()) == {"url", "api_key", "platform", "ping_interval"}
    with pytest.raises(TypeError, match="no_such_field"):
        ConnectionEntry("wechat", URL, KEY, no_such_field=1)


def a_configuration_registers_connections() -> None:
    config = MultiClientConfig()
    assert config.register_connection("wechat", URL, KEY, "wechat", reconnect_delay=2.0)
    assert config.add_connection("qq", URL, KEY)
    entry = config.get_connection("wechat")
    assert entry is not None
    assert (entry.platform, entry.reconnect_delay) == ("wechat", 2.0)
    assert set(config.list_connections()) == {"wechat", "qq"}
    assert config.get_connection("telegram") is None
    config.list_connections().clear()
    assert len(config.connections) == 2, "what list_connections returns is a copy"


def a_configuration_removes_connections() -> None:
    config = MultiClientConfig(connections={"qq": {"url": URL, "api_key": KEY}})
    assert config.remove_connection("qq")
    assert not config.remove_connection("qq")
    assert config.connections == {}


def an_ssl_connection_has_tls() -> None:
    config = MultiClientConfig()
    for add in (config.register_ssl_connection, config.add_ssl_connection):
        assert add("qq", "ws://bot.example/ws", KEY, "qq", ssl_ca_certs="/path/to/ca.pem")
        entry = config.connections["qq"]
        assert (entry.url, entry.ssl_enabled, entry.ssl_ca_certs, entry.platform) == (
            "wss://bot.example/ws", True, "/path/to/ca.pem", "qq",
        )  # fmt: skip


def factories_take_every_field(row: Row) -> None:
    make = library.thing(row.name)
    required: list[Any] = [URL, KEY] if row.name == "create_client_config" else []
    if row.name.endswith("with_connections"):
        required = [{"qq": {"url": URL, "api_key": KEY}}]
    config = make(*required, log_level="ERROR", custom_logger=print, stats_interval=1.0)
    assert (config.log_level, config.custom_logger, config.stats_interval) == ("ERROR", print, 1.0)
    with pytest.raises(TypeError, match="no_such_field"):
        make(*required, no_such_field=1)


def the_ssl_server_factory_has_defaults() -> None:
    config = create_ssl_server_config()
    assert (config.host, config.port, config.ssl_enabled) == ("0.0.0.0", 18044, True)
    assert config.get_missing_fields() == {"ssl_certfile", "ssl_keyfile"}
    config = create_ssl_server_config("localhost", 443, "/path/to/server.crt", "/path/to/server.key", ssl_verify=True)
    assert (config.host, config.port, config.ssl_certfile, config.ssl_verify) == (
        "localhost", 443, "/path/to/server.crt", True,
    )  # fmt: skip


def the_ssl_client_factory_has_two_forms() -> None:
    by_url = create_ssl_client_config(
        url="wss://localhost:18044/ws", api_key=KEY, ssl_ca_certs="/path/to/ca.crt", ssl_check_hostname=True
    )
    by_host = create_ssl_client_config(
        host="localhost", port=18044, api_key=KEY, ssl_certfile="/path/to/client.crt", ssl_check_hostname=False
    )
    assert by_url.url == by_host.url == create_ssl_client_config(api_key=KEY).url == "wss://localhost:18044/ws"
    assert by_url.ssl_enabled
    assert by_host.ssl_enabled
    assert (by_url.ssl_ca_certs, by_host.ssl_certfile) == ("/path/to/ca.crt", "/path/to/client.crt")
    assert (by_url.ssl_check_hostname, by_host.ssl_check_hostname) == (True, False)
    assert create_ssl_client_config("ws://localhost:18044/ws", KEY).url == "wss://localhost:18044/ws"
    assert create_ssl_client_config(host="bot.example", path="/chat", api_key=KEY).url == "wss://bot.example:18044/chat"


def factories_make_clients() -> None:
    client = create_client(URL, KEY, platform="test")
    assert isinstance(client, WebSocketClient)
    assert (client.config.api_key, client.config.platform) == (KEY, "test")
    multi = create_multi_client({"qq": {"url": URL, "api_key": KEY}}, auto_connect_on_start=True)
    assert isinstance(multi, WebSocketMultiClient)
    assert (list(multi.list_connections()), multi.config.auto_connect_on_start) == (["qq"], True)
    assert create_multi_client().list_connections() == {}


def a_manager_keeps_configurations() -> None:
    manager, server, client = ConfigManager(), ServerConfig(), ClientConfig(URL, KEY)
    assert manager.get_server_config() is manager.get_client_config() is None
    manager.set_server_config(server)
    manager.set_client_config(client)
    assert manager.get_server_config() is server
    assert manager.get_client_config() is client
    assert manager.validate_all_configs()
    client.api_key = ""
    assert not manager.validate_all_configs()


def a_manager_takes_nothing_unusable() -> None:
    manager = ConfigManager()
    with pytest.raises(ValueError, match="ssl_certfile"):
        manager.set_server_config(ServerConfig(ssl_enabled=True))
    with pytest.raises(ValueError, match="api_key"):
        manager.set_client_config(ClientConfig(URL))
    assert manager.get_server_config() is manager.get_client_config() is None


def a_manager_updates_all_or_nothing() -> None:
    manager, server, client = ConfigManager(), ServerConfig(), ClientConfig(URL, KEY)
    for update in (manager.update_server_config, manager.update_client_config):
        with pytest.raises(ConfigError, match="was set"):
            update(log_level="ERROR")
    manager.set_server_config(server)
    manager.set_client_config(client)
    manager.update_server_config(port=18040, log_level="ERROR")
    manager.update_client_config(platform="qq")
    assert (server.port, server.log_level, client.platform) == (18040, "ERROR", "qq")
    for update, wrong in (
        (manager.update_server_config, {"port": 1, "ssl_enabled": True}),
        (manager.update_client_config, {"platform": "telegram", "api_key": ""}),
    ):
        with pytest.raises(ConfigError):
            update(**wrong)
    assert (server.port, server.ssl_enabled, client.platform, client.api_key) == (18040, False, "qq", KEY)


def the_program_has_one_manager() -> None:
    assert isinstance(get_config_manager(), ConfigManager)
    assert get_config_manager() is get_config_manager()
