"""One attempt to connect: what is sent, what comes of every answer, and that nothing is left open."""

from __future__ import annotations

import socket
import struct

import pytest
import trio

from maim_trio._transport.limits import Limits
from maim_trio._transport.link import Link
from maim_trio._wire.close import Verdict
from maim_trio.client import ClientConfig
from maim_trio.client._dial import dial, open_stream
from tests.client.raw import hangs_up, old_server, refuses, says, silent, welcomes
from tests.memory import URL, CountedStream

KEY = "topsecret42"


def config(**fields):
    return ClientConfig(**{"url": URL, "api_key": KEY, "connect_timeout": 5.0, **fields})


@pytest.fixture
def attempt(network):
    """Dials the network once."""

    async def open_stream(address):
        await trio.lowlevel.checkpoint()
        return CountedStream(network.connect(), network.open_streams)

    async def attempt(**fields):
        return await dial(config(**fields), "uuid-1", Limits(handshake_timeout=5.0), open_stream)

    return attempt


def assert_sentence(verdict, *words):
    """The reason is for people: one line, the words that matter, no key."""
    assert isinstance(verdict, Verdict)
    assert all(word in verdict.reason for word in words), verdict.reason
    assert len(verdict.reason) > 15
    assert verdict.reason.isprintable()
    assert KEY not in verdict.reason


# -- the request


async def test_a_server_that_accepts_gives_a_link(attempt, play, network):
    await play(welcomes)
    link = await attempt()
    assert isinstance(link, Link)
    assert link.response_headers["x-maim-protocol"] == "1"
    await link.aclose()
    assert not network.open_streams


async def test_an_old_server_gives_a_link_that_does_not_say_our_protocol(attempt, play):
    await play(old_server)
    link = await attempt()
    assert isinstance(link, Link)
    assert "x-maim-protocol" not in link.response_headers
    await link.aclose()


async def test_key_platform_id_and_the_users_headers_are_sent_as_headers(attempt, play):
    peers = await play(refuses(503))
    await attempt(url="ws://bot.example:18040/ws?x=1", platform="wechat", headers={"X-Extra": "yes"})
    (peer,) = peers
    assert peer.head.startswith(b"GET /ws?x=1 HTTP/1.1\r\n")
    assert peer.header("host") == "bot.example:18040"
    assert peer.header("x-apikey") == KEY
    assert peer.header("x-platform") == "wechat"
    assert peer.header("x-uuid") == "uuid-1"
    assert peer.header("x-extra") == "yes"


async def test_a_key_that_is_not_plain_ascii_travels_in_the_query(attempt, play):
    peers = await play(refuses(503))
    await attempt(api_key="schlüssel&x=1", platform="微信")
    (peer,) = peers
    assert peer.head.startswith(b"GET /ws?api_key=schl%C3%BCssel%26x%3D1&platform=%E5%BE%AE%E4%BF%A1 HTTP/1.1\r\n")
    assert peer.header("x-apikey") is None
    assert peer.header("x-platform") is None


@pytest.mark.parametrize(
    "fields",
    [
        {"api_key": f"{KEY}\r\nx-evil: 1"},
        {"api_key": f"{KEY}\0"},
        {"platform": "a\nb"},
        {"headers": {"x-extra": f"{KEY}\r\nx-evil: 1"}},
        {"headers": {"x extra": KEY}},
        {"headers": {"host": KEY}},
        {"headers": {"sec-websocket-key": KEY}},
        {"api_key": f"{KEY}\ud800"},
    ],
)
async def test_what_cannot_be_sent_is_final_and_nothing_leaves(attempt, play, network, fields):
    peers = await play(welcomes)
    verdict = await attempt(**fields)
    assert_sentence(verdict)
    assert not verdict.reconnect
    assert not any(peer.head for peer in peers)
    assert not network.open_streams


async def test_blanks_around_a_users_header_do_no_harm(attempt, play, network):
    """HTTP has no way to send them: the client says so or leaves them out, and lives on either way."""
    await play(welcomes)
    result = await attempt(headers={"x-extra": " yes "})
    if isinstance(result, Link):
        await result.aclose()
    else:
        assert not result.reconnect
    assert not network.open_streams


