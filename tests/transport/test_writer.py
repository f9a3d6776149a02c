"""The queue of one link, over memory streams in virtual time and over a socket."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from maim_trio._transport import writer as writer_module
from maim_trio._transport.flusher import Flusher
from maim_trio._transport.limits import Limits
from maim_trio._transport.pipe import LOST, Pipe
from maim_trio._transport.writer import MAX_PONGS, Writer

from .raw import memory_pair

LIMITS = Limits(max_queued=1000, send_timeout=5.0)


def memory_writer(piece=0):
    ours, theirs = memory_pair(piece)
    return Writer(Pipe(ours), LIMITS, None), ours, theirs


async def tcp_writer(network, limits=LIMITS, flusher=None):
    ours, theirs = await network.pair()
    return Writer(Pipe(ours), limits, flusher), ours, theirs


def test_the_queue_has_a_size_in_bytes():
    writer, _, _ = memory_writer()
    writer.put((b"x" * 600,))
    with pytest.raises(trio.WouldBlock):
        writer.put((b"x" * 300, b"x" * 101))
    writer.put((b"x" * 300, b"x" * 100))
    assert writer.queued_bytes == 1000


def test_one_larger_frame_may_wait_alone():
    writer, _, _ = memory_writer()
    writer.put((b"x" * 5000,))
    assert writer.queued_bytes == 5000
    with pytest.raises(trio.WouldBlock):
        writer.put((b"y",))


def test_offering_says_whether_it_was_taken():
    writer, _, _ = memory_writer()
    assert writer.offer((b"x" * 600,))
    assert not writer.offer((b"x" * 300, b"x" * 101))
    assert writer.offer((b"x" * 300, b"x" * 100))
    assert writer.queued_bytes == 1000
    writer.put_last(b"(close)")
    assert not writer.offer((b"",))
    assert writer.queued_bytes == 1007


async def test_what_was_written_makes_room_and_no_more_than_that(autojump_clock, nursery):
    writer, ours, _ = memory_writer()
    nursery.start_soon(writer.run)
    for _ in range(5):
        await trio.testing.wait_all_tasks_blocked()
        assert writer.offer((b"x" * 600,))
        assert not writer.offer((b"x" * 401,))
        assert writer.offer((b"x" * 100, b"x" * 300))
        assert not writer.offer((b"x",))
    await trio.testing.wait_all_tasks_blocked()
    assert len(ours.written) == 5000
    writer.stop()
    assert not writer.offer((b"x",))


async def test_control_frames_overtake_the_queue_but_no_frame_is_torn(tcp_network, autojump_clock, nursery):
    writer, ours, _ = memory_writer()
    writer.put((b"[head", b"body]"))
    writer.put_pong(b"<pong>")
    writer.put_ping(b"<ping>")
    writer.put_last(b"(close)")
    await writer.run()
    assert ours.written == b"<ping><pong>[headbody](close)"
    assert writer.done
    assert writer.sealed


def test_waiting_pongs_are_bounded_and_the_latest_stay():
    writer, _, _ = memory_writer()
    writer.put_ping(b"ping")
    for number in range(MAX_PONGS + 10):
        writer.put_pong(b"%3d" % number)
    assert writer.queued_bytes == 4 + 3 * MAX_PONGS
    taken = b"".join(writer._take())
    assert taken.startswith(b"ping 10 11")
    assert taken.endswith(b"%3d" % (MAX_PONGS + 9))


async def test_everything_of_one_tick_leaves_in_one_write(autojump_clock, nursery):
    writer, _, theirs = memory_writer()
    nursery.start_soon(writer.run)
    await trio.testing.wait_all_tasks_blocked()
    for number in range(10):
        writer.put((b"%d" % number,))
    assert await theirs.receive_some() == b"0123456789"
    assert writer.queued_bytes == 0


async def test_what_is_queued_one_tick_later_leaves_in_the_same_write(autojump_clock, nursery):
    writer, _, theirs = memory_writer()
    nursery.start_soon(writer.run)
    await trio.testing.wait_all_tasks_blocked()
    for _ in range(20):  # the order of tasks within a tick is random
        writer.put((b"ack ",))
        await trio.lowlevel.checkpoint()
        writer.put((b"reply",))
        assert await theirs.receive_some() == b"ack reply"
        await trio.testing.wait_all_tasks_blocked()


async def test_waiting_for_space_ends_at_half(autojump_clock, nursery):
    writer, _, _ = memory_writer(piece=10)
    for _ in range(10):
        writer.put((b"x" * 100,))
    nursery.start_soon(writer.run)
    await writer.wait_space()
    assert writer.queued_bytes <= 500
    writer.put((b"x" * 400,))


async def test_waiting_for_space_for_a_large_frame_ends_when_it_would_be_taken(autojump_clock, nursery):
    writer, _, _ = memory_writer(piece=10)
    writer.put((b"x" * 900,))
    nursery.start_soon(writer.run)
    await writer.wait_space(5000)
    writer.put((b"y" * 5000,))
    with pytest.raises(trio.WouldBlock):
        writer.put((b"z",))


async def test_waiting_for_space_ends_with_the_link(autojump_clock, nursery):
    writer, _, _ = memory_writer()
    writer.put((b"x" * 900,))
    waited = trio.Event()

    async def wait():
        await writer.wait_space()
        waited.set()

    nursery.start_soon(wait)
    await trio.testing.wait_all_tasks_blocked()
    assert not waited.is_set()
    writer.stop()
    await waited.wait()


async def test_many_may_wait_for_space_and_one_may_give_up(autojump_clock, nursery):
    writer, _, _ = memory_writer(piece=10)
    writer.put((b"x" * 900,))
    passed = []

    async def wait(number, patience):
        with trio.move_on_after(patience):
            await writer.wait_space()
            passed.append(number)

    async with trio.open_nursery() as waiting:
        waiting.start_soon(wait, 1, 99)
        waiting.start_soon(wait, 2, 99)
        waiting.start_soon(wait, 3, 0.01)
        nursery.start_soon(writer.run)
    assert sorted(passed) == [1, 2]


async def test_a_peer_that_takes_nothing_ends_the_writing(autojump_clock):
    ours, _ = trio.testing.lockstep_stream_pair()  # no buffer: a write waits for its reader
    writer = Writer(Pipe(ours), LIMITS, None)
    writer.put((b"x",))
    start = trio.current_time()
    with pytest.raises(trio.TooSlowError):
        await writer.run()
    assert trio.current_time() - start == pytest.approx(LIMITS.send_timeout)


async def test_slow_is_not_too_slow_while_there_is_progress(autojump_clock):
    ours, theirs = trio.testing.lockstep_stream_pair()
    writer = Writer(Pipe(ours), LIMITS, None)
    size = 20 * 64 * 1024
    writer.put((b"x" * size,))
    writer.put_last(b"")

    async def read_slowly():
        taken = 0
        while taken < size:
            await trio.sleep(LIMITS.send_timeout * 0.9)
            part = await theirs.receive_some(64 * 1024)
            taken += len(part)

    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_slowly)
        await writer.run()
    assert trio.current_time() - start > 10 * LIMITS.send_timeout


async def test_writing_that_is_cancelled_between_frames_can_go_on(autojump_clock, nursery):
    writer, ours, _ = memory_writer()
    with trio.move_on_after(1):
        await writer.run()
    assert not writer.running
    writer.put((b"one",))
    writer.put_last(b"close")
    await writer.run()
    assert ours.written == b"oneclose"


async def test_writing_that_is_cancelled_inside_a_write_is_marked_as_cut(autojump_clock):
    ours, _ = memory_pair(piece=10)
    pipe = Pipe(ours)
    writer = Writer(pipe, LIMITS, None)
    writer.put((b"x" * 100,))
    with trio.move_on_after(0.05) as scope:
        await writer.run()
    assert scope.cancelled_caught
    assert pipe.cut


async def test_on_a_socket_a_cancelled_write_goes_on_where_it_stopped(tcp_network, nursery):
    limits = Limits(max_queued=100_000_000)
    writer, _, theirs = await tcp_writer(tcp_network, limits)
    payload = b"0123456789" * 1_000_000
    writer.put((payload,))
    for _ in range(3):
        with trio.move_on_after(0.01) as scope:
            await writer.run()
        assert scope.cancelled_caught
        await theirs.receive_some(1)  # not all of it was lost: the first byte of what follows is checked below
        payload = payload[1:]
    writer.put_last(b"close")
    nursery.start_soon(writer.run)
    received = bytearray()
    while not received.endswith(b"close"):
        received += await theirs.receive_some(1_000_000)
    assert received == payload + b"close"


async def test_two_tasks_cannot_both_write(tcp_network, autojump_clock, nursery):
    writer, ours, _ = memory_writer(piece=10)
    writer.put((b"x" * 100,))
    nursery.start_soon(writer.run)
    await trio.testing.wait_all_tasks_blocked()
    await writer.run()  # returns at once
    assert writer.running
    writer.put_last(b"close")
    await writer.wait_left()
    assert ours.written == b"x" * 100 + b"close"
    await writer.wait_left()  # nobody there


def test_a_backlog_is_written_in_slices_that_let_others_run():
    writer = Writer(Pipe(memory_pair()[0]), Limits(max_queued=100_000_000), None)
    for _ in range(1000):
        writer.put((b"x" * 1000,))
    slices = []
    while taken := b"".join(writer._take()):
        slices.append(len(taken))
    assert sum(slices) == 1_000_000
    assert max(slices) <= writer_module.WRITE_MAX + 1000


async def test_a_broken_connection_ends_the_writing(tcp_network):
    writer, ours, _ = await tcp_writer(tcp_network)
    await ours.aclose()
    writer.put((b"x",))
    with pytest.raises(LOST):
        await writer.run()


async def test_with_a_flusher_the_socket_is_written_by_it(tcp_network, nursery):
    flusher = Flusher()
    writer, _, theirs = await tcp_writer(tcp_network, flusher=flusher)
    nursery.start_soon(flusher.run)
    nursery.start_soon(writer.run)
    await trio.testing.wait_all_tasks_blocked()
    writer.put((b"one",))
    assert writer.queued_bytes == 3
    writer.put((b"two",))
    assert await theirs.receive_some(100) == b"onetwo"
    assert writer.queued_bytes == 0
    assert writer._spot.taken  # its own task was not woken
    writer.put_last(b"close")
    assert await theirs.receive_some(100) == b"close"


async def test_what_the_socket_does_not_take_is_left_to_the_writers_task(tcp_network, nursery):
    flusher = Flusher()
    writer, _, theirs = await tcp_writer(tcp_network, Limits(max_queued=100_000_000), flusher)
    nursery.start_soon(flusher.run)
    nursery.start_soon(writer.run)
    await trio.testing.wait_all_tasks_blocked()
    payload = b"0123456789" * 1_000_000
    writer.put((payload,))
    writer.put((b"end",))
    received = bytearray()
    while not received.endswith(b"end"):
        received += await theirs.receive_some(1_000_000)
    assert received == payload + b"end"


async def test_a_sealed_queue_is_written_to_its_end_and_takes_no_more(autojump_clock):
    writer, ours, _ = memory_writer()
    writer.put((b"last",))
    writer.seal()
    assert writer.sealed
    await writer.run()
    assert ours.written == b"last"
    assert writer.done


class Called:
    """A writer whose `run` is called when it is needed."""

    def __init__(self, writer, nursery):
        self.writer = writer
        self.calls = 0
        self.scope = None
        self._nursery = nursery

    def __call__(self):
        self.calls += 1
        self._nursery.start_soon(self._run)

    async def _run(self):
        with trio.CancelScope() as self.scope:
            await self.writer.run()


async def called_writer(network, nursery, flusher):
    writer, _, theirs = await tcp_writer(network, Limits(max_queued=100_000_000), flusher)
    called = Called(writer, nursery)
    assert writer.call_on(called)
    return writer, called, theirs


async def read(stream, size):
    received = b""
    while len(received) < size:
        received += await stream.receive_some(1 << 20)
    return received


async def test_while_the_socket_takes_all_the_writers_task_is_not_needed(tcp_network, nursery):
    flusher = Flusher()
    nursery.start_soon(flusher.run)
    await trio.testing.wait_all_tasks_blocked()
    writer, called, theirs = await called_writer(tcp_network, nursery, flusher)
    for number in range(3):
        writer.put((b"frame %d" % number,))
        assert await theirs.receive_some(100) == b"frame %d" % number
    assert (called.calls, writer.running) == (0, False)


async def test_what_waited_already_is_written_too(tcp_network, nursery):
    flusher = Flusher()
    nursery.start_soon(flusher.run)
    await trio.testing.wait_all_tasks_blocked()
    writer, _, theirs = await tcp_writer(tcp_network, flusher=flusher)
    writer.put((b"before",))
    writer.call_on(Called(writer, nursery))
    assert await theirs.receive_some(100) == b"before"


async def test_the_writers_task_is_called_for_the_rest_and_ends_with_it(tcp_network, nursery):
    flusher = Flusher()
    nursery.start_soon(flusher.run)
    await trio.testing.wait_all_tasks_blocked()
    writer, called, theirs = await called_writer(tcp_network, nursery, flusher)
    for turn in (1, 2):
        large = bytes(range(256)) * 80_000
        writer.put((large,))
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert (called.calls, writer.running) == (turn, True)
        writer.put((b"and more",))
        assert await read(theirs, len(large) + 8) == large + b"and more"
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not writer.running
        writer.put((b"small",))
        assert await theirs.receive_some(100) == b"small"
        assert called.calls == turn


async def test_behind_the_rest_of_a_cancelled_run_nothing_is_written(tcp_network, nursery):
    flusher = Flusher()
    nursery.start_soon(flusher.run)
    await trio.testing.wait_all_tasks_blocked()
    writer, called, theirs = await called_writer(tcp_network, nursery, flusher)
    large = b"x" * 20_000_000
    writer.put((large,))
    await trio.testing.wait_all_tasks_blocked(0.01)
    called.scope.cancel()
    await trio.testing.wait_all_tasks_blocked(0.01)
    writer.put((b"behind",))
    await trio.testing.wait_all_tasks_blocked(0.01)
    assert not writer.torn
    nursery.start_soon(writer.run)
    assert await read(theirs, len(large) + 6) == large + b"behind"


async def test_the_writers_task_is_called_when_the_flusher_has_gone(tcp_network, nursery):
    flusher, scope = Flusher(), trio.CancelScope()

    async def flush():
        with scope:
            await flusher.run()

    nursery.start_soon(flush)
    await trio.testing.wait_all_tasks_blocked()
    writer, called, theirs = await called_writer(tcp_network, nursery, flusher)
    writer.put((b"first",))
    scope.cancel()
    assert await theirs.receive_some(100) == b"first"
    writer.put((b"second",))
    assert await theirs.receive_some(100) == b"second"
    assert (called.calls, writer.running) == (1, True)


async def test_the_end_calls_nobody(tcp_network, nursery):
    flusher = Flusher()
    nursery.start_soon(flusher.run)
    await trio.testing.wait_all_tasks_blocked()
    writer, called, theirs = await called_writer(tcp_network, nursery, flusher)
    writer.put((b"data ",))
    writer.put_last(b"close")
    await writer.run()
    assert await read(theirs, 10) == b"data close"
    writer.wake()
    assert (called.calls, writer.done) == (0, True)


def test_without_a_flusher_run_is_needed_all_the_time():
    writer, _, _ = memory_writer()
    assert not writer.call_on(lambda: None)
