"""Where a client connects to."""

from __future__ import annotations

import pytest

from maim_trio.client._url import parse_url
from maim_trio.errors import ConfigError


@pytest.mark.parametrize(
    ("url", "secure", "host", "port", "host_header", "target"),
    [
        ("ws://bot.example:18040/ws", False, "bot.example", 18040, "bot.example:18040", "/ws"),
        ("ws://bot.example/ws", False, "bot.example", 80, "bot.example", "/ws"),
        ("ws://bot.example:80/ws", False, "bot.example", 80, "bot.example", "/ws"),
        ("ws://bot.example:443/ws", False, "bot.example", 443, "bot.example:443", "/ws"),
        ("wss://bot.example/ws", True, "bot.example", 443, "bot.example", "/ws"),
        ("wss://bot.example:443/ws", True, "bot.example", 443, "bot.example", "/ws"),
        ("wss://bot.example:80/ws", True, "bot.example", 80, "bot.example:80", "/ws"),
        ("WS://Bot.Example/ws", False, "bot.example", 80, "bot.example", "/ws"),
        ("ws://127.0.0.1:1", False, "127.0.0.1", 1, "127.0.0.1:1", "/"),
        ("ws://[::1]:18040/ws", False, "::1", 18040, "[::1]:18040", "/ws"),
        ("ws://bot.example/a%20b/c", False, "bot.example", 80, "bot.example", "/a%20b/c"),
        ("ws://bot.example?x=1", False, "bot.example", 80, "bot.example", "/?x=1"),
        ("ws://bot.example/ws?x=1&y=%2F", False, "bot.example", 80, "bot.example", "/ws?x=1&y=%2F"),
        ("ws://bot.example/ws?x=1#part", False, "bot.example", 80, "bot.example", "/ws?x=1"),
        ("ws://user:pass@bot.example/ws", False, "bot.example", 80, "bot.example", "/ws"),
        ("ws://bücher.example/ws", False, "bücher.example", 80, "bücher.example", "/ws"),
    ],
)
def test_a_url_says_where_to_connect_and_what_to_ask_for(url, secure, host, port, host_header, target):
    address = parse_url(url)
    assert (address.secure, address.host, address.port) == (secure, host, port)
    assert (address.host_header, address.target) == (host_header, target)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "bot.example:18040/ws",
        "/ws",
        "http://bot.example/ws",
        "https://bot.example/ws",
        "ws:///ws",
        "ws://",
        "ws://:80/ws",
        "ws://bot.example:port/ws",
        "ws://bot.example:99999/ws",
        "ws://bot.example:-1/ws",
        "ws://bot.example:0/ws",
        "ws://[::1/ws",
        "ws://bot example/ws",
        "ws://bot\x00example/ws",
        "ws://bot\x7fexample/ws",
        "ws://bot..example/ws",
        "ws://" + "a" * 64 + "/ws",
        "ws://" + "a." * 200 + "a/ws",
        "ws://ü..ü/ws",
        "ws://\ud800/ws",
    ],
)
def test_what_cannot_be_connected_to_is_refused_in_words(url):
    with pytest.raises(ConfigError, match=r"^url "):
        parse_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://bot.example/ws?api_key=topsecret42",
        "ws://bot.example:port/ws?api_key=topsecret42",
        "ws://user:topsecret42@/ws",
        "ws://topsecret42:topsecret42@bot.example:99999/ws",
    ],
)
def test_the_error_repeats_nothing_that_may_be_secret(url):
    with pytest.raises(ConfigError) as caught:
        parse_url(url)
    assert "topsecret42" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_what_logs_show_has_neither_query_nor_user():
    shown = parse_url("wss://user:topsecret42@bot.example:1/ws?api_key=topsecret42#topsecret42").shown
    assert shown == "wss://bot.example:1/ws"


def test_the_repr_shows_no_query():
    assert "topsecret42" not in repr(parse_url("wss://bot.example:1/ws?api_key=topsecret42"))


def test_other_schemes_have_ports_of_their_own():
    address = parse_url("tcp://example.org", {"tcp": 18000})
    assert (address.port, address.secure, address.shown) == (18000, False, "tcp://example.org/")
    with pytest.raises(ConfigError, match="must begin with tcp://, not 'ws'"):
        parse_url("ws://example.org", {"tcp": 18000})
