"""One task that writes for many links."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from maim_trio._transport.flusher import FLUSH_TURNS, Flusher
from maim_trio._transport.limits import Limits
from maim_trio._transport.pipe import LOST, Pipe
from maim_trio._transport.writer import Writer


class Ends:
    """A writer over a socket and the peer's stream."""

    def __init__(self, ours, theirs, flusher):
        self.ours, self.theirs = ours, theirs
        self.writer = Writer(Pipe(ours), Limits(), flusher)
        self.lost = False

    async def run(self):
        try:
            await self.writer.run()
        except LOST:
            self.lost = True


async def ends(network, flusher, nursery):
    made = Ends(*await network.pair(), flusher)
    nursery.start_soon(made.run)
    return made


@pytest.fixture
async def flushed(tcp_network, nursery):
    """A flusher that runs, and one of its links."""
    flusher = Flusher()
    nursery.start_soon(flusher.run)
    one = await ends(tcp_network, flusher, nursery)
    await trio.testing.wait_all_tasks_blocked()
    return flusher, one


async def test_what_is_queued_one_tick_apart_leaves_together(flushed, nursery):
    _, one = flushed

    async def reply_a_tick_later():
        one.writer.put((b"reply",))

    one.writer.put((b"ack ",))
    nursery.start_soon(reply_a_tick_later)
    received = await one.theirs.receive_some(100)
    assert received == b"ack reply"


async def test_a_broken_link_harms_no_other(tcp_network, nursery):
    flusher = Flusher()
    nursery.start_soon(flusher.run)
    broken, good = await ends(tcp_network, flusher, nursery), await ends(tcp_network, flusher, nursery)
    await trio.testing.wait_all_tasks_blocked()
    await broken.theirs.aclose()
    broken.writer.put((b"x",))
    await trio.testing.wait_all_tasks_blocked(0.02)
    broken.writer.put((b"x",))  # the reset has come by now
    good.writer.put((b"y",))
    assert await good.theirs.receive_some(100) == b"y"
    await trio.testing.wait_all_tasks_blocked(0.02)
    assert broken.lost
    assert not good.lost


async def test_many_links_are_flushed_although_the_flusher_pauses_in_between(tcp_network, nursery):
    flusher = Flusher()
    nursery.start_soon(flusher.run)
    links = [await ends(tcp_network, flusher, nursery) for _ in range(100)]
    await trio.testing.wait_all_tasks_blocked()
    for number, link in enumerate(links):
        link.writer.put((b"%d" % number,))
    for number, link in enumerate(links):
        assert await link.theirs.receive_some(100) == b"%d" % number


async def test_when_the_flusher_ends_each_link_writes_for_itself(tcp_network, nursery):
    flusher = Flusher()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as flushing:
            flushing.start_soon(flusher.run)
            one = await ends(tcp_network, flusher, nursery)
            await trio.testing.wait_all_tasks_blocked()
            one.writer.put((b"before ",))  # marked, but the flusher is cancelled before its turn
            scope.cancel()
    assert not flusher.running
    assert await one.theirs.receive_some(100) == b"before "
    one.writer.put((b"after",))
    assert await one.theirs.receive_some(100) == b"after"


async def test_a_link_that_ended_meanwhile_is_left_alone(flushed):
    _, one = flushed
    one.writer.put((b"never sent",))
    one.writer.stop()
    await trio.testing.wait_all_tasks_blocked()
    await one.ours.aclose()
    assert await one.theirs.receive_some(100) == b""


async def test_who_is_expected_writes_in_its_own_step(flushed):
    flusher, one = flushed
    flusher.expect()
    one.writer.put((b"ack ",))
    await trio.testing.wait_all_tasks_blocked()
    assert one.writer.queued_bytes == 4  # it is left to whoever was expected
    one.writer.put((b"reply",))
    flusher.flush()
    assert one.writer.queued_bytes == 0
    assert await one.theirs.receive_some(100) == b"ack reply"


async def test_who_is_expected_may_write_before_it_has_done_all(flushed):
    flusher, one = flushed
    flusher.expect()
    one.writer.put((b"reply",))
    flusher.flush_early()
    assert one.writer.queued_bytes == 0
    one.writer.put((b", more",))
    await trio.testing.wait_all_tasks_blocked()
    assert one.writer.queued_bytes == 6  # it is still expected
    flusher.flush()
    assert await one.theirs.receive_some(100) == b"reply, more"


async def test_who_was_expected_and_waits_leaves_it_to_the_flusher(flushed):
    flusher, one = flushed
    flusher.expect()
    flusher.expect()
    one.writer.put((b"ack",))
    flusher.wait()
    await trio.testing.wait_all_tasks_blocked()
    assert one.writer.queued_bytes == 3  # the other one is still expected
    flusher.wait()
    assert await one.theirs.receive_some(100) == b"ack"


async def test_more_links_than_one_step_should_write_for_are_left_to_the_flusher(tcp_network, nursery):
    flusher = Flusher()
    nursery.start_soon(flusher.run)
    links = [await ends(tcp_network, flusher, nursery) for _ in range(FLUSH_TURNS + 6)]
    await trio.testing.wait_all_tasks_blocked()
    flusher.expect()
    for number, link in enumerate(links):
        link.writer.put((b"%d" % number,))
    flusher.flush()
    assert sum(link.writer.queued_bytes > 0 for link in links) == 6
    for number, link in enumerate(links):
        assert await link.theirs.receive_some(100) == b"%d" % number


async def test_a_link_whose_reply_another_task_will_make_waits_for_that(flushed):
    flusher, one = flushed
    one.writer.replies = replies = Ready()
    flusher.expect()
    flusher.expect()
    one.writer.put((b"ack ",))
    flusher.flush()
    assert one.writer.queued_bytes == 4
    one.writer.put((b"reply",))
    replies.ready = 0
    flusher.flush()
    assert await one.theirs.receive_some(100) == b"ack reply"


class Ready:
    """A handler that is about to run."""

    ready = 1
