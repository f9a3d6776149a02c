"""The client's side of the opening handshake, against servers that do it well, badly, slowly or not at all."""

from __future__ import annotations

import ssl

import pytest
import trio
import trio.testing

from maim_trio._transport.exchange import MAX_REFUSAL_BODY
from maim_trio._transport.handshake import HandshakeFailed, open_link
from maim_trio._transport.limits import LinkClosed
from maim_trio._transport.link import running

from .conftest import LIMITS, tcp_pair
from .raw import CLOSE, PING, PONG, TEXT, RawPeer, accept_token, frame, is_closed, switching


async def failure(client, answer, **options):
    """How opening fails when the server does `answer(peer, head)` with the request."""
    peer, dial = await client.dial()
    async with trio.open_nursery() as nursery:

        async def serve():
            await answer(peer, await peer.head())

        nursery.start_soon(serve)
        with pytest.raises(HandshakeFailed) as caught:
            await dial(**options)
        nursery.cancel_scope.cancel()
    assert is_closed(client.stream)
    await peer.aclose()
    return caught.value


def sending(data):
    async def answer(peer, _):
        await peer.pour(data)
        await trio.sleep_forever()

    return answer


# -- opened


async def test_the_request_is_what_was_asked_for(client):
    peer, dial = await client.dial()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: dial(host="example.org:80", target="/ws?a=%C3%A9", headers=[(b"X-ApiKey", b"k")]))
        head = await peer.head()
        await peer.send(switching(accept_token(head)))
    first, *lines = head.split(b"\r\n")
    headers = dict(line.split(b": ") for line in lines)
    assert first == b"GET /ws?a=%C3%A9 HTTP/1.1"
    assert headers[b"Host"] == b"example.org:80"
    assert headers[b"X-ApiKey"] == b"k"
    assert headers[b"Sec-WebSocket-Version"] == b"13"
    assert b"Sec-WebSocket-Extensions" not in headers


async def test_the_servers_headers_are_on_the_link(client):
    peer, link = await client.opened(b"X-Maim-Protocol: 1", b"X-Name: \xe9")
    assert link.response_headers["x-maim-protocol"] == "1"
    assert link.response_headers["x-name"] == "é"
    assert link.client
    await peer.aclose()
    await link.aclose()


async def test_frames_glued_to_the_101_are_kept(client, nursery):
    glued = frame(TEXT, b"first") + frame(PING, b"pp") + frame(CLOSE, b"\x03\xe8")
    peer, link = await client.opened(glued=glued)
    nursery.start_soon(peer.pour, b"")
    async with running(link):
        assert await link.receive() == [b"first"]
        with pytest.raises(LinkClosed):
            await link.receive()
        assert (await peer.frame())[:2] == (PONG, b"pp")
        assert (await peer.frame())[:2] == (CLOSE, b"\x03\xe8")
        await peer.aclose()


async def test_an_answer_may_come_byte_by_byte(client):
    peer, dial = await client.dial()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dial)
        for byte in switching(accept_token(await peer.head())):
            await peer.send(bytes([byte]))
    await peer.aclose()


@pytest.mark.parametrize("host", ["localhost:8080", "[::1]:8080", "127.0.0.1", "bücher.example"])
async def test_hosts_of_all_sorts_can_be_asked_for(client, host):
    peer, dial = await client.dial()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: dial(host=host))
        head = await peer.head()
        assert b"\r\nHost: " + host.encode("idna") in head
        await peer.send(switching(accept_token(head)))
    await peer.aclose()


# -- refused


async def test_a_refusal_has_status_headers_and_body(client):
    data = b'HTTP/1.1 403 No\r\nRetry-After: 5\r\nContent-Length: 12\r\n\r\n{"error": 1}and more'
    failed = await failure(client, sending(data))
    assert (failed.status, failed.body, failed.headers["retry-after"]) == (403, b'{"error": 1}', "5")
    assert str(failed) == failed.message == "refused with HTTP status 403"


async def test_a_refusal_may_come_in_pieces(client):
    async def answer(peer, _):
        for byte in b'HTTP/1.1 401 No\r\nContent-Length: 12\r\n\r\n{"error": 1}':
            await peer.send(bytes([byte]))
        await trio.sleep_forever()

    assert (await failure(client, answer)).body == b'{"error": 1}'


async def test_a_refusal_without_length_ends_with_the_connection(client):
    async def answer(peer, _):
        await peer.send(b'HTTP/1.1 401 No\r\nConnection: close\r\n\r\n{"error": 1}')
        await peer.aclose()

    failed = await failure(client, answer)
    assert (failed.status, failed.body) == (401, b'{"error": 1}')


async def test_a_refusal_in_chunks_is_joined(client):
    data = b"HTTP/1.1 502 Bad Gateway\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbad\r\n0\r\n\r\n"
    assert (await failure(client, sending(data))).body == b"bad"


async def test_an_endless_refusal_is_cut(client):
    async def answer(peer, _):
        await peer.send(b"HTTP/1.1 401 No\r\n\r\n")
        await peer.pour(b"x" * 65536, 1000)

    assert len((await failure(client, answer)).body) == MAX_REFUSAL_BODY


@pytest.mark.parametrize(("status", "line"), [(200, b"200 OK"), (301, b"301 Moved"), (100, b"100 Continue")])
async def test_any_other_answer_than_101_is_a_refusal(client, status, line):
    assert (await failure(client, sending(b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % line))).status == status


