"""A link and a peer that behaves, or does not, over TCP, TLS and memory streams."""

from __future__ import annotations

import math
import tracemalloc

import pytest
import trio
import trio.testing

from maim_trio._transport import frames
from maim_trio._transport.flusher import Flusher
from maim_trio._transport.limits import Closed, Limits, LinkClosed
from maim_trio._transport.link import Link, running
from maim_trio._transport.pipe import LINGER, Pipe

from .conftest import MIB
from .raw import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Frame, RawPeer, frame, is_closed, masked, memory_pair

CLOSE_1000 = masked(CLOSE, b"\x03\xe8")


async def ended(served):
    """How the echo handler saw the link end."""
    await served.finished.wait()
    return served.end


# -- messages


async def test_text_and_binary_come_back_as_what_they_were(server):
    peer, served = await server.opened()
    await peer.send(masked(TEXT, b"hello") + masked(BINARY, b"\xff\x00"))
    assert await peer.frame() == Frame(TEXT, b"hello")
    assert await peer.frame() == Frame(BINARY, b"\xff\x00")
    assert served.messages == [b"hello", b"\xff\x00"]


async def test_a_message_byte_by_byte_arrives_whole(server):
    peer, served = await server.opened()
    for byte in masked(TEXT, b"hello") + masked(PING, b"x"):
        await peer.send(bytes([byte]))
    assert await peer.frame() == Frame(TEXT, b"hello")
    assert await peer.frame() == Frame(PONG, b"x")
    assert served.messages == [b"hello"]


async def test_a_batch_is_everything_that_one_read_has_brought(server):
    batches = []

    async def collect(served, link):
        while sum(map(len, batches)) < 20:
            batches.append(await link.receive())

    server.handler = collect
    peer, served = await server.opened()
    await peer.send(b"".join(masked(TEXT, b"%d" % number) for number in range(20)))
    await peer.close_frame()
    await peer.send(CLOSE_1000)
    await peer.aclose()
    await served.finished.wait()
    assert [message for batch in batches for message in batch] == [b"%d" % number for number in range(20)]
    assert len(batches) < 20


