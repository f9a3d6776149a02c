"""The server's side of the opening handshake, against peers that do it well, badly, slowly or not at all."""

from __future__ import annotations

import json

import pytest
import trio
import trio.testing

from maim_trio._transport.handshake import Accept, Refuse, accept_link
from maim_trio._transport.limits import Closed, Limits

from .conftest import LIMITS, accept, tcp_pair
from .raw import ACCEPT, CLOSE, KEY, PING, PONG, TEXT, Frame, RawPeer, is_closed, masked, memory_pair, request


async def refused(peer, served):
    """(status, headers, body) of the refusal that must come and end the connection; its owner has forgotten it."""
    head, _, body = (await peer.until_end()).partition(b"\r\n\r\n")
    assert not peer.was_reset
    await peer.aclose()
    await served.finished.wait()
    assert served.link is None
    assert is_closed(served.stream)
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    assert "close" in headers["connection"]
    return int(first.split()[1]), headers, json.loads(body) if body else None


async def answer_to(server, data, nursery):
    peer, served = await server.dial()
    nursery.start_soon(peer.pour, data)
    return await refused(peer, served)


@pytest.fixture
async def good_client(server):
    """A client of the same server that must notice nothing."""
    server.decide = accept
    peer, _ = await server.opened()
    yield peer
    await peer.send(masked(TEXT, b"still here"))
    assert await peer.message() == b"still here"


# -- accepted


async def test_an_accepted_request_becomes_a_link(server):
    async def decide(request):
        seen.append(request)
        return Accept([(b"X-Maim-Protocol", b"1")])

    seen, server.decide = [], decide
    peer, served = await server.dial()
    await peer.send(request(b"X-ApiKey: k"))
    head = await peer.head()
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols")
    assert b"X-Maim-Protocol: 1" in head
    assert ACCEPT in head
    await served.opened.wait()
    assert (seen[0].method, seen[0].target, seen[0].is_upgrade) == ("GET", "/ws?a=1", True)
    assert seen[0].values(b"x-apikey") == [b"k"]
    assert seen[0].values(b"host") == [b"x"]
    assert seen[0].remote == served.link.remote
    assert seen[0].remote_ip == served.link.remote_ip
    await peer.send(masked(TEXT, b"hello"))
    assert await peer.message() == b"hello"
    assert server.reports == []


async def test_frames_glued_to_the_request_are_kept(server):
    peer, served = await server.dial()
    await peer.send(request() + masked(TEXT, b"hello") + masked(PING, b"p") + masked(TEXT, b"two"))
    await peer.head()
    assert sorted([await peer.frame() for _ in range(3)]) == [
        Frame(TEXT, b"hello"),
        Frame(TEXT, b"two"),
        Frame(PONG, b"p"),
    ]
    assert served.messages == [b"hello", b"two"]


async def test_a_request_may_come_byte_by_byte(server):
    peer, _ = await server.dial()
    for byte in request():
        await peer.send(bytes([byte]))
    assert b" 101 " in await peer.head()


async def test_nothing_is_answered_before_the_decision(server, nursery):
    decided = trio.Event()

    async def decide(_):
        await decided.wait()
        return Accept()

    server.decide = decide
    peer, _ = await server.dial()
    await peer.send(request())
    with trio.move_on_after(0.05) as early:
        await peer.read_more()
    assert early.cancelled_caught
    decided.set()
    assert b" 101 " in await peer.head()


async def test_extensions_and_subprotocols_are_offered_in_vain(server):
    peer, _ = await server.dial()
    await peer.send(
        request(b"Sec-WebSocket-Extensions: permessage-deflate", b"Sec-WebSocket-Protocol: chat, superchat")
    )
    head = await peer.head()
    assert b" 101 " in head
    assert b"sec-websocket-extensions" not in head.lower()
    assert b"sec-websocket-protocol" not in head.lower()


@pytest.mark.parametrize("host", [b"localhost:8080", b"[::1]:8080", b"xn--bcher-kva.example", b"127.0.0.1"])
async def test_hosts_of_all_sorts_are_fine(server, host):
    peer, _ = await server.dial()
    await peer.send(request(host=host))
    assert b" 101 " in await peer.head()


# -- refused by the decision


@pytest.mark.parametrize("status", [400, 401, 403, 404, 503])
async def test_a_refusal_arrives_whole_and_tcp_ends(server, good_client, status):
    async def decide(_):
        return Refuse(status, {"error": "no", "code": "why"}, [(b"Retry-After", b"5")])

    server.decide = decide
    peer, served = await server.dial()
    await peer.send(request() + masked(TEXT, b"too early" * 1000))
    got, headers, body = await refused(peer, served)
    assert (got, body) == (status, {"error": "no", "code": "why"})
    assert headers["retry-after"] == "5"
    assert headers["content-type"] == "application/json"
    assert server.reports == []


