"""Where the fields of a named connection come from: the entry, then `MultiClientConfig`, then `default_config`."""

from __future__ import annotations

import dataclasses

import pytest

from maim_trio.client import ClientConfig, ConnectionEntry, MultiClientConfig
from maim_trio.client._layers import LIVE, Layers, LogSettings, NamedConfig
from maim_trio.errors import ConfigError

URL = "ws://bot.example/ws"


def hook(*_):
    """Any callable."""


@pytest.fixture
def shared():
    return MultiClientConfig()


@pytest.fixture
def default():
    return ClientConfig()


def entry(**given):
    return ConnectionEntry("a", **{"url": URL, "api_key": "key_of_a", **given})


# Every field with two values that are not its default; the second is the narrower layer's.
VALUES = {
    "platform": ("wechat", "qq"),
    "auto_reconnect": (False, True),
    "max_reconnect_attempts": (1, 5),
    "reconnect_delay": (2.0, 1.0),
    "ping_interval": (3.0, 20.0),
    "connect_timeout": (3.0, 10.0),
    "headers": ({"a": "1"}, {"b": "2"}),
    "max_message_size": (2048, 104_857_600),
    "handler_timeout": (3.0, None),
    "handler_ordering": ("per_connection", "concurrent"),
    "ssl_verify": (False, True),
    "ssl_ca_certs": ("/a.pem", "/b.pem"),
    "log_level": ("DEBUG", "INFO"),
    "enable_connection_log": (False, True),
    "enable_stats": (False, True),
    "on_connect": (hook, print),
    "on_message": (hook, print),
    "custom_logger": (object(), object()),
}


@pytest.mark.parametrize("name", VALUES)
def test_what_an_entry_leaves_unset_comes_from_the_default_config(shared, default, name):
    wide, narrow = VALUES[name]
    default.update({name: wide})
    assert getattr(NamedConfig(entry(), shared, default), name) == wide
    assert getattr(NamedConfig(entry(**{name: narrow}), shared, default), name) == narrow


@pytest.mark.parametrize("name", sorted({field.name for field in dataclasses.fields(MultiClientConfig)} & set(VALUES)))
def test_the_shared_configuration_stands_between_entry_and_default_config(default, name):
    wide, narrow = VALUES[name]
    default.update({name: wide})
    assert getattr(NamedConfig(entry(), MultiClientConfig(**{name: narrow}), default), name) == narrow
    assert getattr(NamedConfig(entry(**{name: wide}), MultiClientConfig(**{name: narrow}), default), name) == wide
    assert getattr(NamedConfig(entry(), MultiClientConfig(**{name: wide}), None), name) == wide


def test_without_defaults_every_field_is_that_of_a_single_client(shared):
    ours, single = NamedConfig(entry(), shared, None), ClientConfig(url=URL, api_key="key_of_a")
    for field in dataclasses.fields(ClientConfig):
        assert getattr(ours, field.name) == getattr(single, field.name), field.name


def test_url_and_key_may_come_from_the_default_config(shared):
    default = ClientConfig(url="wss://bot.example/ws", api_key="default_key", platform="default_platform")
    config = NamedConfig(ConnectionEntry("a"), shared, default)
    assert (config.url, config.api_key, config.platform) == ("wss://bot.example/ws", "default_key", "default_platform")
    assert config.uses_tls
    assert config.problem() is None


def test_what_names_one_connection_does_not_come_from_the_default_config(shared, default):
    default.update({"connection_uuid": "u-1", "stats_callback": hook})
    config = NamedConfig(entry(), shared, default)
    assert (config.connection_uuid, config.stats_callback) == (None, None)
    config = NamedConfig(entry(connection_uuid="u-2", stats_callback=print), shared, default)
    assert (config.connection_uuid, config.stats_callback) == ("u-2", print)


def test_tls_goes_by_the_url_of_the_connection_not_by_that_of_the_defaults(shared):
    default = ClientConfig(url="wss://bot.example/ws", api_key="k")
    assert not NamedConfig(entry(), shared, default).uses_tls
    assert NamedConfig(entry(url="wss://bot.example/ws"), shared, ClientConfig(url=URL)).ssl_enabled
    assert NamedConfig(entry(ssl_enabled=True), shared, None).uses_tls


def test_the_older_name_of_the_size_limit_never_wins_over_a_narrower_layer(shared):
    default = ClientConfig(max_size=4096)
    assert NamedConfig(entry(), shared, default).max_message_size == 4096
    assert NamedConfig(entry(max_message_size=2048), shared, default).max_message_size == 2048
    older = entry(max_size=8192)
    config = NamedConfig(older, shared, default)
    assert config.max_message_size == 8192
    older.max_message_size = 16384
    config.refresh()
    assert config.max_message_size == 16384


def test_a_hook_that_was_set_to_none_leaves_the_place_to_the_next_layer(default):
    default.on_message = hook
    shared = MultiClientConfig(on_message=None)
    assert NamedConfig(entry(on_message=None), shared, default).on_message is hook


@pytest.mark.parametrize("name", sorted(LIVE))
def test_hooks_and_log_flags_are_read_live_from_every_layer(shared, default, name):
    given = entry()
    config = NamedConfig(given, shared, default)
    first, second = (
        (False, True) if name.startswith("enable") else ("DEBUG", "ERROR") if name == "log_level" else (1, 2)
    )
    first, second = (hook, print) if name.startswith("on_") else (first, second)
    setattr(default, name, first)
    assert getattr(config, name) == first
    if hasattr(shared, name):
        setattr(shared, name, second)
        assert getattr(config, name) == second
    setattr(given, name, first)
    assert getattr(config, name) == first


def test_other_fields_are_taken_over_by_a_refresh(shared, default):
    given = entry()
    config = NamedConfig(given, shared, default)
    given.ping_interval, default.reconnect_delay, shared.connect_timeout = 7, 8, 9
    assert (config.ping_interval, config.reconnect_delay, config.connect_timeout) == (20, 1, 10)
    assert config.refresh() == {"ping_interval", "reconnect_delay", "connect_timeout"}
    assert (config.ping_interval, config.reconnect_delay, config.connect_timeout) == (7, 8, 9)
    assert config.refresh() == set()


def test_a_refresh_that_fails_changes_nothing(shared, default):
    given = entry()
    config = NamedConfig(given, shared, default)
    given.ping_interval, default.reconnect_delay = 7, "soon"
    with pytest.raises(ConfigError, match="reconnect_delay"):
        config.refresh()
    assert config.ping_interval == 20


def test_the_log_of_the_multi_client_goes_by_the_shared_configuration_then_the_defaults(shared, default):
    settings = LogSettings(Layers((shared,), default))
    default.log_level, default.custom_logger = "ERROR", hook
    assert (settings.log_level, settings.custom_logger) == ("ERROR", hook)
    shared.log_level, shared.enable_message_log, shared.enable_connection_log = "DEBUG", False, False
    assert (settings.log_level, settings.enable_message_log, settings.enable_connection_log) == ("DEBUG", False, False)


def test_the_repr_shows_no_secret(shared):
    assert "key_of_a" not in repr(NamedConfig(entry(), shared, None))
