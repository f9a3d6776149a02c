"""One task that writes for many links."""

from __future__ import annotations

import trio
import trio.testing

from maim_trio._transport.flusher import Flusher
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


async def test_what_is_queued_one_tick_apart_leaves_together(tcp_network, nursery):
    flusher = Flusher()
    nursery.start_soon(flusher.run)
    one = await ends(tcp_network, flusher, nursery)
    await trio.testing.wait_all_tasks_blocked()

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


async def test_a_link_that_ended_meanwhile_is_left_alone(tcp_network, nursery):
    flusher = Flusher()
    nursery.start_soon(flusher.run)
    one = await ends(tcp_network, flusher, nursery)
    await trio.testing.wait_all_tasks_blocked()
    one.writer.put((b"never sent",))
    one.writer.stop()
    await trio.testing.wait_all_tasks_blocked()
    await one.ours.aclose()
    assert await one.theirs.receive_some(100) == b""