# -- the answers


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_a_refusal_for_good_is_final(attempt, play, network, status):
    await play(refuses(status))
    verdict = await attempt()
    assert_sentence(verdict, str(status))
    assert not verdict.reconnect
    assert verdict.unauthorized is (status == 401)
    assert not network.open_streams


@pytest.mark.parametrize("status", [301, 302, 307, 402, 408, 418, 426, 429, 500, 502, 503, 504, 599])
async def test_any_other_refusal_may_pass(attempt, play, network, status):
    await play(refuses(status, {"Location": f"ws://elsewhere/?api_key={KEY}"}))
    verdict = await attempt()
    assert_sentence(verdict, str(status))
    assert verdict.reconnect
    assert verdict.at_least == 0
    assert not network.open_streams


async def test_a_web_server_is_told_from_one_that_refuses(attempt, play):
    await play(refuses(200, body=b"<html>hello</html>"))
    assert_sentence(await attempt(), "200", "no WebSocket at this url: check its host, port and path")


async def test_where_a_server_redirects_to_is_told_without_the_key(attempt, play):
    await play(refuses(301, {"Location": f"https://elsewhere.example/ws?api_key={KEY}"}))
    verdict = await attempt()
    assert_sentence(verdict, "301", "redirects", "https://elsewhere.example/ws")
    assert KEY not in verdict.reason


@pytest.mark.parametrize(
    "body",
    [
        b"<html><center>The plain HTTP request was sent to HTTPS port</center></html>",  # nginx
        b"Client sent an HTTP request to an HTTPS server.\n",  # Go
        b"Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />",  # Apache
    ],
)
async def test_a_web_server_that_wants_tls_is_understood(attempt, play, body):
    await play(refuses(400, body=body))
    assert_sentence(await attempt(), "400", "this port speaks TLS: the url must begin with wss://")


async def test_what_speaks_first_and_no_http_is_not_waited_for(attempt, play):
    await play(says(b"SSH-2.0-OpenSSH_9.2\r\n"))
    assert_sentence(await attempt(), "the answer is not HTTP")


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_says_when(attempt, play, status):
    await play(refuses(status, {"Retry-After": "17"}))
    verdict = await attempt()
    assert verdict.reconnect
    assert verdict.at_least == 17


async def test_the_servers_own_words_are_passed_on(attempt, play):
    await play(refuses(401, body=b'{"error": "this key has expired", "code": "expired"}\n'))
    assert_sentence(await attempt(), "401", "this key has expired")


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"\xff\xfe",
        b"[]",
        b'"text"',
        b'{"error": 5}',
        b'{"error": {"a": 1}}',
        b"{}",
        b"[" * 60_000,
        b'{"error": "' + b"x" * 65_000 + b'"}',
        b'{"error": "two\\nlines\\u0007 \\u202e"}',
    ],
    ids=lambda body: repr(body[:12]),
)
async def test_a_strange_body_changes_nothing(attempt, play, body):
    await play(refuses(403, body=body))
    verdict = await attempt()
    assert_sentence(verdict, "403")
    assert len(verdict.reason) < 400


@pytest.mark.parametrize("key", [KEY, "schlüssel-42/geheim"])
async def test_a_server_that_repeats_the_key_does_not_make_us_show_it(attempt, play, key):
    quoted = "schl%C3%BCssel-42%2Fgeheim"
    await play(refuses(401, body=f'{{"error": "key {key} ({quoted}) is unknown"}}'.encode()))
    verdict = await attempt(api_key=key)
    assert "is unknown" in verdict.reason
    assert key not in verdict.reason
    assert key.isascii() or quoted not in verdict.reason


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 101 OK\r\n\r\n",
        b"HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: wrong\r\n\r\n",
        b"HTTP/1.1 101 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 503 Half\r\nRetry",
        b"HTTP/1.1 101 OK\r\n" + b"x: y\r\n" * 10_000,
        bytes(range(256)),
    ],
    ids=lambda answer: repr(answer[:25]),
)
async def test_garbage_is_one_failed_attempt(attempt, play, network, answer):
    await play(says(answer))
    verdict = await attempt()
    assert_sentence(verdict)
    assert verdict.reconnect
    assert not network.open_streams


