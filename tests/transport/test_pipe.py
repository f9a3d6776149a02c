"""Streams of all kinds, read and written through a Pipe."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from maim_trio._transport import pipe as pipe_module
from maim_trio._transport.pipe import LOST, Pipe, peer_of

from .raw import is_closed, memory_pair

BIG = b"0123456789abcdef" * 65536  # 1 MiB: more than the buffers of a connection take


@pytest.fixture
async def ends(network):
    """(our pipe, the peer's stream), through the TLS handshake where there is one."""
    ours, theirs = await network.pair()
    if network.kind == "tls":
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ours.do_handshake)
            nursery.start_soon(theirs.do_handshake)
    return Pipe(ours), theirs


async def write_all(pipe, parts, timeout=10.0):
    rest = pipe.write_nowait(parts)
    while rest:
        rest = await pipe.write_some(rest, timeout)


async def read_all(stream, size):
    data = bytearray()
    while len(data) < size:
        part = await stream.receive_some(65536)
        assert part
        data += part
    return bytes(data)


async def test_only_plain_tcp_can_be_written_without_waiting(ends, kind):
    pipe, theirs = ends
    assert pipe.direct == (kind == "tcp")
    rest = pipe.write_nowait([b"hello"])
    assert list(rest) == ([] if kind == "tcp" else [b"hello"])
    while rest:
        rest = await pipe.write_some(rest, 1)
    assert await read_all(theirs, 5) == b"hello"


async def test_what_is_read_and_written_is_counted(ends):
    pipe, theirs = ends
    await pipe.write_all(b"12345", 1)
    await read_all(theirs, 5)
    await theirs.send_all(b"abc")
    assert await pipe.read() == b"abc"
    assert (pipe.bytes_in, pipe.bytes_out) == (3, 5)


async def test_a_large_write_arrives_whole_although_the_peer_is_slow(ends, nursery):
    pipe, theirs = ends
    parts = [BIG[:10], BIG[10:500_000], BIG[500_000:500_001], BIG[500_001:]]
    nursery.start_soon(write_all, pipe, parts)
    assert await read_all(theirs, len(BIG)) == BIG


async def test_a_thousand_small_parts_arrive_in_order(ends, nursery):
    pipe, theirs = ends
    parts = [b"%5d" % number for number in range(1000)]
    nursery.start_soon(write_all, pipe, parts)
    assert await read_all(theirs, 5000) == b"".join(parts)


async def test_a_full_socket_takes_nothing_and_that_is_no_error(tcp_network):
    ours, _ = await tcp_network.pair()
    pipe = Pipe(ours)
    while not pipe.write_nowait([BIG]):
        pass
    while pipe.write_nowait([BIG]) != [BIG]:
        pass
    assert pipe.write_nowait([b"x", b"y"]) == [b"x", b"y"]


async def test_reading_ends_with_nothing(ends):
    pipe, theirs = ends
    await theirs.aclose()
    assert await pipe.read() == b""


async def test_a_cancelled_read_has_taken_nothing(ends):
    pipe, theirs = ends
    with trio.CancelScope() as scope:
        scope.cancel()
        await pipe.read()
    assert scope.cancelled_caught
    await theirs.send_all(b"still here")
    assert await pipe.read() == b"still here"


async def test_endless_data_lets_other_tasks_run(ends, nursery):
    pipe, theirs = ends
    if pipe.direct:
        await theirs.send_all(b"x" * 100_000)
    else:
        nursery.start_soon(theirs.send_all, b"x" * 100_000)
    turns = 0

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    nursery.start_soon(count)
    for _ in range(pipe_module.FAIR_TURNS * 20):
        assert await pipe.read(64)
    assert turns >= 10


@pytest.mark.parametrize("kind", ["tcp", "tls"])
async def test_a_write_without_progress_is_too_slow(ends):
    pipe, _ = ends
    with pytest.raises(trio.TooSlowError):
        await write_all(pipe, [BIG * 8], 0.1)
    assert pipe.cut == (not pipe.direct)


async def test_without_any_buffer_a_write_that_nobody_takes_is_too_slow(autojump_clock):
    pipe = Pipe(trio.testing.lockstep_stream_pair()[0])
    with pytest.raises(trio.TooSlowError):
        await write_all(pipe, [b"x"], 30)


async def expect_loss(operation, *args):
    with pytest.raises(LOST):
        await operation(*args)