async def test_plain_http_is_decided_too(server, good_client, nursery):
    async def decide(request):
        assert not request.is_upgrade
        return Refuse(404, {"error": "nothing here", "target": request.target})

    server.decide = decide
    status, _, body = await answer_to(server, b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n", nursery)
    assert (status, body["target"]) == (404, "/x")


async def test_plain_http_that_is_accepted_is_told_to_upgrade(server, good_client, nursery):
    status, headers, _ = await answer_to(server, b"GET / HTTP/1.0\r\n\r\n", nursery)
    assert status == 426
    assert headers["upgrade"] == "websocket"


async def test_a_request_with_a_body_gets_its_answer_although_the_body_is_not_read(server, good_client, nursery):
    async def decide(_):
        return Refuse(404, {"error": "no"})

    server.decide = decide
    data = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000
    assert (await answer_to(server, data, nursery))[0] == 404


async def test_a_head_request_gets_no_body(server, nursery):
    async def decide(_):
        return Refuse(404, {"error": "no"})

    server.decide = decide
    assert (await answer_to(server, b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", nursery))[2] is None


# -- refused before the decision

BAD_REQUESTS = {
    "no key": (request(key=None), 400),
    "short key": (request(key=b"c2hvcnQ="), 400),
    "another version": (request(version=b"8"), 426),
    "no version": (request().replace(b"Sec-WebSocket-Version: 13\r\n", b""), 400),
    "undecodable subprotocol": (request(b"Sec-WebSocket-Protocol: \xff\xfe"), 400),
    "undecodable extension": (request(b"Sec-WebSocket-Extensions: \xff\xfe"), 400),
    "undecodable host": (request(host=b"\xff" * 80), 400),
    "two hosts": (request(b"Host: y"), 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "upgrade by POST": (request().replace(b"GET", b"POST"), 400),
    "upgrade with a body": (request(b"Content-Length: 5") + b"hello", 400),
    "upgrade in HTTP/1.0": (request().replace(b"HTTP/1.1", b"HTTP/1.0"), 400),
    "NUL in a header": (request(b"X: \x00"), 400),
    "no colon": (request(b"hello"), 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "TLS on a port without it": (b"\x16\x03\x01\x02\x00\x01" + b"z" * 200, 400),
    "garbage": (bytes(range(128, 256)), 400),
    "headers of 100 KiB": (request(b"X: " + b"y" * 100_000), 431),
    "headers without end": (request()[:-2] + b"A: b\r\n" * 200_000, 431),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
async def test_a_bad_request_is_refused_without_asking_and_reported_once(server, good_client, nursery, name):
    async def decide(_):
        raise AssertionError("nobody was to be asked")

    server.decide = decide
    data, status = BAD_REQUESTS[name]
    got, headers, body = await answer_to(server, data, nursery)
    assert got == status
    assert body["error"]
    assert len(server.reports) == 1
    assert "yyyy" not in server.reports[0]
    if name == "another version":
        assert headers["sec-websocket-version"] == "13"


async def test_a_report_names_the_kind_of_error_that_a_bad_header_has_caused(server, nursery):
    await answer_to(server, request(b"Sec-WebSocket-Protocol: \xff"), nursery)
    assert server.reports == ["malformed WebSocket handshake (UnicodeDecodeError)"]


async def test_what_is_reported_never_holds_what_was_sent(server, nursery):
    data = request(b"X-ApiKey: secret\x00", target=b"/ws?api_key=secret")
    _, _, body = await answer_to(server, data, nursery)
    assert "secret" not in json.dumps([body, server.reports])


# -- the peer goes away or stays silent


@pytest.mark.parametrize("data", [b"", request()[:30]])
async def test_a_peer_that_leaves_during_the_handshake_is_reported(server, good_client, data):
    peer, served = await server.dial()
    if data:
        await peer.send(data)
    await peer.aclose()
    await served.finished.wait()
    assert len(server.reports) == 1
    assert "handshake" in server.reports[0]


async def test_a_peer_that_is_reset_before_the_answer_harms_nobody(server, good_client):
    asked, go_on = trio.Event(), trio.Event()

    async def decide(_):
        asked.set()
        await go_on.wait()
        return Accept()

    server.decide = decide
    peer, served = await server.dial()
    await peer.send(request())
    await asked.wait()
    await peer.reset()
    await trio.testing.wait_all_tasks_blocked(0.01)
    go_on.set()
    await served.finished.wait()
    assert server.reports == ["connection lost during the handshake"] or served.link.closed.code == 1006


@pytest.mark.parametrize("kind", ["tcp", "tls"])
async def test_silence_is_cut_also_before_the_tls_handshake(server):
    server.limits = Limits(handshake_timeout=0.2)
    peer, served = await server.dial()
    await served.finished.wait()
    assert server.reports == ["no complete head within 0.2 s"]
    await peer.aclose()


async def test_half_a_handshake_and_then_silence_is_cut(autojump_clock, memory_server):
    peer, served = await memory_server.dial()
    await peer.send(request()[:50])
    start = trio.current_time()
    status, _, _ = await refused(peer, served)
    assert status == 408
    assert trio.current_time() - start == pytest.approx(LIMITS.handshake_timeout)
    assert memory_server.reports == ["no complete head within 5 s"]


async def test_a_header_byte_per_second_is_cut(autojump_clock, memory_server, nursery):
    peer, served = await memory_server.dial()

    async def dribble():
        for byte in request():
            await peer.pour(bytes([byte]))
            await trio.sleep(1)

    nursery.start_soon(dribble)
    start = trio.current_time()
    await served.finished.wait()
    assert trio.current_time() - start <= LIMITS.handshake_timeout + 2
    assert (await peer.until_end()).startswith(b"HTTP/1.1 408 ")


async def test_a_peer_that_does_not_take_the_answer_is_cut(autojump_clock):
    ours, theirs = trio.testing.lockstep_stream_pair()
    reports = []
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(theirs.send_all, request())
        assert await accept_link(ours, accept, LIMITS, report=reports.append) is None
    assert trio.current_time() - start == pytest.approx(LIMITS.handshake_timeout)
    assert reports == ["peer does not read"]


async def test_how_long_a_decision_takes_is_the_callers_business(autojump_clock, memory_server):
    async def decide(_):
        await trio.sleep(1000)
        return Accept()

    memory_server.decide = decide
    await memory_server.opened()


# -- TLS and plain do not fit


async def test_plain_http_on_a_tls_port_is_closed_and_reported(tls_contexts, nursery):
    ours, theirs = await tcp_pair()
    tls = trio.SSLStream(ours, tls_contexts[0], server_side=True, https_compatible=True)
    reports = []
    await theirs.send_all(request())
    assert await accept_link(tls, accept, LIMITS, report=reports.append) is None
    assert is_closed(tls)
    assert len(reports) == 1
    assert reports[0].startswith("TLS handshake failed")
    await RawPeer(theirs).until_end()
    await theirs.aclose()


async def test_tls_on_a_plain_port_is_closed_and_reported(tls_contexts, nursery):
    ours, theirs = await tcp_pair()
    reports = []
    tls = trio.SSLStream(theirs, tls_contexts[1], server_hostname="localhost")

    async def shake():
        with pytest.raises(trio.BrokenResourceError):
            await tls.do_handshake()
        await trio.aclose_forcefully(tls)

    nursery.start_soon(shake)
    assert await accept_link(ours, accept, LIMITS, report=reports.append) is None
    assert is_closed(ours)
    assert reports == ["TLS where plain HTTP was expected"]


# -- the decision fails


class DecisionError(Exception):
    pass


@pytest.mark.parametrize("error", [DecisionError, trio.BrokenResourceError, trio.TooSlowError, OSError, ExceptionGroup])
async def test_what_the_decision_raises_propagates_after_a_500(network, nursery, error):
    async def decide(_):
        raise error("decision", [DecisionError()]) if error is ExceptionGroup else error

    ours, theirs = await network.pair()
    peer, caught, reports = RawPeer(theirs), [], []

    async def serve():
        with pytest.raises(error) as info:
            await accept_link(ours, decide, LIMITS, report=reports.append)
        caught.append(info.value)

    async with trio.open_nursery() as serving:
        serving.start_soon(serve)
        await peer.send(request())
        assert (await peer.until_end()).startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
        await peer.aclose()
    assert type(caught[0]) is error
    assert reports == []
    assert is_closed(ours)


async def test_an_answer_that_cannot_be_written_is_a_500_too(memory_network, autojump_clock, nursery):
    async def decide(_):
        return Accept([(b"X", b"a\r\nb")])

    ours, theirs = await memory_network.pair()
    peer = RawPeer(theirs)
    await peer.send(request())
    with pytest.raises(ValueError, match="line break"):
        await accept_link(ours, decide, LIMITS)
    assert (await peer.until_end()).startswith(b"HTTP/1.1 500 ")


async def test_a_cancelled_handshake_closes_the_stream(network, nursery):
    ours, theirs = await network.pair()
    nursery.start_soon(RawPeer(theirs).pour, request())
    with trio.CancelScope() as scope:

        async def decide(_):
            scope.cancel()
            await trio.sleep_forever()

        await accept_link(ours, decide, LIMITS)
    assert scope.cancelled_caught
    assert is_closed(ours)


async def test_a_link_that_was_never_used_can_be_closed():
    ours, theirs = memory_pair()
    peer = RawPeer(theirs)
    await peer.send(request(key=KEY) + masked(CLOSE, b"\x03\xe8"))
    await theirs.send_eof()
    link = await accept_link(ours, accept, LIMITS)
    await link.aclose()
    assert link.closed == Closed(1000, "", False)
    assert await peer.head()
    assert await peer.close_frame() == (1000, "")