async def test_a_server_that_hangs_up_is_one_failed_attempt(attempt, play, network):
    await play(hangs_up)
    verdict = await attempt()
    assert_sentence(verdict)
    assert verdict.reconnect
    assert not network.open_streams


async def test_a_silent_server_costs_connect_timeout_and_no_more(attempt, play, network):
    await play(silent)
    start = trio.current_time()
    verdict = await attempt()
    assert_sentence(verdict, "5 s")
    assert verdict.reconnect
    assert trio.current_time() - start == pytest.approx(5, abs=0.1)
    assert not network.open_streams


async def test_a_name_that_is_never_resolved_costs_connect_timeout_too(network):
    async def hang(_address):
        await trio.sleep_forever()

    start = trio.current_time()
    verdict = await dial(config(), "uuid-1", Limits(handshake_timeout=5.0), hang)
    assert_sentence(verdict, "5 s")
    assert trio.current_time() - start == pytest.approx(5, abs=0.1)


async def test_a_server_that_drips_its_answer_is_no_faster_than_the_timeout(attempt, play, network):
    async def drips(peer):
        await peer.read_head()
        for byte in b"HTTP/1.1 101 Switching Protocols\r\n" * 100:
            await peer.say(bytes([byte]))
            await trio.sleep(1)

    await play(drips)
    start = trio.current_time()
    verdict = await attempt()
    assert_sentence(verdict)
    assert trio.current_time() - start == pytest.approx(5, abs=0.1)
    assert not network.open_streams


async def test_a_refusal_whose_body_never_ends_does_not_hold_us(attempt, play, network):
    async def endless(peer):
        await peer.read_head()
        await peer.say(b"HTTP/1.1 401 No\r\n\r\n")
        while True:
            await peer.say(b"x" * 10_000)
            await trio.sleep(0.01)

    await play(endless)
    verdict = await attempt()
    assert_sentence(verdict, "401")
    assert not network.open_streams


# -- real sockets


async def really(url, **fields):
    settings = config(url=url, **fields)
    return await dial(settings, "uuid-1", Limits(handshake_timeout=5.0), lambda address: open_stream(settings, address))


async def test_nobody_at_the_port(free_port):
    verdict = await really(f"ws://127.0.0.1:{free_port}/ws")
    assert_sentence(verdict, "refused")
    assert verdict.reconnect


async def test_nobody_of_that_name():
    verdict = await really("ws://nonexistent.invalid/ws")
    assert_sentence(verdict, "could not be reached")
    assert verdict.reconnect


@pytest.mark.parametrize("host", ["☃.invalid", "\u2f00.invalid", "xn--.invalid", "a_b.invalid"])
async def test_a_name_that_only_the_resolver_finds_fault_with(host):
    verdict = await really(f"ws://{host}/ws")
    assert_sentence(verdict)


async def test_a_reset_instead_of_an_answer(nursery):
    async def reset(stream):
        await stream.receive_some()
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.socket.close()

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, reset, listeners)
    port = listeners[0].socket.getsockname()[1]
    verdict = await really(f"ws://127.0.0.1:{port}/ws")
    assert_sentence(verdict, "lost")
    assert verdict.reconnect


async def test_a_plain_server_where_tls_was_wanted_gets_no_key(nursery):
    seen = bytearray()

    async def listen(stream):
        async for data in stream:
            seen.extend(data)
            await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            return

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, listen, listeners)
    port = listeners[0].socket.getsockname()[1]
    verdict = await really(f"wss://127.0.0.1:{port}/ws")
    assert_sentence(verdict, "TLS")
    assert seen
    assert KEY.encode() not in seen


@pytest.fixture
def free_port():
    """A port of this machine at which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


async def test_nobody_there_is_said_in_words_and_not_in_pythons_way(free_port):
    verdict = await really(f"ws://127.0.0.1:{free_port}/ws")
    assert verdict.reason == "the server could not be reached: Connection refused"


async def test_a_name_that_is_not_known_is_said_without_a_number():
    verdict = await really("ws://nonexistent.invalid/ws")
    assert "Errno" not in verdict.reason
