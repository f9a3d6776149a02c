"""The client's configuration: the table of the API, checks, secrets."""

from __future__ import annotations

import dataclasses
import logging
import math

import pytest

from maim_trio.client import ClientConfig, WebSocketClient, create_client_config
from maim_trio.errors import ConfigError

URL = "ws://bot.example:18040/ws"
KEY = "topsecret42"

DEFAULTS = {
    "url": "",
    "api_key": "",
    "platform": "default",
    "connection_uuid": None,
    "ssl_verify": True,
    "ssl_check_hostname": True,
    "ssl_ca_certs": None,
    "ssl_certfile": None,
    "ssl_keyfile": None,
    "max_message_size": 104_857_600,
    "auto_reconnect": True,
    "max_reconnect_attempts": 5,
    "reconnect_delay": 1.0,
    "max_reconnect_delay": 30.0,
    "reconnect_reset_after": 10.0,
    "ping_interval": 20.0,
    "ping_timeout": 10.0,
    "close_timeout": 10.0,
    "connect_timeout": 10.0,
    "on_message": None,
    "on_connect": None,
    "on_disconnect": None,
    "custom_handlers": {},
    "headers": {},
    "enable_stats": True,
    "stats_callback": None,
    "stats_interval": 5.0,
    "log_level": "INFO",
    "enable_connection_log": True,
    "enable_message_log": True,
    "custom_logger": None,
    "max_concurrent_handlers": 1000,
    "max_concurrent_handlers_per_connection": 100,
    "handler_timeout": None,
    "handler_ordering": "concurrent",
    "shutdown_timeout": 10.0,
    "inbox_size": 1000,
    "send_timeout": 20.0,
}

WRONG = [
    ("url", 5),
    ("url", None),
    ("url", "http://bot.example/ws"),
    ("url", "ws://bot..example/ws"),
    ("api_key", 5),
    ("api_key", None),
    ("api_key", b"bytes"),
    ("platform", None),
    ("connection_uuid", 5),
    ("auto_reconnect", "yes"),
    ("auto_reconnect", 1),
    ("max_reconnect_attempts", -1),
    ("max_reconnect_attempts", 1.5),
    ("max_reconnect_attempts", True),
    ("reconnect_delay", -0.1),
    ("reconnect_delay", "1"),
    ("reconnect_delay", math.nan),
    ("reconnect_delay", math.inf),
    ("max_reconnect_delay", -1),
    ("reconnect_reset_after", -1),
    ("ping_interval", -1),
    ("ping_timeout", 0),
    ("close_timeout", 0),
    ("connect_timeout", 0),
    ("connect_timeout", None),
    ("send_timeout", 0),
    ("shutdown_timeout", -1),
    ("handler_timeout", 0),
    ("handler_ordering", "random"),
    ("inbox_size", 0),
    ("max_concurrent_handlers", 0),
    ("max_message_size", 0),
    ("max_size", 0),
    ("headers", {"a": 1}),
    ("headers", ["a"]),
    ("headers", None),
    ("on_message", "print"),
    ("on_connect", 1),
    ("on_disconnect", 1),
    ("custom_handlers", []),
    ("custom_handlers", {"": print}),
    ("custom_handlers", {5: print}),
    ("log_level", "LOUD"),
    ("log_level", 5),
    ("enable_message_log", "no"),
    ("ssl_enabled", "yes"),
    ("ssl_verify", None),
]


def config(**fields):
    return ClientConfig(**{"url": URL, "api_key": KEY, **fields})


def test_the_defaults_are_the_documented_ones():
    made = ClientConfig()
    assert {name: getattr(made, name) for name in DEFAULTS} == DEFAULTS


def test_url_key_and_platform_may_be_given_by_position():
    made = ClientConfig(URL, KEY, "wechat")
    assert (made.url, made.api_key, made.platform) == (URL, KEY, "wechat")


def test_dicts_are_not_shared_between_configurations_nor_with_the_caller():
    headers, handlers = {"x-a": "1"}, {"echo": print}
    one, other = config(headers=headers, custom_handlers=handlers), config()
    one.headers["x-b"] = "2"
    one.register_custom_handler("more", print)
    assert headers == {"x-a": "1"}
    assert handlers == {"echo": print}
    assert other.headers == {}
    assert other.custom_handlers == {}
    one.update({"headers": headers})
    one.headers["x-b"] = "2"
    assert headers == {"x-a": "1"}


@pytest.mark.parametrize(("name", "value"), WRONG, ids=lambda value: repr(value)[:30])
def test_a_wrong_type_or_range_is_refused_naming_the_field(name, value):
    with pytest.raises(ConfigError, match=rf"^ClientConfig\.{name} "):
        config(**{name: value})


@pytest.mark.parametrize(("name", "value"), WRONG, ids=lambda value: repr(value)[:30])
def test_an_update_changes_everything_or_nothing(name, value):
    made = config()
    before = dataclasses.asdict(made)
    with pytest.raises(ConfigError, match=name):
        made.update({"platform": "changed", "ping_interval": 3.0} | {name: value} | {"stats_interval": 3.0})
    assert dataclasses.asdict(made) == before


