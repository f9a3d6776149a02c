"""TLS on the descriptor of a socket, after trio's handshake."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from maim_trio._transport.engine import MAX_UNSENT, RECORDS, TlsEngine
from maim_trio._transport.pipe import LOST, Pipe
from maim_trio._transport.tls import client_stream, server_stream, take_engine

from .conftest import tcp_pair


@pytest.fixture(scope="module")
def contexts(tls_contexts):
    return tls_contexts


async def pipes(contexts):
    """(ours, taken over; the peer's stream) after the handshake and a first answer, as in the opening handshake."""
    ours, theirs = await tcp_pair()
    server, client = server_stream(ours, contexts[0]), client_stream(theirs, contexts[1], "localhost")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.do_handshake)
        nursery.start_soon(client.do_handshake)
    await server.send_all(b"101")
    assert await client.receive_some(3) == b"101"
    pipe = Pipe(server)
    pipe.take_over()
    return pipe, client


async def read_exactly(pipe, size):
    received = bytearray()
    with trio.fail_after(20):
        while len(received) < size:
            data = await pipe.read()
            assert data, "ended too early"
            received += data
    return bytes(received)


async def send_and_close(stream, data, piece):
    for start in range(0, len(data), piece):
        await stream.send_all(data[start : start + piece])


async def test_what_the_peer_sends_in_pieces_of_any_size_arrives(contexts, nursery):
    pipe, theirs = await pipes(contexts)
    assert pipe.direct
    data = os.urandom(300_000)
    for piece in (1000, 16_384, 70_000, 300_000):
        nursery.start_soon(send_and_close, theirs, data, piece)
        assert await read_exactly(pipe, len(data)) == data
    await pipe.kill()
    await trio.aclose_forcefully(theirs)


async def test_a_record_that_comes_in_two_halves_is_waited_for(contexts, nursery):
    pipe, theirs = await pipes(contexts)
    ciphertext = encrypted(theirs, b"x" * 5000)
    await theirs.transport_stream.send_all(ciphertext[:100])
    await trio.testing.wait_all_tasks_blocked(0.01)
    assert pipe.read_nowait(65536) is None
    await theirs.transport_stream.send_all(ciphertext[100:])
    assert await read_exactly(pipe, 5000) == b"x" * 5000
    await pipe.kill()
    await trio.aclose_forcefully(theirs)


def encrypted(stream, data):
    """What TLS makes of `data`, without sending it."""
    engine = take_engine(stream)
    assert engine is not None
    read, write = os.pipe()
    try:
        engine.write(write, [data])
        return os.read(read, 1_000_000)
    finally:
        os.close(read)
        os.close(write)


async def test_a_peer_that_does_not_read_holds_up_the_rest_and_nothing_is_lost(contexts, nursery):
    pipe, theirs = await pipes(contexts)
    data = os.urandom(20_000_000)
    parts = [data[:1000], data[1000:12_000_000], b"", data[12_000_000:]]
    rest = pipe.write_nowait(parts)
    assert rest
    too_slow = False
    while not too_slow:  # buffers of the system grow
        try:
            rest = await pipe.write_some(rest, 0.05)
        except trio.TooSlowError:
            too_slow = True
    assert 0 < pipe.bytes_out < len(data)

    received = bytearray()

    async def receive():
        while len(received) < len(data):
            received.extend(await theirs.receive_some(1_000_000))

    nursery.start_soon(receive)
    with trio.fail_after(20):
        while rest:
            rest = await pipe.write_some(rest, 5)
        while len(received) < len(data):
            await trio.testing.wait_all_tasks_blocked(0.01)
    assert bytes(received) == data
    assert pipe.bytes_out == len(data)
    await pipe.kill()
    await trio.aclose_forcefully(theirs)


async def test_no_more_than_a_few_records_wait_as_ciphertext(contexts):
    pipe, theirs = await pipes(contexts)
    pipe.write_nowait([b"x" * 50_000_000])
    assert len(pipe._engine._unsent) <= 2 * RECORDS + 100_000
    await pipe.kill()
    await trio.aclose_forcefully(theirs)


async def test_the_end_comes_after_what_was_sent_before_it(contexts):
    pipe, theirs = await pipes(contexts)
    await theirs.send_all(b"last words")
    await theirs.transport_stream.send_eof()
    assert await read_exactly(pipe, 10) == b"last words"
    for _ in range(3):
        assert await pipe.read() == b""
    await pipe.kill()
    await trio.aclose_forcefully(theirs)


async def test_a_goodbye_of_tls_alone_is_an_end_too(contexts):
    ours, theirs = await tcp_pair()
    server = server_stream(ours, contexts[0])
    client = trio.SSLStream(theirs, contexts[1], server_hostname="localhost")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.do_handshake)
        nursery.start_soon(client.do_handshake)
    pipe = Pipe(server)
    pipe.take_over()
    await client.send_all(b"hello")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.unwrap)  # close_notify, and TCP stays open
        assert await read_exactly(pipe, 5) == b"hello"
        with trio.fail_after(5):
            assert await pipe.read() == b""
            assert await pipe.read() == b""
        nursery.cancel_scope.cancel()
    await pipe.kill()
    await trio.aclose_forcefully(theirs)