@pytest.mark.parametrize("kind", ["tcp", "tls"])
async def test_aborting_wakes_reader_and_writer(ends):
    pipe, _ = ends
    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect_loss, pipe.read)
        nursery.start_soon(expect_loss, write_all, pipe, [BIG * 8])
        await trio.testing.wait_all_tasks_blocked(0.05)
        pipe.abort()


async def test_aborting_wakes_whoever_uses_a_stream_that_cannot_be_closed_at_once(autojump_clock):
    ours, _ = trio.testing.lockstep_stream_pair()
    pipe = Pipe(ours)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect_loss, pipe.read)
        nursery.start_soon(expect_loss, write_all, pipe, [b"x"])
        await trio.testing.wait_all_tasks_blocked()
        pipe.abort()


async def test_after_an_abort_nothing_works(ends):
    pipe, _ = ends
    pipe.abort()
    with pytest.raises(LOST):
        await pipe.read()
    with pytest.raises(LOST):
        await pipe.write_all(b"x", 1)
    await pipe.kill()
    assert is_closed(pipe.stream)


async def test_killing_closes_also_a_stream_that_would_wait(ends):
    pipe, _ = ends
    await pipe.kill()
    assert is_closed(pipe.stream)
    await pipe.kill()


async def test_killing_in_a_cancelled_scope_closes_too(ends):
    pipe, _ = ends
    with trio.CancelScope() as scope:
        scope.cancel()
        await pipe.kill()
    assert is_closed(pipe.stream)


async def test_finishing_lets_the_last_words_arrive_although_input_is_unread(ends, nursery):
    pipe, theirs = ends
    finished = trio.Event()
    await theirs.send_all(b"x" * 60_000)

    async def finish():
        await pipe.write_all(b"last words", 5)
        await pipe.finish()
        await pipe.aclose()
        finished.set()

    nursery.start_soon(finish)
    assert await read_all(theirs, 10) == b"last words"
    await theirs.send_all(b"y" * 60_000)
    assert await theirs.receive_some(10) == b""
    await theirs.aclose()
    await finished.wait()


async def test_finishing_ends_when_the_peer_stays_silent(autojump_clock):
    ours, _ = memory_pair()
    start = trio.current_time()
    await Pipe(ours).finish()
    assert trio.current_time() - start == pytest.approx(pipe_module.LINGER)


async def test_a_broken_connection_is_broken_whatever_the_system_says(tls_contexts):
    class Strange(trio.abc.Stream):
        async def receive_some(self, max_bytes=None):
            raise ConnectionResetError

        async def send_all(self, data):
            raise BrokenPipeError

        async def wait_send_all_might_not_block(self):
            raise BrokenPipeError

        async def aclose(self):
            raise OSError

    pipe = Pipe(Strange())
    with pytest.raises(trio.BrokenResourceError):
        await pipe.read()
    with pytest.raises(trio.BrokenResourceError):
        await pipe.write_all(b"x", 1)
    await pipe.aclose()
    await pipe.kill()


async def test_the_peers_address_is_known_over_tcp_and_tls(network, kind):
    ours, _ = await network.pair()
    remote, ip = peer_of(ours)
    if kind == "memory":
        assert (remote, ip) == ("", "")
    else:
        assert ip == "127.0.0.1"
        assert remote.startswith("127.0.0.1:")
        assert int(remote.partition(":")[2]) > 0


async def test_an_ipv6_address_stands_in_brackets():
    try:
        listener = (await trio.open_tcp_listeners(0, host="::1"))[0]
    except OSError:
        pytest.skip("no IPv6 here")
    theirs = await trio.open_tcp_stream("::1", listener.socket.getsockname()[1])
    async with listener, theirs, await listener.accept() as ours:
        remote, ip = peer_of(ours)
    assert ip == "::1"
    assert remote.startswith("[::1]:")


async def test_the_address_of_a_socket_that_is_gone_is_unknown(tcp_network):
    ours, _ = await tcp_network.pair()
    await trio.aclose_forcefully(ours)
    assert peer_of(ours) == ("", "")


async def test_a_closed_descriptor_is_never_used_again(tcp_network):
    ours, _ = await tcp_network.pair()
    pipe = Pipe(ours)
    await ours.aclose()
    for _ in range(2):  # another connection may have got the same number by now
        with pytest.raises(trio.ClosedResourceError):
            pipe.write_nowait([b"x"])
        with pytest.raises(trio.ClosedResourceError):
            await pipe.read()
