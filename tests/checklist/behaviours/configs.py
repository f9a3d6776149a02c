"""Configurations by themselves, without a network."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from maim_trio.client import (
    ClientConfig,
    MultiClientConfig,
    WebSocketClient,
    WebSocketMultiClient,
)
from maim_trio.errors import ConfigError
from maim_trio.server import (
    ServerConfig,
    WebSocketServer,
)
from tests.checklist import library
from tests.checklist.library import KEY, URL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.checklist.rows import Row

UNREADABLE = "/nowhere/at/all.pem"


def a_wrong_value_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"ServerConfig\.port must be a whole number"):
        ServerConfig(port="many")


def what_cannot_be_used_is_not_valid(row: Row) -> None:
    config = library.config(row.of)
    assert config.validate()
    if row.of == "ServerConfig":
        broken = ServerConfig(ssl_enabled=True, ssl_certfile=UNREADABLE, ssl_keyfile=UNREADABLE)
    elif row.of == "MultiClientConfig":
        broken = MultiClientConfig(connections={"qq": {"url": "", "api_key": KEY}})
    else:
        broken = library.config(row.of, url="wss://bot.example/ws", ssl_ca_certs=UNREADABLE)
    assert not broken.validate()


def missing_fields_are_named(row: Row) -> None:
    assert library.config(row.of).get_missing_fields() == set()
    if row.of == "ServerConfig":
        assert ServerConfig(ssl_enabled=True).get_missing_fields() == {"ssl_certfile", "ssl_keyfile"}
        assert "ssl_ca_certs" in ServerConfig(ssl_enabled=True, ssl_verify=True).get_missing_fields()
    elif row.of == "MultiClientConfig":
        config = MultiClientConfig(connections={"qq": {"url": URL}})
        assert config.get_missing_fields() == {"qq.api_key"}
    else:
        assert library.config(row.of, url="", api_key="").get_missing_fields() == {"url", "api_key"}


def defaults_overwrite_nothing(row: Row) -> None:
    config = library.config(row.of, on_message=print, log_level="ERROR", custom_handlers={"a": print})
    before = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    config.ensure_defaults()
    assert before == {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    if row.of != "ConnectionEntry":  # an entry refuses it at once
        config.custom_handlers = None
        config.ensure_defaults()
        assert config.custom_handlers == {}


def a_configuration_registers_handlers(row: Row) -> None:
    config = library.config(row.of)
    config.register_custom_handler("ping", print)
    config.register_custom_handler("custom_pong", print)
    assert config.custom_handlers == {"custom_ping": print, "custom_pong": print}
    config.unregister_custom_handler("custom_ping")
    config.unregister_custom_handler("pong")
    config.unregister_custom_handler("never_registered")
    assert config.custom_handlers == {}


def a_handler_that_fits_no_form_is_refused(row: Row) -> None:
    subject = library.example(row.of)
    for handler in (lambda: None, lambda a, b, c: None, "no callable"):
        with pytest.raises(TypeError):
            subject.register_custom_handler("ping", handler)


def a_configuration_comes_from_toml(row: Row) -> None:
    section = {"ServerConfig": "server", "MultiClientConfig": "multi_client"}.get(row.of, "client")
    required = "".join(f'{name} = "{value}"\n' for name, value in library.REQUIRED[row.of].items())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "maim.toml")
        path.write_text(f'[{section}]\n{required}log_level = "debug"\nstats_interval = 2.5\n[other]\na = 1\n')
        config = library.CONFIGS[row.of].from_toml(path)
        path.write_text(f"[{section}]\n{required}stats_interval = 'often'\n")
        with pytest.raises(ConfigError, match=r"maim\.toml: key `stats_interval` must be a number of seconds"):
            library.CONFIGS[row.of].from_toml(path)
    assert (config.log_level, config.stats_interval) == ("DEBUG", 2.5)


def a_configuration_comes_from_the_environment(row: Row) -> None:
    required = {f"MAIM_{name.upper()}": value for name, value in library.REQUIRED[row.of].items()}
    with _environment({**required, "MAIM_STATS_INTERVAL": "2.5", "MAIM_ENABLE_STATS": "false", "MAIM_HOME": "/x"}):
        config = library.CONFIGS[row.of].from_env()
    assert (config.stats_interval, config.enable_stats) == (2.5, False)
    own = {f"BOT_{name.upper()}": value for name, value in library.REQUIRED[row.of].items()}
    with _environment({**own, "BOT_STATS_INTERVAL": "often"}), pytest.raises(ConfigError, match="BOT_STATS_INTERVAL"):
        library.CONFIGS[row.of].from_env(prefix="BOT_")


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("MAIM_", "BOT_"))]:
            patch.delenv(name)
        for name, value in values.items():
            patch.setenv(name, value)
        yield


def max_size_is_an_older_name() -> None:
    config = ClientConfig(URL, KEY, max_size=5000)
    assert config.max_message_size == 5000
    config.update({"max_size": 6000})
    assert config.max_message_size == 6000


def tls_goes_by_the_url(row: Row) -> None:
    assert library.config(row.of, url="wss://bot.example/ws").ssl_enabled is True
    assert library.config(row.of, url="ws://bot.example/ws").ssl_enabled is False
    assert library.config(row.of, url="ws://bot.example/ws", ssl_enabled=True).ssl_enabled is True


def tls_needs_its_files() -> None:
    for fields, names in (
        ({}, "ssl_certfile, ssl_keyfile"),
        ({"ssl_certfile": UNREADABLE, "ssl_keyfile": UNREADABLE}, f"ssl_certfile {UNREADABLE} cannot be read"),
    ):
        config = ServerConfig(ssl_enabled=True, **fields)
        assert not config.validate()
        with pytest.raises(ConfigError, match=names):
            WebSocketServer(config)


# -- the services are particular about their configuration


def a_server_needs_no_configuration() -> None:
    server = WebSocketServer()
    assert server.config == ServerConfig()
    assert (server.port, server.is_running(), server.get_connection_count()) == (18000, False, 0)


def a_server_takes_no_other_configuration() -> None:
    with pytest.raises(ConfigError):
        WebSocketServer(ClientConfig(URL, KEY))


def a_client_needs_url_and_key() -> None:
    for config in (ClientConfig(), ClientConfig(url=URL), ClientConfig(api_key=KEY)):
        with pytest.raises(ConfigError, match=r"api_key|url"):
            WebSocketClient(config)
    with pytest.raises(ConfigError, match="url"):
        ClientConfig("http://bot.example/ws", KEY)


def a_client_takes_no_other_configuration() -> None:
    with pytest.raises(ConfigError):
        WebSocketClient(ServerConfig())
    with pytest.raises(TypeError):
        WebSocketClient()


def a_multi_client_needs_no_configuration() -> None:
    client = WebSocketMultiClient()
    assert client.config == MultiClientConfig()
    assert (client.list_connections(), client.is_running(), client.is_connected()) == ({}, False, False)


def a_multi_client_takes_no_other_configuration() -> None:
    with pytest.raises(ConfigError):
        WebSocketMultiClient(ClientConfig(URL, KEY))