def test_an_update_of_an_unknown_field_changes_nothing():
    made = config()
    with pytest.raises(ConfigError, match="no_such_field"):
        made.update({"platform": "changed", "no_such_field": 1})
    assert made.platform == "default"


def test_a_handler_that_fits_neither_form_is_refused_when_it_is_handed_in():
    with pytest.raises(TypeError):
        config(custom_handlers={"echo": lambda: None})
    made = config()
    with pytest.raises(TypeError):
        made.update({"platform": "changed", "custom_handlers": {"echo": lambda a, b, c: None}})
    assert made.platform == "default"
    with pytest.raises(TypeError):
        made.register_custom_handler("echo", 5)
    assert made.custom_handlers == {}


def test_types_of_custom_handlers_get_their_prefix():
    made = config(custom_handlers={"echo": print, "custom_ping": print})
    made.register_custom_handler("more", print)
    assert set(made.custom_handlers) == {"custom_echo", "custom_ping", "custom_more"}
    made.unregister_custom_handler("custom_more")
    made.unregister_custom_handler("echo")
    made.unregister_custom_handler("never_there")
    assert set(made.custom_handlers) == {"custom_ping"}


@pytest.mark.parametrize(
    ("fields", "missing"),
    [({}, {"url", "api_key"}), ({"url": URL}, {"api_key"}), ({"api_key": KEY}, {"url"})],
)
def test_what_is_required_may_come_later_and_is_reported(fields, missing, caplog):
    made = ClientConfig(**fields)
    assert made.get_missing_fields() == missing
    assert made.validate() is False
    assert all(name in caplog.text for name in missing)
    with pytest.raises(ConfigError, match=sorted(missing)[0]):
        WebSocketClient(made)
    made.url, made.api_key = URL, KEY
    assert made.get_missing_fields() == set()
    assert made.validate() is True
    assert WebSocketClient(made).config is made


def test_a_client_takes_nothing_but_its_own_kind_of_configuration():
    with pytest.raises(ConfigError, match="ClientConfig"):
        WebSocketClient({"url": URL, "api_key": KEY})  # type: ignore[arg-type]


def test_the_log_level_may_be_written_in_lower_case():
    made = config(log_level="debug")
    assert made.log_level == "DEBUG"
    made.update({"log_level": "warning"})
    assert made.log_level == "WARNING"


def test_max_size_is_another_name_of_max_message_size():
    assert config(max_size=2048).max_message_size == 2048
    made = config()
    made.update({"max_size": 4096})
    assert made.max_message_size == 4096


@pytest.mark.parametrize(
    ("url", "given", "encrypted"),
    [
        ("ws://bot.example/ws", None, False),
        ("wss://bot.example/ws", None, True),
        ("ws://bot.example/ws", True, True),
        ("wss://bot.example/ws", False, True),  # never in clear against the URL's word
    ],
)
def test_the_url_says_whether_the_connection_is_encrypted(url, given, encrypted):
    assert config(url=url, ssl_enabled=given).uses_tls is encrypted


def test_a_url_that_is_assigned_later_says_it_too():
    made = ClientConfig()
    made.url = "wss://bot.example/ws"
    assert made.uses_tls
    made.url = "ws://bot.example/ws"
    assert not made.uses_tls


def test_the_factory_makes_the_same_and_knows_no_unknown_names():
    assert create_client_config(URL, KEY, platform="wechat") == config(platform="wechat")
    with pytest.raises(TypeError):
        create_client_config(URL, KEY, no_such_field=1)


def test_the_repr_shows_no_secret():
    made = config(url=f"{URL}?api_key={KEY}", headers={"authorization": f"Bearer {KEY}"})
    assert KEY not in repr(made)
    assert KEY not in str(made)


@pytest.mark.parametrize(
    "fields",
    [
        {"url": f"http://bot.example/ws?api_key={KEY}"},
        {"url": f"ws://bot.example:port/ws?api_key={KEY}"},
        {"api_key": KEY.encode()},
        {"headers": {"authorization": KEY.encode()}},
        {"headers": [f"authorization: {KEY}"]},
    ],
)
def test_no_secret_stands_in_the_text_of_an_error(fields):
    with pytest.raises(ConfigError) as caught:
        config(**fields)
    assert KEY not in str(caught.value)


def test_no_secret_stands_in_what_validate_logs(caplog):
    made = config(url=f"wss://bot.example/ws?api_key={KEY}", ssl_ca_certs="/no/such/file")
    with caplog.at_level(logging.DEBUG):
        assert made.validate() is False
    assert "/no/such/file" in caplog.text
    assert KEY not in caplog.text


def test_tls_follows_an_updated_url_unless_it_was_set_on_purpose():
    config = ClientConfig(url="wss://bot.example/ws", api_key="k")
    config.update({"url": "ws://bot.example/ws"})
    assert (config.ssl_enabled, config.uses_tls) == (False, False)
    config.update({"url": "wss://bot.example/ws"})
    assert (config.ssl_enabled, config.uses_tls) == (True, True)
    config = ClientConfig(url="wss://bot.example/ws", api_key="k", ssl_enabled=True)
    config.update({"url": "ws://bot.example/ws"})
    assert config.uses_tls  # nobody is moved to plain text unasked
    config.update({"ssl_enabled": None})
    assert not config.uses_tls
