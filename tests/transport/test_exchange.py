"""HTTP on a pipe: heads and bodies that come slowly, in pieces, endlessly or not at all. In virtual time."""

from __future__ import annotations

import contextlib
import ssl
from functools import partial

import pytest
import trio
import trio.testing

from maim_trio._transport import exchange, heads
from maim_trio._transport.heads import BadHead, Refuse, Response
from maim_trio._transport.pipe import LINGER, Pipe

from . import raw

CLOSED_AT_THE_END = Response(401, {})


@pytest.fixture
async def ends():
    """(our pipe, the peer)."""
    ours, theirs = raw.memory_pair()
    return Pipe(ours), raw.RawPeer(theirs)


async def dribble(peer, data, pause):
    for byte in data:
        await peer.send(bytes([byte]))
        await trio.sleep(pause)


async def flood(peer, data):
    while True:
        await trio.lowlevel.checkpoint()
        await peer.send(data)


async def test_a_head_may_come_byte_by_byte_and_what_follows_is_kept(autojump_clock, ends, nursery):
    pipe, peer = ends
    nursery.start_soon(dribble, peer, raw.request(), 0.01)
    head, glued = await exchange.read_head(pipe, 16384, 10)
    assert (head, glued) == (raw.request(), b"")
    await peer.send(raw.request() + b"and more")
    assert await exchange.read_head(pipe, 16384, 10) == (raw.request(), b"and more")


async def test_a_head_of_one_byte_per_second_is_408_when_its_time_is_up(autojump_clock, ends, nursery):
    pipe, peer = ends
    nursery.start_soon(dribble, peer, raw.request(), 1)
    start = trio.current_time()
    with pytest.raises(BadHead) as caught:
        await exchange.read_head(pipe, 16384, 10)
    assert caught.value.status == 408
    assert caught.value.reason == "no complete head within 10 s"
    assert trio.current_time() - start == pytest.approx(10)


async def test_silence_is_no_request_and_gets_no_answer(autojump_clock, ends):
    pipe, _ = ends
    with pytest.raises(BadHead) as caught:
        await exchange.read_head(pipe, 16384, 10)
    assert caught.value.status == 0


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nX: " + b"y" * 100_000, raw.request(b"X: " + b"y" * 16384)])
async def test_a_head_over_the_limit_is_431(autojump_clock, ends, nursery, data):
    pipe, peer = ends
    nursery.start_soon(peer.send, data)
    with pytest.raises(BadHead) as caught:
        await exchange.read_head(pipe, 16384, 10)
    assert caught.value.status == 431


async def test_a_head_at_the_limit_passes(autojump_clock, ends):
    pipe, peer = ends
    await peer.send(raw.request() + b"glued")
    head, glued = await exchange.read_head(pipe, len(raw.request()), 10)
    assert head == raw.request()
    assert b"glued".startswith(glued)  # as far as it had been read


async def test_the_end_before_the_head_is_told(autojump_clock, ends):
    pipe, peer = ends
    await peer.send(b"GET / HT")
    await peer.aclose()
    with pytest.raises(BadHead, match="connection closed during the handshake"):
        await exchange.read_head(pipe, 16384, 10)


async def test_a_body_ends_where_its_length_says(autojump_clock, ends, nursery):
    pipe, peer = ends
    nursery.start_soon(dribble, peer, b'or": 1}and more', 0.01)
    assert await exchange.read_body(pipe, Response(403, {"content-length": "12"}), b'{"err') == b'{"error": 1}'


async def test_a_body_without_length_ends_with_the_connection(autojump_clock, ends, nursery):
    pipe, peer = ends
    await peer.send(b'"no"')
    await peer.aclose()
    assert await exchange.read_body(pipe, CLOSED_AT_THE_END, b"") == b'"no"'


async def test_a_body_in_chunks_ends_with_the_last_one_and_the_connection_may_stay_open(autojump_clock, ends, nursery):
    pipe, peer = ends
    nursery.start_soon(dribble, peer, b"llo\r\n0\r\n\r\n", 0.01)
    response = Response(403, {"transfer-encoding": "chunked"})
    start = trio.current_time()
    assert await exchange.read_body(pipe, response, b"5\r\nhe") == b"hello"
    assert trio.current_time() - start < 1


@pytest.mark.parametrize("headers", [{}, {"content-length": "999999999"}, {"transfer-encoding": "chunked"}])
async def test_an_endless_body_is_cut(autojump_clock, ends, nursery, headers):
    pipe, peer = ends
    nursery.start_soon(flood, peer, b"4\r\nwxyz\r\n" * 50 if "transfer-encoding" in headers else b"a" * 500)
    body = await exchange.read_body(pipe, Response(401, headers), b"")
    assert 0 < len(body) <= exchange.MAX_REFUSAL_BODY + 65536