async def test_a_message_at_the_limit_goes_through_in_both_directions(server, nursery):
    peer, _ = await server.opened()
    payload = b"0123456789abcdef" * (MIB // 16)
    nursery.start_soon(peer.send, masked(TEXT, payload))
    assert await peer.message() == payload


async def test_fragments_with_a_ping_between_them_are_one_message(server):
    peer, _ = await server.opened()
    await peer.send(masked(TEXT, b"he", final=False) + masked(PING, b"p1") + masked(CONTINUATION, b"llo") + CLOSE_1000)
    assert [(found.opcode, found.payload) for found in await peer.frames_until_end()] == [
        (PONG, b"p1"),
        (TEXT, b"hello"),
        (CLOSE, b"\x03\xe8"),
    ]


async def test_only_one_task_may_receive(server):
    busy = []

    async def two_readers(served, link):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(served.echo, link)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await link.receive()
            busy.append(True)

    server.handler = two_readers
    peer, served = await server.opened()
    await trio.testing.wait_all_tasks_blocked(0.01)
    await peer.send(masked(TEXT, b"still fine"))
    assert await peer.message() == b"still fine"
    await peer.send(CLOSE_1000)
    await peer.until_end()
    await peer.aclose()
    await served.finished.wait()
    assert busy


async def test_a_cancelled_receive_loses_nothing(server):
    data, given_up = masked(TEXT, b"first") + masked(TEXT, b"second"), trio.Event()

    async def impatient(served, link):
        for patience in [0, 0.001] * 10:
            with trio.move_on_after(patience):
                served.messages += await link.receive()
        given_up.set()
        await served.echo(link)

    server.handler = impatient
    peer, served = await server.opened()
    await peer.send(data[:5])
    await given_up.wait()
    await peer.send(data[5:] + CLOSE_1000)
    await peer.until_end()
    await peer.aclose()
    await served.finished.wait()
    assert served.messages == [b"first", b"second"]


async def test_a_link_counts_its_bytes_and_knows_its_peer(server, kind):
    peer, served = await server.opened()
    link = served.link
    read, written = link.bytes_in, link.bytes_out
    await peer.send(masked(TEXT, b"hello"))
    await peer.message()
    await trio.testing.wait_all_tasks_blocked()
    assert link.bytes_in == read + 11
    assert link.bytes_out == written + 7
    assert link.queued_bytes == 0
    assert link.remote_ip == ("" if kind == "memory" else "127.0.0.1")
    assert link.remote.startswith(link.remote_ip)
    assert repr(link) == f"<Link from {link.remote or 'a stream'}, open>"


# -- the close handshake


@pytest.mark.parametrize(
    ("payload", "code", "reason"),
    [(b"\x10\xe1why \xc3\xa9", 4321, "why é"), (b"\x03\xe8", 1000, ""), (b"", 1005, "")],
)
async def test_the_peers_close_is_answered_with_its_code(server, payload, code, reason):
    peer, served = await server.opened()
    await peer.send(masked(CLOSE, payload))
    assert await peer.close_frame() == (code, "")
    assert await peer.until_end() == b""
    assert not peer.was_reset
    await peer.aclose()
    assert await ended(served) == (code, reason, True)
    assert served.link.closed == Closed(code, reason, True)


async def test_messages_before_a_close_in_the_same_segment_are_still_answered(server):
    peer, served = await server.opened()
    await peer.send(masked(TEXT, b"last") + CLOSE_1000)
    assert await peer.message() == b"last"
    assert await peer.close_frame() == (1000, "")
    await peer.aclose()
    await ended(served)


def closing_with(code, reason):
    async def close(served, link):
        served.messages += await link.receive()
        await link.aclose(code, reason)

    return close


async def test_our_close_waits_for_the_peers(server):
    server.handler = closing_with(4000, "bye")
    peer, served = await server.opened()
    await peer.send(masked(TEXT, b"go"))
    assert await peer.close_frame() == (4000, "bye")
    assert not served.finished.is_set()
    await peer.send(masked(CLOSE, b"\x0f\xa0"))
    assert await peer.until_end() == b""
    await peer.aclose()
    await served.finished.wait()
    assert served.link.closed == Closed(4000, "bye", False)


async def test_what_crosses_our_close_is_dropped_and_harms_nobody(server):
    server.handler = closing_with(4000, "bye")
    peer, served = await server.opened()
    await peer.send(masked(TEXT, b"go"))
    assert await peer.close_frame() == (4000, "bye")
    await peer.send(masked(PING, b"x") * 3 + masked(TEXT, b"late") + masked(CLOSE, b"\x0f\xa0"))
    assert await peer.until_end() == b""  # no pong after a close frame
    assert not peer.was_reset
    await peer.aclose()
    await served.finished.wait()
    assert served.messages == [b"go"]


async def test_two_closes_that_cross_are_one_end(server):
    server.handler = closing_with(4000, "bye")
    peer, served = await server.opened()
    await peer.send(masked(TEXT, b"go"))
    await trio.testing.wait_all_tasks_blocked(0.01)
    await peer.send(masked(CLOSE, b"\x03\xe9their"))
    assert await peer.close_frame() == (4000, "bye")
    assert await peer.until_end() == b""
    await peer.aclose()
    await served.finished.wait()
    assert served.link.closed == Closed(4000, "bye", False)


async def test_a_mute_peer_costs_one_close_timeout(autojump_clock, memory_server):
    memory_server.handler = closing_with(4000, "bye")
    peer, served = await memory_server.opened()
    await peer.send(masked(TEXT, b"go"))
    start = trio.current_time()
    await served.finished.wait()
    assert trio.current_time() - start == pytest.approx(memory_server.limits.close_timeout)
    assert served.link.closed == Closed(4000, "bye", False)


async def test_a_peer_that_keeps_the_connection_after_both_closes_costs_one_second(autojump_clock, memory_server):
    peer, served = await memory_server.opened()
    start = trio.current_time()
    await peer.send(CLOSE_1000)
    await served.finished.wait()
    assert trio.current_time() - start == pytest.approx(LINGER)


async def test_a_peer_that_never_stops_sending_costs_one_close_timeout(autojump_clock, memory_server, nursery):
    peer, served = await memory_server.opened()

    async def babble():
        await peer.send(frame(TEXT, b"unmasked"))
        while not peer.was_reset:
            await trio.sleep(0.1)
            await peer.pour(b"x" * 100)

    start = trio.current_time()
    nursery.start_soon(babble)
    await served.finished.wait()
    assert trio.current_time() - start == pytest.approx(memory_server.limits.close_timeout)


async def test_closing_beside_a_reader_leaves_the_reading_to_it(server):
    async def close_beside(served, link):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(served.echo, link)
            await trio.testing.wait_all_tasks_blocked()
            await link.aclose(4001, "x")

    server.handler = close_beside
    peer, served = await server.opened()
    assert await peer.close_frame() == (4001, "x")
    await peer.send(masked(TEXT, b"late") + masked(CLOSE, b"\x0f\xa1"))
    assert await peer.until_end() == b""
    await peer.aclose()
    assert await ended(served) == (4001, "x", False)
    assert served.messages == [b"late"]


async def test_a_reader_that_comes_while_closing_is_told(server):
    told = []

    async def read_while_closing(served, link):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.aclose, 4001, "x")
            await trio.testing.wait_all_tasks_blocked(0.01)
            with pytest.raises(LinkClosed) as caught:
                await link.receive()
            told.append(caught.value.code)

    server.handler = read_while_closing
    peer, served = await server.opened()
    await peer.close_frame()
    await trio.testing.wait_all_tasks_blocked(0.03)
    await peer.send(masked(CLOSE, b"\x0f\xa1"))
    await peer.until_end()
    await peer.aclose()
    await served.finished.wait()
    assert told == [4001]


