"""The configuration of a client with many connections, and its factories."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import json

import pytest

from maim_trio.client import (
    ConnectionEntry,
    MultiClientConfig,
    create_multi_client_config,
    create_multi_client_config_with_connections,
)
from maim_trio.client_factory import create_multi_client
from maim_trio.errors import ConfigError

URL = "ws://bot.example/ws"
CONNECTIONS = {
    "wechat": {"url": URL, "api_key": "key_of_wechat", "platform": "wechat"},
    "qq": {"url": "wss://bot.example/ws", "api_key": "key_of_qq", "platform": "qq", "ssl_ca_certs": "/ca.pem"},
}


@pytest.fixture
def config():
    return create_multi_client_config_with_connections(CONNECTIONS)


# -- making one


def test_an_empty_configuration_has_the_documented_defaults():
    config = create_multi_client_config()
    assert config.connections == {}
    assert (config.on_message, config.custom_handlers) == (None, {})
    assert (config.auto_connect_on_start, config.connect_timeout) == (False, 10.0)
    assert (config.enable_stats, config.stats_callback) == (True, None)
    assert (config.log_level, config.enable_connection_log, config.enable_message_log) == ("INFO", True, True)
    assert config.custom_logger is None
    assert config.validate()


def test_connections_may_be_dicts_or_entries_and_are_not_changed():
    connections = {**CONNECTIONS, "entry": ConnectionEntry("entry", URL, "key")}
    before = copy.deepcopy({name: CONNECTIONS[name] for name in CONNECTIONS})
    config = create_multi_client_config_with_connections(connections, auto_connect_on_start=True)
    assert before == CONNECTIONS
    assert list(config.connections) == ["wechat", "qq", "entry"]
    assert all(isinstance(entry, ConnectionEntry) for entry in config.connections.values())
    config.remove_connection("wechat")
    assert "wechat" in connections


def test_the_signature_names_the_fields():
    names = [field.name for field in dataclasses.fields(MultiClientConfig)]
    assert set(inspect.signature(MultiClientConfig).parameters) == set(names)


@pytest.mark.parametrize(
    ("field", "value"),
    [("auto_connect_on_start", "yes"), ("connect_timeout", 0), ("log_level", "LOUD"), ("on_message", 5)],
)
def test_a_wrong_value_is_refused_with_the_name_of_the_field(field, value):
    with pytest.raises(ConfigError, match=f"MultiClientConfig.{field} must be"):
        create_multi_client_config(**{field: value})


def test_connections_are_a_dict():
    with pytest.raises(ConfigError, match=r"MultiClientConfig\.connections is not a dict of connections"):
        MultiClientConfig(connections=[CONNECTIONS["wechat"]])


def test_a_wrong_connection_is_refused_with_its_name():
    with pytest.raises(ConfigError, match=r"connection 'qq': ConnectionEntry.platform must be a string"):
        create_multi_client_config_with_connections({**CONNECTIONS, "qq": {**CONNECTIONS["wechat"], "platform": 7}})


def test_unknown_names_are_refused():
    with pytest.raises(TypeError, match="pingu"):
        create_multi_client_config(pingu=1)
    with pytest.raises(ConfigError, match="connection 'x': a connection has no field pingu"):
        MultiClientConfig().register_connection("x", URL, "key", pingu=1)


def test_what_was_passed_counts_as_given_also_when_it_is_the_default():
    config = MultiClientConfig({}, connect_timeout=10.0)
    names = {field.name for field in dataclasses.fields(MultiClientConfig)}
    assert {name for name in names if config.is_given(name)} == {"connections", "connect_timeout"}
    config.log_level = "INFO"
    assert config.is_given("log_level")
    assert not MultiClientConfig().is_given("connect_timeout")


# -- connections


def test_the_documented_methods_add_and_remove_connections():
    config = create_multi_client_config()
    assert config.register_connection("a", URL, "key_a", "wechat", reconnect_delay=2.0)
    assert config.add_connection("b", URL, "key_b", "qq")
    assert config.register_ssl_connection("c", URL, "key_c", "qq", ssl_ca_certs="/ca.pem", ssl_verify=False)
    assert config.add_ssl_connection("d", "wss://bot.example/ws", "key_d")
    assert config.get_connection("a").reconnect_delay == 2.0
    assert config.get_connection("c").url == "wss://bot.example/ws"
    assert config.get_connection("c").given()["ssl_enabled"] is True
    assert (config.get_connection("c").ssl_ca_certs, config.get_connection("c").ssl_verify) == ("/ca.pem", False)
    assert config.get_connection("d").uses_tls
    assert list(config.list_connections()) == ["a", "b", "c", "d"]
    assert config.remove_connection("a")
    assert not config.remove_connection("a")
    assert config.get_connection("a") is None


def test_registering_a_name_again_replaces_the_connection(config):
    config.register_connection("wechat", "ws://other/ws", "other_key")
    assert len(config.connections) == 2
    assert config.connections["wechat"].url == "ws://other/ws"
    assert config.connections["wechat"].platform == "default"


def test_a_refused_registration_leaves_the_connection_that_was_there(config):
    with pytest.raises(ConfigError):
        config.register_connection("wechat", "http://other/ws", "other_key")
    assert config.connections["wechat"].url == URL


def test_the_list_of_connections_is_a_copy(config):
    config.list_connections().clear()
    assert len(config.connections) == 2


def test_whatever_is_assigned_to_connections_becomes_entries(config):
    told = []
    config.listen(lambda: told.append(dict(config.connections)))
    old = config.connections
    config.connections = {"new": CONNECTIONS["qq"]}
    assert isinstance(config.connections["new"], ConnectionEntry)
    assert len(told) == 1
    del old["wechat"]  # no longer the configuration's
    assert len(told) == 1
    with pytest.raises(ConfigError):
        config.connections = None
    assert "new" in config.connections


def test_listeners_are_told_of_every_change_until_they_leave(config):
    told = []

    def listener():
        told.append(config.version)

    config.listen(listener)
    config.connections["wechat"].platform = "qq"
    config.connections["x"] = CONNECTIONS["qq"]
    config.remove_connection("x")
    assert len(told) == len(set(told)) == 3
    config.unlisten(listener)
    config.connections.clear()
    assert len(told) == 3


def test_a_copy_of_a_configuration_goes_its_own_way(config):
    twin = copy.copy(config)
    told = []
    config.listen(lambda: told.append(1))
    twin.remove_connection("wechat")
    twin.log_level = "DEBUG"
    assert told == []
    assert "wechat" in config.connections
    assert (config.log_level, config.is_given("log_level")) == ("INFO", False)


def test_it_can_be_taken_apart_like_any_dataclass(config):
    assert dataclasses.replace(config, connect_timeout=3.0).connections == config.connections
    assert dataclasses.asdict(config)["connections"]["wechat"].platform == "wechat"


def test_the_repr_shows_no_secret(config):
    config.custom_handlers["x"] = print
    assert "key_of" not in repr(config)
    assert "wechat" in repr(config)


# -- what is missing


def test_missing_fields_are_named_with_their_connection(config):
    config.connections["wechat"] = {"url": URL}
    config.connections["qq"] = {}
    assert config.get_missing_fields() == {"wechat.api_key", "qq.url", "qq.api_key"}
    assert not config.validate()


def test_unreadable_files_of_a_connection_are_reported(config, caplog):
    assert not config.validate()  # /ca.pem
    assert "connection 'qq': ssl_ca_certs /ca.pem cannot be read" in caplog.text


def test_ensure_defaults_overwrites_nothing(config):
    config.custom_handlers = None
    config.ensure_defaults()
    assert config.custom_handlers == {}
    config.register_custom_handler("x", print)
    config.ensure_defaults()
    assert config.custom_handlers == {"custom_x": print}


# -- files and environment


def test_a_toml_file_may_hold_all_of_it(tmp_path):
    file = tmp_path / "bots.toml"
    file.write_text(
        f"""
        [multi_client]
        auto_connect_on_start = true
        [multi_client.connections.wechat]
        url = "{URL}"
        api_key = "key_of_wechat"
        ping_interval = 5
        [multi_client.connections.qq]
        url = "{URL}"
        api_key = "key_of_qq"
        headers = {{ x-trace = "1" }}
        """,
        encoding="utf-8",
    )
    config = MultiClientConfig.from_toml(file)
    assert config.auto_connect_on_start
    assert config.connections["wechat"].ping_interval == 5
    assert config.connections["qq"].headers == {"x-trace": "1"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            'ping_interval = "soon"',
            "ConnectionEntry.ping_interval must be a number of seconds from 0 to 86400, not 'soon'",
        ),
        ("pingu = 1", "a connection has no field pingu"),
        ('on_message = "print"', "ConnectionEntry.on_message must be callable or None, not str"),
        ("api_key = 5", "ConnectionEntry.api_key must be a string, not int"),
    ],
)
def test_what_is_wrong_in_a_connection_of_a_file_is_told_with_all_names(tmp_path, line, said):
    file = tmp_path / "bots.toml"
    file.write_text(f'[multi_client.connections.wechat]\nurl = "{URL}"\n{line}\n', encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        MultiClientConfig.from_toml(file)
    assert str(caught.value) == f"{file}: key `connections`: connection 'wechat': {said}"


def test_connections_may_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("BOT_CONNECTIONS", json.dumps({"wechat": CONNECTIONS["wechat"]}))
    monkeypatch.setenv("BOT_AUTO_CONNECT_ON_START", "true")
    config = MultiClientConfig.from_env("BOT_")
    assert config.connections["wechat"].api_key == "key_of_wechat"
    assert config.auto_connect_on_start


@pytest.mark.parametrize(
    "text", ["api_key=hush_hush", '["hush_hush"]', '{"w": {"api_key": "hush_hush", "platform": 5}}']
)
def test_what_is_wrong_in_the_environment_shows_no_secret(monkeypatch, text):
    monkeypatch.setenv("MAIM_CONNECTIONS", text)
    with pytest.raises(ConfigError, match="environment variable MAIM_CONNECTIONS") as caught:
        MultiClientConfig.from_env()
    assert "hush" not in str(caught.value)


# -- the factory


def test_a_multi_client_is_made_of_connections_or_of_none():
    assert create_multi_client().config.connections == {}
    client = create_multi_client({"wechat": CONNECTIONS["wechat"]}, connect_timeout=3.0)
    assert list(client.list_connections()) == ["wechat"]
    assert client.config.connect_timeout == 3.0
    with pytest.raises(ConfigError, match="connection 'x' cannot be used as configured: it needs api_key"):
        create_multi_client({"x": {"url": URL}})