async def test_a_body_that_never_comes_costs_two_seconds(autojump_clock, ends):
    pipe, _ = ends
    start = trio.current_time()
    assert await exchange.read_body(pipe, Response(401, {"content-length": "5"}), b"he") == b"he"
    assert trio.current_time() - start == pytest.approx(exchange.LAST_WORDS_TIMEOUT)


@pytest.mark.parametrize("status", [100, 204, 304])
async def test_some_answers_have_no_body(autojump_clock, ends, status):
    pipe, _ = ends
    start = trio.current_time()
    assert await exchange.read_body(pipe, Response(status, {}), b"") == b""
    assert trio.current_time() == start


async def test_a_refusal_ends_the_connection_at_once_when_the_peer_does(autojump_clock, ends, nursery):
    pipe, peer = ends
    nursery.start_soon(exchange.refuse, pipe, Refuse(403, {"error": "no"}))
    assert (await peer.until_end()).endswith(b'{"error": "no"}\n')
    assert not pipe.stream.closed
    start = trio.current_time()
    await peer.aclose()
    await trio.testing.wait_all_tasks_blocked()
    assert pipe.stream.closed
    assert trio.current_time() == start


async def test_a_refused_peer_that_keeps_the_connection_costs_one_second(autojump_clock, ends):
    pipe, _ = ends
    start = trio.current_time()
    await exchange.refuse(pipe, Refuse(403, {}))
    assert trio.current_time() - start == pytest.approx(LINGER)
    assert pipe.stream.closed


async def test_a_refused_peer_that_goes_on_sending_costs_two_seconds(autojump_clock, ends, nursery):
    pipe, peer = ends
    nursery.start_soon(dribble, peer, b"x" * 10_000, 0.1)
    start = trio.current_time()
    await exchange.refuse(pipe, Refuse(403, {}))
    assert trio.current_time() - start == pytest.approx(exchange.LAST_WORDS_TIMEOUT)


async def test_a_refusal_that_nobody_takes_costs_two_seconds(autojump_clock):
    pipe = Pipe(trio.testing.lockstep_stream_pair()[0])
    start = trio.current_time()
    await exchange.refuse(pipe, Refuse(403, {}))
    assert trio.current_time() - start == pytest.approx(exchange.LAST_WORDS_TIMEOUT)


async def test_a_refusal_to_a_peer_that_has_gone_is_silent(autojump_clock, ends):
    pipe, peer = ends
    await peer.aclose()
    await exchange.refuse(pipe, Refuse(403, {}))


def test_a_bad_head_becomes_a_refusal_in_json():
    refusal = exchange.refusal_of(BadHead(400, "malformed header line"))
    assert (refusal.status, refusal.body["error"]) == (400, "malformed header line")


def test_a_wrong_version_is_told_the_right_one():
    refusal = exchange.refusal_of(BadHead(426, "unsupported WebSocket version"))
    assert (b"Sec-WebSocket-Version", b"13") in refusal.headers
    assert heads.find_end(refusal.encoded()) > 0


def caused_by(cause):
    error = trio.BrokenResourceError()
    error.__cause__ = cause
    return error


def test_a_broken_stream_is_explained_without_showing_what_was_sent():
    certificate = ssl.SSLCertVerificationError("secret")
    certificate.verify_message = "self-signed certificate"
    assert exchange.explain(caused_by(certificate)) == "TLS certificate not accepted: self-signed certificate"
    assert exchange.explain(caused_by(ssl.SSLError(1, "secret"))) == "TLS handshake failed: connection closed"
    assert exchange.explain(caused_by(OSError("secret"))) == "connection lost during the handshake"


async def test_what_is_there_with_its_connection_is_not_waited_for(tcp_network, nursery):
    waits = []

    @contextlib.contextmanager
    def waiting():
        waits.append("begun")
        yield
        waits.append("over")

    for first, told in ((len(raw.request()), []), (10, ["begun", "over"])):
        ours, theirs = await tcp_network.pair()
        await theirs.send_all(raw.request()[:first])
        await trio.lowlevel.wait_readable(ours.socket)
        nursery.start_soon(partial(exchange.read_head, waiting=waiting), Pipe(ours), 16384, 10)
        await trio.testing.wait_all_tasks_blocked()
        assert waits == told[:1]
        await theirs.send_all(raw.request()[first:])
        await trio.testing.wait_all_tasks_blocked(0.001)
        assert waits == told


async def test_whoever_waits_for_a_head_can_be_told_not_to(ends, nursery):
    pipe, peer = ends
    scope = trio.CancelScope()

    async def cut() -> None:
        await peer.send(b"GET")
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()

    nursery.start_soon(cut)
    with pytest.raises(exchange.CutShort):
        await exchange.read_head(pipe, 16384, 10, waiting=lambda: scope)