async def test_everybody_who_closes_waits_for_the_same_end(server):
    done = []

    async def close_thrice(served, link):
        async def close(code):
            await link.aclose(code)
            assert is_closed(served.stream)
            done.append(code)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(close, 4001)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(close, 4002)
            nursery.start_soon(close, 4003)
        await link.aclose()

    server.handler = close_thrice
    peer, served = await server.opened()
    assert await peer.close_frame() == (4001, "")
    assert done == []
    await peer.send(masked(CLOSE, b"\x0f\xa1"))
    await peer.until_end()
    await peer.aclose()
    await served.finished.wait()
    assert sorted(done) == [4001, 4002, 4003]


@pytest.mark.parametrize("code", [999, 1005, 1006, 1015, 5000])
async def test_a_code_that_may_not_be_sent_is_refused(code):
    link = Link(Pipe(memory_pair()[0]), client=False, limits=Limits())
    with pytest.raises(ValueError, match="may be sent"):
        await link.aclose(code)


async def test_what_is_queued_leaves_before_the_close(server):
    async def send_and_close(served, link):
        for number in range(50):
            link.send_text_nowait(b"%d" % number)
        await link.aclose(1001, "stopping")

    server.handler = send_and_close
    peer, _ = await server.opened()
    for number in range(50):
        assert await peer.message() == b"%d" % number
    assert await peer.close_frame() == (1001, "stopping")


async def test_a_close_without_a_writer_writes_for_itself():
    ours, theirs = memory_pair()
    link = Link(Pipe(ours), client=False, limits=Limits())
    link.send_text_nowait(b"queued")
    peer = RawPeer(theirs)
    await peer.send(CLOSE_1000)
    await peer.stream.send_eof()
    await link.aclose(4000, "bye")
    assert await peer.message() == b"queued"
    assert await peer.close_frame() == (4000, "bye")
    assert ours.closed


async def test_a_writer_that_was_cancelled_between_frames_leaves_the_close_to_aclose(server):
    """How a stopping server says 1001 although its tasks are cancelled already."""

    async def cancelled(served, link):
        link.send_text_nowait(b"before")
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
                link.send_text_nowait(b"after")
                await link.aclose(1001, "server stopping")

    scope = trio.CancelScope()

    async def handler(served, link):
        with scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.run_writer)
                await cancelled(served, link)

    server.handler = handler
    peer, served = await server.opened()
    assert await peer.message() == b"before"
    await trio.testing.wait_all_tasks_blocked(0.01)
    scope.cancel()
    assert await peer.message() == b"after"
    assert await peer.close_frame() == (1001, "server stopping")
    await peer.send(masked(CLOSE, b"\x03\xe9"))
    await peer.until_end()
    await peer.aclose()
    await served.finished.wait()


