"""The server's configuration: the table of the API, checks, factories."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from maim_trio.errors import ConfigError
from maim_trio.server import ServerConfig, WebSocketServer, create_server_config, create_ssl_server_config

if TYPE_CHECKING:
    from pathlib import Path

DEFAULTS = {
    "host": "0.0.0.0",
    "port": 18000,
    "path": "/ws",
    "ssl_enabled": False,
    "ssl_certfile": None,
    "ssl_keyfile": None,
    "ssl_ca_certs": None,
    "ssl_verify": False,
    "max_message_size": 104_857_600,
    "ping_interval": 20.0,
    "ping_timeout": 20.0,
    "close_timeout": 10.0,
    "handshake_timeout": 10.0,
    "auth_timeout": 8.0,
    "shutdown_timeout": 10.0,
    "inbox_size": 1000,
    "max_invalid_frames": 100,
    "on_auth": None,
    "on_auth_extract_user": None,
    "on_message": None,
    "on_connect": None,
    "on_disconnect": None,
    "custom_handlers": {},
    "enable_stats": True,
    "stats_callback": None,
    "stats_interval": 5.0,
    "log_level": "INFO",
    "enable_connection_log": True,
    "enable_message_log": True,
    "custom_logger": None,
    "allowed_origins": None,
    "max_connections": 10_000,
    "max_connections_per_user": None,
    "max_concurrent_handlers": 1000,
    "max_concurrent_handlers_per_connection": 100,
    "handler_timeout": None,
    "handler_ordering": "concurrent",
    "send_timeout": 20.0,
    "debug_slow_step": None,
}

WRONG = [
    ("host", None),
    ("host", 5),
    ("port", -1),
    ("port", 65536),
    ("port", "18000"),
    ("port", 1.5),
    ("port", True),
    ("path", "ws"),
    ("path", None),
    ("on_auth", "yes"),
    ("on_auth_extract_user", 5),
    ("on_message", object()),
    ("on_connect", 5),
    ("on_disconnect", []),
    ("custom_handlers", []),
    ("custom_handlers", None),
    ("allowed_origins", "https://chat.example"),
    ("allowed_origins", [5]),
    ("max_connections", 0),
    ("max_connections_per_user", 0),
    ("max_connections_per_user", 1.0),
    ("max_invalid_frames", 0),
    ("max_message_size", 10),
    ("handshake_timeout", 0),
    ("auth_timeout", None),
    ("auth_timeout", math.nan),
    ("ping_interval", -1),
    ("ping_timeout", math.inf),
    ("ping_timeout", "20"),
    ("close_timeout", 0),
    ("shutdown_timeout", -0.1),
    ("inbox_size", 0),
    ("max_concurrent_handlers", 0),
    ("max_concurrent_handlers_per_connection", False),
    ("handler_timeout", 0),
    ("handler_ordering", "random"),
    ("send_timeout", 0),
    ("log_level", "LOUD"),
    ("log_level", 10),
    ("enable_connection_log", 1),
    ("enable_message_log", None),
    ("enable_stats", "yes"),
    ("stats_interval", 0),
    ("ssl_enabled", "yes"),
    ("ssl_certfile", b"file"),
]


def test_the_defaults_are_those_of_the_documented_table() -> None:
    config = ServerConfig()
    assert {name: getattr(config, name) for name in DEFAULTS} == DEFAULTS


def test_each_config_has_handlers_of_its_own() -> None:
    one, other = ServerConfig(), ServerConfig()
    one.register_custom_handler("ping", lambda _: None)
    assert other.custom_handlers == {}


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_is_refused_by_name_when_the_config_is_made(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"ServerConfig\.{name} "):
        ServerConfig(**{name: value})


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_is_refused_by_an_update_too(name: str, value: Any) -> None:
    config = ServerConfig()
    with pytest.raises(ValueError, match=name):
        config.update({"port": 1, name: value})
    assert config == ServerConfig()


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(TypeError, match="colour"):
        create_server_config(colour="red")
    with pytest.raises(ConfigError, match="colour"):
        ServerConfig().update({"colour": "red"})


def test_the_factory_makes_what_the_class_makes() -> None:
    assert create_server_config(port=5, log_level="debug") == ServerConfig(port=5, log_level="DEBUG")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        *((host, True) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost")),
        *((host, False) for host in ("0.0.0.0", "::", "192.0.2.1", "bot.example", "")),
    ],
)
def test_it_knows_whether_only_this_machine_can_come(host: str, loopback: bool) -> None:
    assert ServerConfig(host=host).is_loopback() is loopback


def test_the_repr_shows_no_callback_and_so_no_key_bound_to_one() -> None:
    on_auth = functools.partial(dict.get, {"key_nobody_may_see": "alice"})
    config = ServerConfig(on_auth=on_auth, custom_handlers={"x": functools.partial(print, "key_nobody_may_see")})
    assert "key_nobody_may_see" not in repr(config)
    assert "port=18000" in repr(config)


def test_every_field_has_a_check() -> None:
    assert all(callable(field.metadata["check"]) for field in dataclasses.fields(ServerConfig))


class TestTls:
    def test_files_are_asked_for_only_with_tls(self) -> None:
        assert ServerConfig().get_missing_fields() == set()
        assert ServerConfig(ssl_enabled=True).get_missing_fields() == {"ssl_certfile", "ssl_keyfile"}
        verifying = ServerConfig(ssl_enabled=True, ssl_certfile="c", ssl_keyfile="k", ssl_verify=True)
        assert verifying.get_missing_fields() == {"ssl_ca_certs"}

    def test_placeholder_paths_can_be_written_down_but_not_used(self, log: Any) -> None:
        config = create_ssl_server_config("127.0.0.1", 0, "no/such/cert.pem", "no/such/key.pem")
        assert (config.port, config.ssl_enabled) == (0, True)
        assert not config.validate()
        assert "no/such/cert.pem" in log.text
        with pytest.raises(ConfigError, match=r"no/such/cert\.pem"):
            WebSocketServer(config)

    def test_files_that_fit_are_fine(self, tmp_path: Path) -> None:
        issued = trustme.CA(key_type=trustme.KeyType.ECDSA).issue_cert("localhost", key_type=trustme.KeyType.ECDSA)
        cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
        issued.cert_chain_pems[0].write_to_path(cert)
        issued.private_key_pem.write_to_path(key)
        config = create_ssl_server_config(ssl_certfile=str(cert), ssl_keyfile=str(key), path="/bus")
        assert config.validate()
        assert (config.host, config.port, config.path) == ("0.0.0.0", 18044, "/bus")


def test_a_server_takes_a_server_config_and_nothing_else() -> None:
    wrong: Any = {"port": 5}
    with pytest.raises(ConfigError, match="dict"):
        WebSocketServer(wrong)
