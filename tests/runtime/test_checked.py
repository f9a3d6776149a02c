"""Configurations whose fields are checked, and which can be read from TOML files and the environment."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import trio
import trio.testing

from maim_trio import MessageServer
from maim_trio._runtime import checked
from maim_trio._runtime.checked import Checked, option
from maim_trio.client import ClientConfig, ConnectionEntry, MultiClientConfig
from maim_trio.client_factory import create_client, create_client_config, create_ssl_client_config
from maim_trio.errors import ConfigError
from maim_trio.server import ServerConfig, create_server_config, create_ssl_server_config
from tests.memory import Network, text_message

URL = "ws://bot.example/ws"


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch):
    for name in ("MAIM_PORT", "MAIM_URL", "MAIM_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def toml(tmp_path):
    """Writes a file and returns its path."""

    def write(text, name="bot.toml"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


# -- checks


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (checked.text(), ["", "x"], [None, 5, b"x"]),
        (checked.text(optional=True), [None, "x"], [5]),
        (checked.flag, [True, False], [None, 0, 1, "yes"]),
        (checked.optional_flag, [True, None], [0, "no"]),
        (checked.whole(1, 9), [1, 9], [0, 10, True, 1.0, "1", None, math.inf]),
        (checked.whole(1), [10**30], [0]),
        (checked.whole(1, optional=True), [None, 1], [0]),
        (checked.seconds(), [0, 0.5, 86_400], [-1, 86_401, math.nan, math.inf, True, "1", None]),
        (checked.seconds(0.001, optional=True), [None, 0.001], [0]),
        (checked.hook, [None, print, object], [5, "print"]),
        (checked.one_of("a", "b"), ["a"], ["c", None, "A"]),
        (checked.strings, [None, [], ["a"], ("a",)], ["a", [1], 5]),
        (checked.string_map, [{}, {"a": "b"}], [None, {"a": 1}, {1: "a"}, []]),
        (checked.anything, [None, 5, object()], []),
    ],
)
def test_a_check_says_what_a_value_must_be(check, good, bad):
    assert [check(value) for value in good] == [None] * len(good)
    for value in bad:
        assert check(value).startswith("must be"), value


# -- a configuration of its own


@dataclasses.dataclass
class Kettle(Checked):
    section = "kettle"

    litres: float = option(1.5, checked.seconds(0, 5))
    cups: int = option(6, checked.whole(1, 12))
    owner: str = option("", checked.text(), normalise=str.strip)
    pin: str = option("", checked.text(), secret=True)
    whistle: object = option(None, checked.hook, in_files=False)
    labels: dict[str, str] = option({}, checked.string_map, normalise=dict)


def test_a_wrong_value_is_refused_with_the_name_and_what_it_must_be():
    with pytest.raises(ConfigError, match=r"Kettle\.cups must be a whole number from 1 to 12, not 13"):
        Kettle(cups=13)
    with pytest.raises(ConfigError, match=r"not 'x{79}$"):
        Kettle(litres="x" * 1000)


@pytest.mark.parametrize(("field", "value"), [("pin", 1234), ("whistle", "sesame")])
def test_what_may_be_secret_is_not_shown(field, value):
    with pytest.raises(ConfigError, match=f"Kettle.{field} must be .*, not (int|str)$"):
        Kettle(**{field: value})
    assert "1234" not in repr(Kettle(pin="1234"))
    assert "sesame" not in repr(Kettle(whistle=lambda: "sesame"))


def test_values_are_normalised_after_the_check():
    assert Kettle(owner=" Ann ").owner == "Ann"
    labels = {"a": "b"}
    assert Kettle(labels=labels).labels is not labels


# -- update


def test_an_update_tells_what_has_really_changed():
    kettle = Kettle()
    assert kettle.update({"cups": 6, "litres": 2.0, "owner": " Ann"}) == {"litres", "owner"}
    assert (kettle.cups, kettle.litres, kettle.owner) == (6, 2.0, "Ann")
    assert kettle.update({}) == set()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cups": 7, "litres": 99}, "Kettle.litres must be"),
        ({"litres": 99, "cups": 7}, "Kettle.litres must be"),
        ({"cups": 7, "spout": 1, "lid": 2}, "Kettle has no field lid, spout"),
        ({"cups": 7, "labels": {"a": 1}}, "Kettle.labels must be a dict of strings"),
    ],
)
def test_an_update_is_all_or_nothing(changes, said):
    kettle = Kettle()
    with pytest.raises(ValueError, match=said) as caught:
        kettle.update(changes)
    assert isinstance(caught.value, ConfigError)
    assert kettle == Kettle()


def test_an_update_to_what_cannot_be_used_is_refused_as_a_whole():
    config = ServerConfig()
    with pytest.raises(ConfigError, match="ServerConfig needs ssl_certfile, ssl_keyfile"):
        config.update_usable({"port": 1, "ssl_enabled": True})
    assert config == ServerConfig()
    assert config.update_usable({"port": 1, "path": "/x"}) == {"port", "path"}


def test_an_update_is_not_refused_for_what_was_wrong_before():
    config = ServerConfig(ssl_enabled=True)
    assert config.update_usable({"log_level": "debug"}) == {"log_level"}
    assert config.log_level == "DEBUG"


async def test_updates_under_load_are_never_seen_half_done(autojump_clock):
    """Handlers that read the live configuration while good and bad updates come in see one state or the other."""
    seen = set()

    def on_message(message, metadata):
        seen.add((server.config.path, server.config.port, server.config.max_connections))

    network = Network()
    server = network.server(on_message=on_message, path="/ws", port=1, max_connections=1000)
    async with server, network.client() as client:
        await client.connect()

        async def load():
            for number in range(300):
                assert await client.send_message(text_message(number))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(load)
            for number in range(300):
                with pytest.raises(ConfigError):
                    server.update_config(path="/bad", port=9, max_connections=number or "x", no_such_field=1)
                with pytest.raises(ConfigError):
                    server.update_config(path="/bad", port=9, max_connections=-1)
                with pytest.raises(ConfigError):
                    server.update_config(path="/bad", port=9, ssl_enabled=True)
                odd = number % 2
                server.update_config(path=("/ws", "/odd")[odd], port=1 + odd, max_connections=1000 + odd)
                await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        assert server.get_stats()["messages_processed"] == 300
        assert seen <= {("/ws", 1, 1000), ("/odd", 2, 1001)}
        assert client.is_connected()


# -- validate


@pytest.mark.parametrize(
    ("config", "missing"),
    [
        (ServerConfig(), set()),
        (ServerConfig(ssl_enabled=True), {"ssl_certfile", "ssl_keyfile"}),
        (ServerConfig(ssl_enabled=True, ssl_verify=True, ssl_certfile="c"), {"ssl_keyfile", "ssl_ca_certs"}),
        (ClientConfig(), {"url", "api_key"}),
        (ClientConfig(url=URL, api_key="k"), set()),
        (MultiClientConfig(), set()),
        (MultiClientConfig({"a": {"url": URL}}), {"a.api_key"}),
    ],
)
def test_what_is_missing_is_named_and_logged(config, missing, caplog):
    assert config.get_missing_fields() == missing
    assert config.validate() is (not missing)
    assert all(name in caplog.text for name in missing)
    assert (config.problem() is None) is (not missing)
    config.ensure_defaults()
    assert config.get_missing_fields() == missing


def test_placeholder_paths_are_no_error_before_the_configuration_is_used(caplog):
    config = ServerConfig(ssl_enabled=True, ssl_certfile="/path/to/server.crt", ssl_keyfile="/path/to/server.key")
    assert config.get_missing_fields() == set()
    assert not config.validate()
    assert "ssl_certfile /path/to/server.crt cannot be read" in caplog.text


# -- TOML


CLASSES = {
    "server": (ServerConfig, {"port": 1, "log_level": "DEBUG", "allowed_origins": ["https://a"], "ping_interval": 5}),
    "client": (ClientConfig, {"url": URL, "api_key": "k", "headers": {"a": "b"}, "handler_timeout": 2.5}),
    "multi_client": (MultiClientConfig, {"auto_connect_on_start": True, "connect_timeout": 3}),
}


def _toml_of(fields):
    lines = []
    for name, value in fields.items():
        text = "{ a = 'b' }" if isinstance(value, dict) else json.dumps(value)
        lines.append(f"{name} = {text}")
    return "\n".join(lines)


@pytest.mark.parametrize("section", CLASSES)
def test_a_file_holds_a_table_of_its_own_or_nothing_else(toml, section):
    kind, fields = CLASSES[section]
    text = _toml_of(fields)
    for path in (toml(text, "a.toml"), toml(f'title = "bots"\n[{section}]\n{text}\n[another]\nx = 1', "b.toml")):
        for form in (path, str(path)):
            config = kind.from_toml(form)
            assert {name: getattr(config, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        (ServerConfig, "port = 'x'", "key `port` must be a whole number from 0 to 65535, not 'x'"),
        (ServerConfig, "port = 80000", "key `port` must be a whole number from 0 to 65535, not 80000"),
        (ServerConfig, "path = 'ws'", "key `path` must be a string that begins with '/', not 'ws'"),
        (ServerConfig, "prot = 1", "key `prot`: ServerConfig has no such field"),
        (ServerConfig, "prot = 1", "key `prot`: ServerConfig has no such field; did you mean port?"),
        (
            ServerConfig,
            "[servr]\nport = 1",
            "key `servr`: ServerConfig has no such field; its table is called [server]",
        ),
        (ServerConfig, "[server]\nprot = 1", "key `prot`: ServerConfig has no such field; did you mean port? (in the "),
        (
            ServerConfig,
            "[server]\nport = ''",
            "key `port` must be a whole number from 0 to 65535, not '' (in the table ",
        ),
        (ServerConfig, "on_auth = 'print'", "key `on_auth`: this is a Python object; assign it in your program"),
        (ServerConfig, "custom_handlers = { x = 'print' }", "key `custom_handlers`: this is a Python object"),
        (ServerConfig, "custom_logger = 'loguru'", "key `custom_logger`: this is a Python object"),
        (ServerConfig, "server = 5", "`server` must be a table"),
        (ServerConfig, "[server]\nlog_level = 'LOUD'", "key `log_level` must be one of 'DEBUG'"),
        (ClientConfig, "api_key = 1234567", "key `api_key` must be a string, not int"),
        (ClientConfig, "url = 'http://user:sesame@x'", "key `url` cannot be used: url must begin with ws://"),
        (ClientConfig, "headers = { a = 1 }", "key `headers` must be a dict of strings, not dict"),
        (MultiClientConfig, "connections = ['sesame']", "key `connections` is not a dict of connections"),
        (ServerConfig, "port = \n", "is not valid TOML: Invalid value (at line 1"),
        (ServerConfig, "port = 1\nport = 2\n", "is not valid TOML: Cannot overwrite a value (at line 2"),
        (ServerConfig, b"\xff", "is not valid TOML"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_file_key_and_expected_type(toml, kind, text, said):
    path = toml(text)
    with pytest.raises(ConfigError) as caught:
        kind.from_toml(path)
    assert str(caught.value).startswith(f"{path}: {said}")
    assert "sesame" not in str(caught.value)
    assert "1234567" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match=f"{tmp_path}/none.toml: cannot be read: No such file"):
        ServerConfig.from_toml(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match=f"{tmp_path}: cannot be read: Is a directory"):
        ServerConfig.from_toml(tmp_path)


# -- the environment


def test_variables_fill_the_fields_of_their_name(monkeypatch):
    for name, value in {
        "MAIM_PORT": " 18040 ",
        "MAIM_LOG_LEVEL": "debug",
        "MAIM_SSL_ENABLED": "FALSE",
        "MAIM_PING_INTERVAL": "2.5",
        "MAIM_HANDLER_TIMEOUT": "3",
        "MAIM_ALLOWED_ORIGINS": "https://a, https://b,",
        "MAIM_SOMETHING_ELSE": "left alone",
        "PORT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    config = ServerConfig.from_env()
    assert (config.port, config.log_level, config.ssl_enabled) == (18040, "DEBUG", False)
    assert (config.ping_interval, config.handler_timeout) == (2.5, 3.0)
    assert config.allowed_origins == ["https://a", "https://b"]
    assert config.host == "0.0.0.0"


def test_the_prefix_is_the_programs_choice(monkeypatch):
    monkeypatch.setenv("BOT_URL", URL)
    monkeypatch.setenv("BOT_API_KEY", "key_of_bot")
    monkeypatch.setenv("BOT_HEADERS", '{"x-trace": "1"}')
    config = ClientConfig.from_env("BOT_")
    assert (config.url, config.api_key, config.headers) == (URL, "key_of_bot", {"x-trace": "1"})
    assert ClientConfig.from_env().get_missing_fields() == {"url", "api_key"}


@pytest.mark.parametrize(
    ("kind", "name", "value", "said"),
    [
        (ServerConfig, "PORT", "http", "must be a whole number from 0 to 65535, not 'http'"),
        (ServerConfig, "PORT", "", "must be a whole number from 0 to 65535, not ''"),
        (ServerConfig, "PORT", "1.5", "must be a whole number from 0 to 65535, not '1.5'"),
        (ServerConfig, "SSL_ENABLED", "maybe", "must be True or False, not 'maybe'"),
        (ServerConfig, "PING_INTERVAL", "nan", "must be a number of seconds from 0 to 86400, not nan"),
        (ClientConfig, "HEADERS", "x-trace: sesame", "must be a dict of strings, not str"),
        (ClientConfig, "HEADERS", '["sesame"]', "must be a dict of strings, not list"),
        (ClientConfig, "URL", "http://user:sesame@x", "cannot be used: url must begin with ws://"),
        (ClientConfig, "SSL_ENABLED", "maybe", "must be True, False or None, not 'maybe'"),
        (MultiClientConfig, "CONNECT_TIMEOUT", "soon", "must be a number of seconds from 0.001 to 86400, not 'soon'"),
    ],
)
def test_what_is_wrong_in_a_variable_is_told_with_its_name_and_expected_type(monkeypatch, kind, name, value, said):
    monkeypatch.setenv(f"MAIM_{name}", value)
    with pytest.raises(ConfigError) as caught:
        kind.from_env()
    assert str(caught.value).startswith(f"environment variable MAIM_{name} {said}")
    assert "sesame" not in str(caught.value)


def test_callbacks_do_not_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("MAIM_ON_AUTH", "print")
    monkeypatch.setenv("MAIM_CUSTOM_HANDLERS", "{}")
    assert ServerConfig.from_env().on_auth is None


def test_a_misspelt_field_cannot_be_assigned():
    config = ServerConfig()
    with pytest.raises(ConfigError, match="no field on_mesage"):
        config.on_mesage = print
    config.on_message = print
    assert config.on_message is print


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ServerConfig(prot=1), "ServerConfig has no field prot; did you mean port?"),
        (lambda: create_server_config(onauth=print), "ServerConfig has no field onauth; did you mean on_auth?"),
        (lambda: create_ssl_server_config(pth="/"), "ServerConfig has no field pth; did you mean path?"),
        (lambda: ClientConfig(urll=URL), "ClientConfig has no field urll; did you mean url?"),
        (lambda: create_client_config(urll=URL), "ClientConfig has no field urll; did you mean url?"),
        (lambda: create_client(URL, apikey="k"), "ClientConfig has no field apikey; did you mean api_key?"),
        (lambda: create_ssl_client_config(hots="x"), "ClientConfig has no field hots; did you mean host?"),
        (
            lambda: MultiClientConfig(conections={}),
            "MultiClientConfig has no field conections; did you mean connections?",
        ),
        (lambda: ConnectionEntry("qq", platfrm="qq"), "a connection has no field platfrm; did you mean platform?"),
        (lambda: MessageServer(prot=1), "MessageServer has no field prot; did you mean port?"),
        (lambda: ServerConfig().update({"prot": 1}), "ServerConfig has no field prot; did you mean port?"),
        (lambda: setattr(ServerConfig(), "prot", 1), "ServerConfig has no field prot; did you mean port?"),
        (lambda: ServerConfig(colour="red"), "ServerConfig has no field colour"),
    ],
)
def test_a_misspelt_name_is_a_config_error_with_the_nearest_right_one(make, said):
    """And a TypeError as well, which is what Python makes of such a call."""
    with pytest.raises(ConfigError) as caught:
        make()
    assert str(caught.value) == said
    assert isinstance(caught.value, TypeError)