@pytest.mark.parametrize("kind", ["tcp"])
async def test_a_writer_that_is_cancelled_while_aclose_waits_for_it_is_replaced(server):
    payload, closing = b"0123456789abcdef" * (MIB // 16), trio.CancelScope()

    async def handler(served, link):
        async with trio.open_nursery() as nursery:
            with closing:
                async with trio.open_nursery() as writing:
                    writing.start_soon(link.run_writer)
                    await trio.testing.wait_all_tasks_blocked()
                    for _ in range(16):
                        link.send_text_nowait(payload)
                    nursery.start_soon(link.aclose, 1001, "server stopping")

    server.limits = Limits(max_queued=64 * MIB)
    server.handler = handler
    peer, served = await server.opened()
    await trio.testing.wait_all_tasks_blocked(0.02)  # the socket is full now
    closing.cancel()
    for _ in range(16):
        assert await peer.message() == payload
    assert await peer.close_frame() == (1001, "server stopping")
    await peer.aclose()
    await served.finished.wait()


async def test_closing_waits_for_a_slow_writer_and_sends_no_pong_after_the_close_frame(autojump_clock, nursery):
    ours, theirs = memory_pair(piece=10)
    link, peer = Link(Pipe(ours), client=False, limits=Limits()), RawPeer(theirs)
    nursery.start_soon(link.run_writer)
    link.send_text_nowait(b"x" * 100)
    nursery.start_soon(link.aclose, 4000, "bye")
    await peer.read_more()  # the writing has begun
    await peer.send(masked(PING, b"late"))
    assert await peer.message() == b"x" * 100
    assert await peer.close_frame() == (4000, "bye")
    await peer.send(masked(CLOSE, b"\x0f\xa0"))
    assert await peer.until_end() == b""


async def test_two_full_peers_that_close_do_not_wait_for_each_other(network, nursery):
    """Closing goes on reading while it flushes: the buffers of both directions are full here."""
    ours, theirs = await network.pair()
    limits = Limits(max_queued=64 * MIB, close_timeout=15.0)
    links = []
    if network.kind == "tls":
        async with trio.open_nursery() as shaking:
            shaking.start_soon(ours.do_handshake)
            shaking.start_soon(theirs.do_handshake)
    for stream, is_client in ((ours, False), (theirs, True)):
        link = Link(Pipe(stream), client=is_client, limits=limits)
        for _ in range(16):
            link.send_text_nowait(b"x" * MIB)
        links.append(link)
    start = trio.current_time()
    async with trio.open_nursery() as closing:
        for link in links:
            closing.start_soon(link.aclose)
    assert trio.current_time() - start < 10
    assert [link.bytes_out > 16 * MIB for link in links] == [True, True]


# -- the connection is lost


async def test_the_end_of_tcp_without_a_close_is_1006(server, kind):
    peer, served = await server.opened()
    await peer.send(masked(TEXT, b"m"))
    await peer.message()
    await peer.aclose()
    assert await ended(served) == (1006, "connection lost", False)
    assert served.messages == [b"m"]


async def test_a_reset_is_1006(server):
    peer, served = await server.opened()
    await peer.send(masked(TEXT, b"half a frame")[:5])
    await peer.reset()
    assert await ended(served) == (1006, "connection lost", False)


async def test_writing_to_a_peer_that_was_reset_is_1006(server, nursery):
    async def only_write(served, link):
        while link.closed is None:
            link.send_text_nowait(b"x")
            await trio.lowlevel.checkpoint()
        with pytest.raises(LinkClosed) as caught:
            link.send_text_nowait(b"x")
        served.ended = caught.value

    server.handler = only_write
    peer, served = await server.opened()
    await peer.reset()
    assert await ended(served) == (1006, "connection lost", False)


async def test_aborting_wakes_reader_and_pinger_at_once(server):
    seen = []

    async def abort(served, link):
        async def read():
            with pytest.raises(LinkClosed) as caught:
                await link.receive()
            seen.append(("reader", caught.value.code, caught.value.reason))

        async def ping():
            with pytest.raises(LinkClosed) as caught:
                await link.ping(60)
            seen.append(("pinger", caught.value.code, caught.value.reason))

        async def wait():
            link.send_nowait(b"x" * 900_000)
            await link.wait_space()
            seen.append(("waiter", 0, ""))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            nursery.start_soon(ping)
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked(0.01)
            link.abort("enough")
        with pytest.raises(LinkClosed):
            link.send_text_nowait(b"x")
        with pytest.raises(LinkClosed):
            await link.ping(1)
        assert link.queued_bytes == 0

    server.handler = abort
    peer, served = await server.opened()
    await served.finished.wait()
    assert sorted(seen) == [("pinger", 1006, "enough"), ("reader", 1006, "enough"), ("waiter", 0, "")]
    assert served.link.closed == Closed(1006, "enough", False)
    await peer.until_end()


async def test_an_aborted_link_is_closed_by_its_writer_alone(network, nursery):
    ours, _ = await network.pair()
    link = Link(Pipe(ours), client=False, limits=Limits())
    async with trio.open_nursery() as writing:
        writing.start_soon(link.run_writer)
        await trio.testing.wait_all_tasks_blocked()
        link.abort()
    assert is_closed(ours)


class _Spawned(trio.abc.Instrument):
    def __init__(self):
        self.tasks = []

    def task_spawned(self, task):
        self.tasks.append(task)


async def test_a_lost_link_is_closed_without_a_goodbye(network):
    ours, _ = await network.pair()
    link, spawned = Link(Pipe(ours), client=False, limits=Limits()), _Spawned()
    link.abort("lost")
    trio.lowlevel.add_instrument(spawned)
    try:
        await link.aclose()
    finally:
        trio.lowlevel.remove_instrument(spawned)
    assert spawned.tasks == []
    assert is_closed(ours)
    assert link.closed == Closed(1006, "lost", False)


async def test_aborting_twice_or_after_the_end_changes_nothing(server):
    peer, served = await server.opened()
    await peer.send(CLOSE_1000)
    await peer.until_end()
    await peer.aclose()
    await served.finished.wait()
    served.link.abort()
    served.link.abort("again")
    assert served.link.closed == Closed(1000, "", True)


# -- violations

VIOLATIONS = {
    "unmasked": (frame(TEXT, b"x"), 1002),
    "reserved bit": (b"\xc1" + masked(TEXT, b"x")[1:], 1002),
    "not UTF-8": (masked(TEXT, b"\xff\xfe"), 1007),
    "not UTF-8 across fragments": (masked(TEXT, b"ok\xc3", final=False) + masked(CONTINUATION, b"("), 1007),
    "large ping": (masked(PING, b"x" * 126), 1002),
    "fragmented ping": (masked(PING, b"x", final=False), 1002),
    "stray continuation": (masked(CONTINUATION, b"x"), 1002),
    "close code 1006": (masked(CLOSE, b"\x03\xee"), 1002),
    "close of one byte": (masked(CLOSE, b"\x03"), 1002),
    "close reason that is not UTF-8": (masked(CLOSE, b"\x03\xe8\xff"), 1007),
    "a size of 1 TiB": (b"\x81\xff" + (1 << 40).to_bytes(8, "big"), 1009),
    "oversized in bytes, not in characters": (masked(TEXT, "€".encode() * 400_000), 1009),
    "oversized in fragments": (
        masked(TEXT, b"x" * 600_000, final=False) + masked(CONTINUATION, b"x" * 600_000),
        1009,
    ),
}


@pytest.mark.parametrize("name", VIOLATIONS)
async def test_a_violation_is_answered_with_its_close_code(server, nursery, name):
    data, code = VIOLATIONS[name]
    peer, served = await server.opened()
    nursery.start_soon(peer.pour, data)
    found, reason = await peer.close_frame()
    assert found == code
    assert await peer.until_end() == b""
    assert not peer.was_reset
    await peer.aclose()
    assert await ended(served) == (code, reason, False)


async def test_messages_before_a_violation_are_still_answered(server):
    peer, served = await server.opened()
    await peer.send(masked(TEXT, b"good") + masked(TEXT, b"\xff"))
    assert await peer.message() == b"good"
    assert (await peer.close_frame())[0] == 1007
    await peer.aclose()
    await ended(served)


async def test_a_violator_that_goes_on_sending_still_gets_its_close_frame(server, nursery):
    peer, served = await server.opened()
    nursery.start_soon(peer.pour, masked(TEXT, b"\xff\xfe") + b"\0" * (8 * MIB))
    assert (await peer.close_frame())[0] == 1007
    assert await peer.until_end() == b""
    assert not peer.was_reset
    await peer.aclose()
    await served.finished.wait()


# -- pings


async def test_a_ping_is_answered_although_the_handler_is_slow(server):
    release = trio.Event()

    async def slow(served, link):
        async def handle(message):
            await release.wait()
            link.send_text_nowait(message)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(handle, (await link.receive())[0])
            await served.echo(link)

    server.handler = slow
    peer, _ = await server.opened()
    await peer.send(masked(TEXT, b"work") + masked(PING, b"x"))
    assert await peer.frame() == Frame(PONG, b"x")
    release.set()
    assert await peer.message() == b"work"
    await peer.send(CLOSE_1000)


@pytest.mark.parametrize("kind", ["tcp", "tls"])
async def test_a_peer_that_floods_with_pings_and_never_reads_costs_little(server, nursery):
    peer, served = await server.opened()
    nursery.start_soon(peer.pour, masked(PING, b"x" * 125) * 500, math.inf)
    link, before = served.link, 0
    while not link.queued_bytes or link.bytes_out != before:  # until the socket takes no more pongs
        before = link.bytes_out
        await trio.sleep(0.01)
    read = link.bytes_in
    while link.bytes_in < read + 10 * MIB:  # reading goes on all the same, and nothing piles up
        await trio.lowlevel.checkpoint()
        assert link.queued_bytes < 200_000
    assert link.closed is None
    link.abort()
    await peer.aclose()


async def test_a_flood_of_pings_in_one_segment_is_answered_for_the_latest(server):
    peer, _ = await server.opened()
    await peer.send(b"".join(masked(PING, b"%d" % number) for number in range(300)) + masked(TEXT, b"end"))
    pongs = []
    while (found := await peer.frame()).opcode == PONG:
        pongs.append(int(found.payload))
    assert found.payload == b"end"
    assert pongs == sorted(pongs)
    assert pongs[-1] == 299


def pinging(timeout):
    async def ping(served, link):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(served.echo, link)
            try:
                served.ping = await link.ping(timeout)
            except (trio.TooSlowError, LinkClosed) as error:
                served.ping = error
            nursery.cancel_scope.cancel()

    return ping


async def test_a_ping_measures_the_round_trip(server):
    server.handler = pinging(5.0)
    peer, served = await server.opened()
    ping = await peer.frame()
    assert ping.opcode == PING
    await peer.send(masked(PONG, ping.payload))
    await peer.close_frame()
    await peer.aclose()
    await served.finished.wait()
    assert 0 <= served.ping < 5


async def test_a_ping_that_is_not_answered_is_too_slow(autojump_clock, memory_server):
    memory_server.handler = pinging(5.0)
    peer, served = await memory_server.opened()
    await peer.frame()
    await peer.send(masked(PONG, b"something else"))
    start = trio.current_time()
    assert await peer.close_frame() == (1000, "")
    assert trio.current_time() - start == pytest.approx(5.0)
    assert isinstance(served.ping, trio.TooSlowError)


async def test_a_ping_ends_with_the_connection(server):
    server.handler = pinging(60)
    peer, served = await server.opened()
    await peer.frame()
    await peer.reset()
    await served.finished.wait()
    assert isinstance(served.ping, LinkClosed)
    assert served.ping.code == 1006


async def test_a_pong_answers_earlier_pings_too(server):
    done = []

    async def ping_thrice(served, link):
        async def ping(number):
            await link.ping(60)
            done.append(number)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(served.echo, link)
            async with trio.open_nursery() as pinging:
                for number in range(3):
                    pinging.start_soon(ping, number)
            nursery.cancel_scope.cancel()

    server.handler = ping_thrice
    peer, served = await server.opened()
    last = [await peer.frame() for _ in range(3)][-1]
    await peer.send(masked(PONG, last.payload))
    await peer.close_frame()
    await peer.aclose()
    await served.finished.wait()
    assert sorted(done) == [0, 1, 2]


async def test_a_cancelled_ping_leaves_nothing_behind(server):
    async def give_up(served, link):
        with trio.move_on_after(0.001):
            await link.ping(60)
        assert not link.pings
        await served.echo(link)

    server.handler = give_up
    peer, _ = await server.opened()
    ping = await peer.frame()
    await peer.send(masked(PONG, ping.payload) + masked(TEXT, b"fine"))
    assert await peer.message() == b"fine"


# -- sending


async def test_a_sender_may_be_cancelled_at_any_time_and_frames_stay_whole(server, nursery):
    """User code only ever puts into the queue: there is nothing of it to cut."""

    async def cancelled_senders(served, link):
        for number in range(200):
            with trio.move_on_after(0):
                link.send_text_nowait(b"%d" % number + b"x" * 5000)
                await link.wait_space()

    server.handler = cancelled_senders
    peer, _ = await server.opened()
    for number in range(200):
        assert await peer.message() == b"%d" % number + b"x" * 5000
    assert await peer.close_frame() == (1000, "")


async def test_the_parts_of_a_frame_stay_together(server, nursery):
    payload = b"x" * 100_000

    async def send_in_parts(served, link):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(served.echo, link)
            for _ in range(30):
                link.send_nowait(*frames.text_frame(payload, mask=False))
                await link.wait_space()
                await trio.lowlevel.checkpoint()

    server.handler = send_in_parts
    peer, _ = await server.opened()
    found = []
    while sum(frame.opcode == TEXT for frame in found) < 30:
        await peer.send(masked(PING, b"now"))
        found.append(await peer.frame())
    assert {(frame.opcode, frame.payload) for frame in found} == {(PONG, b"now"), (TEXT, payload)}


async def test_a_full_queue_would_block_and_a_larger_frame_may_stand_alone(memory_network, autojump_clock):
    link = Link(Pipe(memory_pair()[0]), client=False, limits=Limits(max_queued=1000))
    link.send_text_nowait(b"x" * 5000)
    assert link.queued_bytes == 5004
    with pytest.raises(trio.WouldBlock):
        link.send_text_nowait(b"y")


@pytest.mark.parametrize("kind", ["tcp", "tls"])
async def test_a_consumer_that_never_reads_ends_its_link_and_the_queue_stays_bounded(server):
    server.limits = Limits(max_queued=MIB, send_timeout=0.2, close_timeout=0.5)
    largest = 0

    async def flood(served, link):
        nonlocal largest
        try:
            while True:
                try:
                    link.send_text_nowait(b"x" * 50_000)
                except trio.WouldBlock:
                    await link.wait_space()
                largest = max(largest, link.queued_bytes)
        except LinkClosed as ended:
            served.ended = ended

    server.handler = flood
    _, served = await server.opened()
    assert await ended(served) == (1006, "peer does not read", False)
    assert MIB // 2 < largest <= MIB


@pytest.mark.parametrize("kind", ["tcp", "tls"])
async def test_a_blocked_link_does_not_delay_another_one(server, nursery):
    async def flood(served, link):
        while served.ended is None:
            try:
                link.send_text_nowait(b"x" * 50_000)
            except trio.WouldBlock:
                await trio.sleep(0.01)

    server.handler = flood
    _, blocked = await server.opened()
    server.handler = type(blocked).echo
    peer, _ = await server.opened()
    for number in range(20):
        await peer.send(masked(TEXT, b"%d" % number))
        assert await peer.message() == b"%d" % number
    assert blocked.link.closed is None
    blocked.ended = LinkClosed(0, "", False)
    blocked.link.abort()


async def test_a_write_that_is_cancelled_in_its_middle_ends_the_link(autojump_clock):
    ours, theirs = memory_pair(piece=10)
    link = Link(Pipe(ours), client=False, limits=Limits())
    link.send_text_nowait(b"x" * 100)
    with trio.move_on_after(0.05) as scope:
        await link.run_writer()
    assert scope.cancelled_caught
    assert link.closed == Closed(1006, "cancelled", False)
    assert ours.closed
    with pytest.raises(LinkClosed):
        link.send_text_nowait(b"garbage")
    await link.aclose()
    assert len(ours.written) < 102
    assert await RawPeer(theirs).until_end() == ours.written


# -- the client's side


async def test_a_client_masks_each_frame_with_a_mask_of_its_own(client):
    peer, link = await client.opened()
    async with running(link):
        for _ in range(3):
            link.send_text_nowait(b"hello")
        found = [await peer.frame() for _ in range(3)]
        assert found == [Frame(TEXT, b"hello", masked=True)] * 3
        await peer.send(frame(PING, b"p"))
        with trio.CancelScope() as reading:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.receive)
                assert await peer.frame() == Frame(PONG, b"p", masked=True)
                reading.cancel()
        await peer.send(frame(CLOSE, b"\x03\xe8"))
        await peer.stream.aclose()