async def test_garbage_instead_of_a_record_is_a_broken_connection(contexts):
    pipe, theirs = await pipes(contexts)
    await theirs.transport_stream.send_all(b"GET / HTTP/1.1\r\n\r\n" * 10)
    with pytest.raises(LOST), trio.fail_after(5):
        await pipe.read()
    await pipe.kill()
    await trio.aclose_forcefully(theirs)


def test_records_that_hold_nothing_are_read_once_and_then_others_have_their_turn(contexts):
    server, client = connected(*contexts)
    read, write = os.pipe()
    os.set_blocking(read, False)
    try:
        assert client.write(write, [b"x" * 3000]) == 3000
        assert server.read(read, 100) == (None, False)  # a part of a record, and there is more
        received = [server.read(read, 1000) for _ in range(2)]
        assert received == [(None, False)] * 2
        assert server.read(read, 65536) == (b"x" * 3000, True)
    finally:
        os.close(read)
        os.close(write)


@pytest.mark.parametrize("cut", [1, 5, 1000, 16_400])
def test_many_records_are_decrypted_at_one_go_and_the_rest_of_the_last_is_waited_for(contexts, cut):
    server, client = connected(*contexts)
    data = os.urandom(700_000)
    client._session.write(data)
    ciphertext = client._outgoing.read()
    plain = server._decrypt_large(ciphertext[:-cut])
    assert len(data) - 2 * 16_384 <= len(plain) < len(data)
    server._take(ciphertext[-cut:], chunks := [])
    assert b"".join([plain, *chunks]) == data


def test_an_end_behind_many_records_is_seen_and_what_follows_it_is_not(contexts):
    server, client = connected(*contexts)
    data = os.urandom(300_000)
    client._session.write(data)
    with contextlib.suppress(ssl.SSLWantReadError):
        client._session.unwrap()
    ciphertext = client._outgoing.read()
    assert server._decrypt_large(ciphertext + bytes(200_000)) == data
    assert server._ended


class Watched:
    """What OpenSSL reads from, and how much that has held: its buffer never shrinks again."""

    def __init__(self, bio):
        self.most = 0
        self._bio = bio

    def write(self, data):
        self._bio.write(data)
        self.most = max(self.most, self._bio.pending)

    @property
    def pending(self):
        return self._bio.pending


def test_openssl_is_given_a_large_message_in_pieces_and_nothing_of_it_stays(contexts):
    server, client = connected(*contexts)
    server._incoming = watched = Watched(server._incoming)
    data, sent, received = os.urandom(3_000_000), 0, bytearray()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        ours.setblocking(False)
        theirs.setblocking(False)
        while len(received) < len(data):
            sent += client.write(theirs.fileno(), [memoryview(data)[sent:]])
            plain, _ = server.read(ours.fileno(), 1 << 20)
            received += plain or b""
    assert received == data
    assert type(client._unsent) is bytes  # and no view of what was written
    assert watched.most <= RECORDS + 20_000


def test_a_peer_that_has_tls_answer_and_does_not_read_is_cut_off(contexts):
    server, _ = connected(*contexts)
    read, write = os.pipe()
    os.set_blocking(write, False)

    def answer_without_end():
        for _ in range(1000):
            server._outgoing.write(b"a" * 10_000)
            server._answer(write)

    try:
        with pytest.raises(OSError, match="does not read"):
            answer_without_end()
        assert len(server._unsent) <= MAX_UNSENT + 10_000
    finally:
        os.close(read)
        os.close(write)


async def test_a_stream_is_taken_over_once_and_others_not_at_all(contexts):
    ours, theirs = await tcp_pair()
    stream = server_stream(ours, contexts[0])
    assert take_engine(stream) is not None
    assert take_engine(stream) is None
    plain = Pipe(theirs)
    plain.take_over()
    assert plain._engine is None
    foreign = Pipe(trio.SSLStream(theirs, contexts[1], server_hostname="localhost"))
    foreign.take_over()
    assert not foreign.direct
    for stream in (ours, theirs):
        await stream.aclose()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.binary(max_size=40_000), max_size=8), st.integers(1, 20_000))
def test_any_data_in_any_pieces_comes_out_as_it_went_in(parts, piece):
    authority = _authority()
    server, client = connected(*authority)
    read, write = os.pipe()
    os.set_blocking(read, False)
    try:
        sent = bytearray()
        for part in parts:
            assert client.write(write, [part[:7], part[7:]]) == len(part)
            sent += part
            received = bytearray()
            while len(received) < len(part):
                try:
                    received += server.read(read, piece)[0] or b""
                except BlockingIOError:
                    break
            assert bytes(received) == part
    finally:
        os.close(read)
        os.close(write)


def connected(server_context, client_context):
    """Two engines after a handshake in memory."""
    bios = [ssl.MemoryBIO() for _ in range(4)]
    server = server_context.wrap_bio(bios[0], bios[1], server_side=True)
    client = client_context.wrap_bio(bios[2], bios[3], server_hostname="localhost")
    for _ in range(4):
        for session in (client, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                session.do_handshake()
            bios[0].write(bios[3].read())
            bios[2].write(bios[1].read())
    return TlsEngine(server, bios[0], bios[1]), TlsEngine(client, bios[2], bios[3])


_CACHE = []


def _authority():
    import trustme

    if not _CACHE:
        authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("localhost", key_type=trustme.KeyType.ECDSA).configure_cert(server)
        client = ssl.create_default_context()
        authority.configure_trust(client)
        _CACHE.append((server, client))
    return _CACHE[0]
