"""HTTP heads, without any stream."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maim_trio._transport import heads
from maim_trio._transport.heads import Accept, BadHead, Refuse

from . import raw


def parsed(*lines: bytes):
    return heads.parse_request(b"\r\n".join([*lines, b"", b""]))


def upgrade(**changes):
    return heads.parse_request(raw.request(**changes))


def test_a_request_keeps_its_target_and_all_headers_in_order():
    request = parsed(b"GET /ws?a=1&b=%C3%A9 HTTP/1.1", b"Host: x:1", b"X-A:1", b"x-a: \t two words \t", b"X-B:")
    assert (request.method, request.target, request.http_version) == ("GET", "/ws?a=1&b=%C3%A9", "1.1")
    assert request.headers == [(b"host", b"x:1"), (b"x-a", b"1"), (b"x-a", b"two words"), (b"x-b", b"")]
    assert request.values(b"x-a") == [b"1", b"two words"]
    assert not request.is_upgrade


def test_lines_may_end_without_carriage_return():
    assert heads.parse_request(b"GET / HTTP/1.1\nHost: x\n\n").headers == [(b"host", b"x")]


@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\n\n", b"\n\r\n"])
def test_a_head_ends_with_its_blank_line(end):
    head = b"GET / HTTP/1.1\r\nHost: x" + end
    assert heads.find_end(head + b"more\r\n\r\n") == len(head)
    assert heads.find_end(head[:-1]) == -1


@pytest.mark.parametrize(
    ("connection", "upgrade", "is_upgrade"),
    [
        (b"Upgrade", b"websocket", True),
        (b"keep-alive, UPGRADE", b"WebSocket", True),
        (b"keep-alive", b"websocket", False),
        (b"Upgrade", b"h2c", False),
        (b"Upgrade", b"h2c, websocket", True),
    ],
)
def test_an_upgrade_is_what_connection_and_upgrade_ask_for(connection, upgrade, is_upgrade):
    request = parsed(b"GET / HTTP/1.1", b"Host: x", b"Connection: " + connection, b"Upgrade: " + upgrade)
    assert request.is_upgrade is is_upgrade


@pytest.mark.parametrize(
    "lines",
    [
        [b"GET /"],
        [b"GET / HTTP/1.1 ", b"Host: x"],
        [b"G\x00T / HTTP/1.1", b"Host: x"],
        [b"GET /\xff HTTP/1.1", b"Host: x"],
        [b"GET  / HTTP/1.1", b"Host: x"],
        [b"GET / HTTP/1.1"],
        [b"GET / HTTP/1.1", b"Host: x", b"Host: y"],
        [b"GET / HTTP/1.1", b"Host: x", b"no colon"],
        [b"GET / HTTP/1.1", b"Host: x", b"a b: c"],
        [b"GET / HTTP/1.1", b"Host: x", b"a : c"],
        [b"GET / HTTP/1.1", b"Host: x", b" folded: c"],
        [b"GET / HTTP/1.1", b"Host: x", b"a: \x00"],
        [b"GET / HTTP/1.1", b"Host: x", b"a: b\rc"],
    ],
)
def test_a_malformed_request_is_400(lines):
    with pytest.raises(BadHead) as caught:
        parsed(*lines)
    assert caught.value.status == 400


def test_another_http_version_is_505():
    with pytest.raises(BadHead) as caught:
        heads.parse_request(b"PRI * HTTP/2.0\r\n\r\n")
    assert caught.value.status == 505


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda data: raw.request(b"X: " + data)))
def test_any_bytes_are_a_request_or_a_bad_head(data):
    try:
        request = heads.parse_request(data)
    except BadHead:
        return
    assert request.target


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda data: raw.switching(data, data)))
def test_any_bytes_are_an_answer_or_a_bad_head(data):
    try:
        response = heads.parse_response(data)
    except BadHead:
        return
    assert 100 <= response.status <= 999


def test_the_repr_of_a_request_shows_no_secret():
    request = heads.parse_request(
        raw.request(b"X-ApiKey: secret", target=b"/ws?api_key=secret"), "1.2.3.4:5", "1.2.3.4"
    )
    assert repr(request) == "<Request GET /ws from 1.2.3.4:5>"


def test_a_good_upgrade_passes():
    assert upgrade().is_upgrade
    heads.check_upgrade(upgrade())


@pytest.mark.parametrize(
    "head",
    [
        raw.request(key=None),
        raw.request(key=b""),
        raw.request(key=b"c2hvcnQ="),
        raw.request(key=b"dGhlIHNhbXBsZSBub25jZQ==!"),
        raw.request(key=b"\xff" * 24),
        raw.request(b"Sec-WebSocket-Key: " + raw.KEY),
        raw.request(b"Content-Length: 5"),
        raw.request(b"Transfer-Encoding: chunked"),
        raw.request().replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
)
def test_an_upgrade_that_trio_websocket_would_let_through_is_400(head):
    with pytest.raises(BadHead) as caught:
        heads.check_upgrade(heads.parse_request(head))
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ((b"Upgrade: websocket", b"Connection: upgrade"), True),
        ((b"UPGRADE: h2c , WebSocket", b"connection: keep-alive,\tUPGRADE"), True),
        ((b"Upgrade: h2c", b"Upgrade: websocket", b"Connection: keep-alive", b"Connection: Upgrade"), True),
        ((b"Upgrade: websocket2", b"Connection: upgrade"), False),
        ((b"Upgrade: websocket", b"Connection: upgrades"), False),
        ((b"Upgrade: web socket", b"Connection: up,grade"), False),
        ((b"Upgrade: websocket",), False),
        ((b"Connection: Upgrade",), False),
    ],
)
def test_an_upgrade_is_asked_for_by_both_headers(lines, expected):
    assert parsed(b"GET / HTTP/1.1", b"Host: x", *lines).is_upgrade is expected


def test_what_decides_about_an_upgrade_is_shown_in_order_and_nothing_else():
    request = heads.parse_request(
        raw.request(
            b"X-ApiKey: secret", b"Sec-WebSocket-Protocol: a", b"Cookie: b", b"Connection:  \xff ", target=b"/x?y"
        )
    )
    assert heads.handshake_head(request).split(b"\r\n") == [
        b"GET /x?y HTTP/1.1",
        b"host: x",
        b"upgrade: websocket",
        b"connection: Upgrade",
        b"sec-websocket-version: 13",
        b"sec-websocket-key: " + raw.KEY,
        b"sec-websocket-protocol: a",
        b"connection: \xff",
        b"",
        b"",
    ]


def test_an_upgrade_with_an_empty_body_passes():
    heads.check_upgrade(heads.parse_request(raw.request(b"Content-Length: 0")))


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (b"\x16\x03\x01", "TLS where plain HTTP was expected"),
        (b"\x15\x03", "TLS where plain HTTP was expected"),
        (b"\x00", "this is not HTTP"),
        (b"\r\n", "this is not HTTP"),
    ],
)
def test_what_cannot_become_http_is_told_from_its_first_byte(start, reason):
    with pytest.raises(BadHead, match=reason):
        heads.check_start(start)


@pytest.mark.parametrize("start", [b"", b"G", b"GET / ", b"PRI"])
def test_what_may_become_http_is_waited_for(start):
    heads.check_start(start)


@pytest.mark.parametrize("start", [b"", b"H", b"HTTP/", b"HTTP/1.1 101 x"])
def test_what_may_become_an_answer_is_waited_for(start):
    heads.check_answer(start)


@pytest.mark.parametrize(("start", "reason"), [(b"S", "not HTTP"), (b"HTTPS", "not HTTP"), (b"\x15", "TLS where")])
def test_what_cannot_become_an_answer_is_told_from_its_first_bytes(start, reason):
    with pytest.raises(BadHead, match=reason):
        heads.check_answer(start)


def split_answer(data):
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    return first, dict(line.split(b": ") for line in lines), body


def test_a_refusal_is_one_line_of_json_and_closes():
    first, headers, body = split_answer(Refuse(401, {"error": "no é", "code": "auth_failed"}).encoded())
    assert first == b"HTTP/1.1 401 Unauthorized"
    assert json.loads(body) == {"error": "no é", "code": "auth_failed"}
    assert body.endswith(b"}\n")
    assert body.count(b"\n") == 1
    assert headers == {
        b"Content-Type": b"application/json",
        b"Content-Length": b"%d" % len(body),
        b"Connection": b"close",
    }


def test_a_refusal_may_have_headers_and_an_upgrade_is_named_in_connection():
    _, headers, _ = split_answer(Refuse(426, {}, [(b"Upgrade", b"websocket"), (b"Retry-After", b"5")]).encoded())
    assert headers[b"Connection"] == b"Upgrade, close"
    assert headers[b"Upgrade"] == b"websocket"
    assert headers[b"Retry-After"] == b"5"


def test_a_refusal_of_a_head_request_has_no_body():
    assert Refuse(404, {"error": "x"}).encoded(body=False).endswith(b"\r\n\r\n")


def test_an_unknown_status_has_a_phrase_too():
    assert Refuse(499, {}).encoded().startswith(b"HTTP/1.1 499 Refused\r\n")


@pytest.mark.parametrize(
    "header", [(b"a\r\nb", b"c"), (b"a", b"secret\r\nx: y"), (b"a", b"secret\x00"), (b"", b""), (b"a", b" secret")]
)
def test_a_header_that_would_break_the_answer_is_a_value_error_that_shows_no_value(header):
    for make in (lambda: Accept([header]), lambda: Refuse(400, {}, [header])):
        with pytest.raises(ValueError) as caught:
            make()
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("status", [101, 200, 302, 399, 600])
def test_a_refusal_has_the_status_of_one(status):
    with pytest.raises(ValueError):
        Refuse(status, {})


@pytest.mark.parametrize("target", ["", "ws", "/a b", "/é", "/a\r\nX: y", "http://x/"])
def test_a_target_that_would_break_the_request_is_a_value_error_that_does_not_show_it(target):
    with pytest.raises(ValueError, match="visible ASCII"):
        heads.check_target(target)


def test_an_answer_has_its_status_and_headers():
    response = heads.parse_response(b"HTTP/1.1 503 Slow\r\nRetry-After: 5\r\nX-A: y\r\n\r\n")
    assert response.status == 503
    assert response.headers == {"retry-after": "5", "x-a": "y"}


@pytest.mark.parametrize(
    "head", [b"SSH-2.0-x\r\n\r\n", b"HTTP/2 200\r\n\r\n", b"HTTP/1.1 20\r\n\r\n", b"HTTP/1.1 099 x\r\n\r\n"]
)
def test_what_is_not_an_http_answer_is_told(head):
    with pytest.raises(BadHead, match="the answer is not HTTP"):
        heads.parse_response(head)


@pytest.mark.parametrize(
    ("value", "size"), [("12", 12), ("0", 0), ("", None), ("-1", None), ("1e3", None), ("٣", None), ("9" * 30, None)]
)
def test_the_size_of_a_body_is_what_content_length_says(value, size):
    assert heads.body_size(heads.Response(400, {"content-length": value})) == size
    assert heads.body_size(heads.Response(400, {})) is None


def test_chunks_are_joined_until_the_last_one():
    data = b"5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\n\r\n"
    assert heads.dechunk(data) == (b"hello world", True)
    assert heads.dechunk(data[:20]) == (b"hello ", False)


@given(st.binary(max_size=100))
def test_any_bytes_can_be_dechunked(data):
    body, _ = heads.dechunk(data)
    assert len(body) <= len(data)


@pytest.mark.parametrize("data", [b"zz\r\nx\r\n", b"-5\r\nhello\r\n"])
def test_malformed_chunks_end_the_body(data):
    assert heads.dechunk(data) == (b"", True)