async def test_a_client_waits_for_the_server_to_end_tcp(client, nursery):
    peer, link = await client.opened()
    nursery.start_soon(link.run_writer)
    async with trio.open_nursery() as closing:
        closing.start_soon(link.aclose, 4002, "cl")
        assert await peer.close_frame() == (4002, "cl")
        await peer.send(frame(CLOSE, b"\x0f\xa2"))
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not is_closed(client.stream)
        await peer.aclose()
    assert is_closed(client.stream)


async def test_a_server_that_keeps_tcp_open_after_both_closes_costs_one_second(autojump_clock, memory_client, nursery):
    peer, link = await memory_client.opened(glued=frame(CLOSE, b"\x03\xe8"))
    start = trio.current_time()
    async with running(link):
        with pytest.raises(LinkClosed):
            await link.receive()
    assert trio.current_time() - start == pytest.approx(LINGER)
    assert await peer.close_frame() == (1000, "")


async def test_a_masked_frame_from_the_server_is_a_violation(client):
    peer, link = await client.opened()
    await peer.send(masked(TEXT, b"x"))
    async with running(link):
        with pytest.raises(LinkClosed) as caught:
            await link.receive()
        assert caught.value.code == 1002
        assert (await peer.close_frame())[0] == 1002
        await peer.aclose()