# -- failed


async def test_the_end_before_an_answer_is_told(client):
    async def answer(peer, _):
        await peer.aclose()

    failed = await failure(client, answer)
    assert failed.status == 0
    assert "handshake" in failed.message


async def test_a_reset_before_an_answer_is_told(client):
    async def answer(peer, _):
        await peer.reset()

    assert (await failure(client, answer)).status == 0


async def test_an_answer_that_never_comes_is_waited_for_no_longer_than_allowed(autojump_clock, memory_client):
    start = trio.current_time()
    failed = await failure(memory_client, sending(b""))
    assert trio.current_time() - start == pytest.approx(LIMITS.handshake_timeout)
    assert failed.message == "no answer within 5 s"


async def test_an_answer_of_one_byte_per_second_is_cut(autojump_clock, memory_client):
    async def answer(peer, head):
        for byte in switching(accept_token(head)):
            await peer.pour(bytes([byte]))
            await trio.sleep(1)

    assert (await failure(memory_client, answer)).message == "no answer within 5 s"


async def test_a_server_that_never_takes_the_request_is_cut(autojump_clock):
    ours, _ = trio.testing.lockstep_stream_pair()
    start = trio.current_time()
    with pytest.raises(HandshakeFailed, match="no answer within"):
        await open_link(ours, host="x", target="/", limits=LIMITS)
    assert trio.current_time() - start == pytest.approx(LIMITS.handshake_timeout)


BAD_ANSWERS = {
    "SSH": (b"SSH-2.0-foo\r\n\r\n", "the answer is not HTTP"),
    "TLS alert": (b"\x15\x03\x01\x00\x02\x02\x46", "TLS where plain HTTP was expected"),
    "headers of 100 KiB": (b"HTTP/1.1 101 x\r\nX: " + b"y" * 100_000, "head over 16384 bytes"),
    "wrong accept": (switching(b"AAAAAAAAAAAAAAAAAAAAAAAAAAA="), "not a valid WebSocket handshake"),
    "no accept": (
        b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        "not a valid WebSocket handshake",
    ),
    "bare 101": (b"HTTP/1.1 101 x\r\n\r\n", "not a valid WebSocket handshake"),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
async def test_a_bad_answer_is_told_at_once(client, name):
    data, message = BAD_ANSWERS[name]
    failed = await failure(client, sending(data))
    assert failed.status == 0
    assert message in failed.message


@pytest.mark.parametrize(
    "header",
    [b"Sec-WebSocket-Extensions: permessage-deflate", b"Sec-WebSocket-Protocol: chat", b"Sec-WebSocket-Protocol: \xff"],
)
async def test_what_nobody_asked_for_is_no_handshake(client, header):
    async def answer(peer, head):
        await peer.send(switching(accept_token(head), header))
        await trio.sleep_forever()

    assert "not a valid WebSocket handshake" in (await failure(client, answer)).message


async def test_a_failure_never_shows_what_was_sent(client):
    failed = await failure(
        client,
        sending(BAD_ANSWERS["wrong accept"][0]),
        target="/ws?api_key=secret",
        headers=[(b"X-ApiKey", b"secret")],
    )
    assert "secret" not in f"{failed!r} {failed} {failed.__cause__!r}"


@pytest.mark.parametrize(
    "options",
    [{"target": "/a b"}, {"headers": [(b"X", b"secret\r\n")]}, {"host": "a" * 64 + ".example"}, {"host": ".."}],
)
async def test_what_cannot_be_written_is_a_value_error_and_nothing_is_sent(client, options):
    _, dial = await client.dial()
    with pytest.raises(ValueError) as caught:
        await dial(**options)
    assert "secret" not in str(caught.value)
    assert is_closed(client.stream)


async def test_a_certificate_that_is_not_trusted_is_told(tls_contexts, nursery):
    theirs, ours = await tcp_pair()
    server = trio.SSLStream(theirs, tls_contexts[0], server_side=True, https_compatible=True)

    async def shake():
        with pytest.raises(trio.BrokenResourceError):
            await server.do_handshake()
        await trio.aclose_forcefully(server)

    nursery.start_soon(shake)
    stranger = trio.SSLStream(ours, ssl.create_default_context(), server_hostname="localhost", https_compatible=True)
    with pytest.raises(HandshakeFailed, match="TLS certificate not accepted"):
        await open_link(stranger, host="localhost", target="/", limits=LIMITS)


async def test_tls_to_a_plain_port_is_told(tls_contexts, nursery):
    theirs, ours = await tcp_pair()

    async def answer():
        peer = RawPeer(theirs)
        await peer.read_more()
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await peer.until_end()
        await peer.aclose()

    nursery.start_soon(answer)
    stream = trio.SSLStream(ours, tls_contexts[1], server_hostname="localhost", https_compatible=True)
    with pytest.raises(HandshakeFailed, match="TLS handshake failed"):
        await open_link(stream, host="localhost", target="/", limits=LIMITS)


async def test_cancelling_closes_the_stream(client):
    peer, dial = await client.dial()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dial)
            await peer.head()
            scope.cancel()
    assert scope.cancelled_caught
    assert is_closed(client.stream)
    await peer.aclose()