# -- running


class UserError(Exception):
    pass


async def test_what_the_body_raises_passes_through_unwrapped_after_a_polite_close(client, nursery):
    peer, link = await client.opened()

    async def answer():
        assert await peer.close_frame() == (1000, "")
        await peer.send(frame(CLOSE, b"\x03\xe8"))
        await peer.aclose()

    nursery.start_soon(answer)
    with pytest.raises(UserError):
        async with running(link):
            raise UserError
    assert is_closed(client.stream)


async def test_a_cancelled_body_closes_the_stream_at_once(client):
    _, link = await client.opened()
    with trio.CancelScope() as scope:
        async with running(link):
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert is_closed(client.stream)


# -- size and fairness


async def test_endless_messages_of_one_peer_let_the_others_run(server, nursery):
    """A peer with endless data in its socket must not starve anybody."""
    busy, _ = await server.opened()
    other, _ = await server.opened()
    async with trio.open_nursery() as flooding:
        flooding.start_soon(busy.pour, masked(TEXT, b"x") * 1000, math.inf)
        flooding.start_soon(busy.until_end)
        for number in range(30):
            await other.send(masked(TEXT, b"%d" % number))
            assert await other.message() == b"%d" % number
        flooding.cancel_scope.cancel()


def test_an_idle_link_is_small():
    stream, flusher, limits = memory_pair()[0], Flusher(), Limits()
    count = 200
    tracemalloc.start()
    try:
        links = [Link(Pipe(stream), client=False, limits=limits, flusher=flusher) for _ in range(count)]
        size = tracemalloc.get_traced_memory()[0] // count
    finally:
        tracemalloc.stop()
    assert len(links) == count
    assert size < 2500
