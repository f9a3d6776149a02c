"""One task that reads for many links, over real sockets: memory streams have no descriptor."""

from __future__ import annotations

import sys

import pytest
import trio
import trio.testing

from maim_trio._transport import frames
from maim_trio._transport.limits import Limits, LinkClosed
from maim_trio._transport.link import Link, running
from maim_trio._transport.pipe import Pipe
from maim_trio._transport.poller import Poller

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="epoll is Linux's")


def text(payload):
    return frames.frame(frames.TEXT, payload, mask=True)


class Desk:
    """A link whose messages go to a sink. `sink` may be exchanged; `left` is what the reader was given back."""

    def __init__(self, link, theirs):
        self.link, self.theirs = link, theirs
        self.taken, self.left, self.readers = [], [], set()
        self.ended = None
        self.limit = None

    def sink(self, batch):
        self.readers.add(trio.lowlevel.current_task().name)
        for index, message in enumerate(batch):
            if message == b"raise":
                raise ValueError("a bug in the sink")
            if message == b"stop":
                return batch[index + 1 :]
            self.taken.append(message)
        return None

    async def run(self):
        async with running(self.link):
            try:
                while True:
                    self.left.append(await self.link.receive(self.sink))
            except (LinkClosed, ValueError) as ended:
                self.ended = ended

    async def until(self, count):
        while len(self.taken) < count:
            await trio.testing.wait_all_tasks_blocked(0.001)


@pytest.fixture
async def poller(nursery):
    poller = Poller()
    nursery.start_soon(poller.run, name="poller")
    await trio.testing.wait_all_tasks_blocked()
    return poller


async def desk(network, poller, nursery, *, max_message=1_000_000):
    ours, theirs = await network.pair()
    made = Desk(Link(Pipe(ours), client=False, limits=Limits(max_message=max_message, close_timeout=1.0)), theirs)
    made.link.use_poller(poller)
    nursery.start_soon(made.run, name="reader")
    await trio.testing.wait_all_tasks_blocked()
    return made


async def test_the_poller_gives_messages_to_the_sink_and_the_reader_sleeps(tcp_network, poller, nursery):
    one = await desk(tcp_network, poller, nursery)
    for number in range(50):
        await one.theirs.send_all(text(b"%d" % number))
        await one.until(number + 1)
    assert one.taken == [b"%d" % number for number in range(50)]
    assert one.readers == {"poller"}
    assert one.left == []


async def test_a_message_in_many_small_pieces_and_one_larger_than_all_buffers(tcp_network, poller, nursery):
    one = await desk(tcp_network, poller, nursery, max_message=40_000_000)
    huge = b"x" * 30_000_000
    for part in (bytes([byte]) for byte in text(b"in pieces")):
        await one.theirs.send_all(part)
    await one.theirs.send_all(text(huge) + text(b"after it"))
    await one.until(3)
    assert one.taken == [b"in pieces", huge, b"after it"]


async def test_what_the_sink_leaves_comes_to_the_reader_and_then_it_goes_on(tcp_network, poller, nursery):
    one = await desk(tcp_network, poller, nursery)
    await one.theirs.send_all(b"".join(map(text, (b"1", b"stop", b"2", b"3"))))
    await trio.testing.wait_all_tasks_blocked(0.01)
    assert one.taken == [b"1"]
    assert one.left == [[b"2", b"3"]]
    await one.theirs.send_all(text(b"4"))
    await one.until(2)
    assert one.taken == [b"1", b"4"]


async def test_what_the_sink_leaves_is_not_lost_when_the_peer_closes_at_once(tcp_network, poller, nursery):
    one = await desk(tcp_network, poller, nursery)
    goodbye = frames.frame(frames.CLOSE, frames.close_payload(1000, "bye"), mask=True)
    await one.theirs.send_all(text(b"stop") + text(b"2") + goodbye)
    await trio.testing.wait_all_tasks_blocked(0.01)
    assert one.left == [[b"2"]]
    assert one.ended is not None
    assert (one.ended.code, one.ended.reason, one.ended.by_peer) == (1000, "bye", True)


async def test_what_arrives_while_nobody_receives_is_read_later(tcp_network, poller, nursery):
    ours, theirs = await tcp_network.pair()
    made = Desk(Link(Pipe(ours), client=False, limits=Limits()), theirs)
    made.link.use_poller(poller)
    await theirs.send_all(text(b"early"))
    await trio.testing.wait_all_tasks_blocked(0.01)
    assert made.taken == []
    nursery.start_soon(made.run)
    await made.until(1)
    assert made.taken == [b"early"]


@pytest.mark.parametrize(
    ("last", "taken"), [(b"", []), (text(b"last words"), [b"last words"]), (text(b"half a frame")[:-1], [])]
)
async def test_the_end_of_tcp_is_seen_with_and_without_data_before_it(tcp_network, poller, nursery, last, taken):
    one = await desk(tcp_network, poller, nursery)
    if last:
        await one.theirs.send_all(last)
    await one.theirs.send_eof()
    await trio.testing.wait_all_tasks_blocked(0.02)
    assert one.taken == taken
    assert isinstance(one.ended, LinkClosed)
    assert one.ended.code == 1006


async def test_an_error_in_the_sink_ends_its_own_link_only(tcp_network, poller, nursery):
    bad, good = await desk(tcp_network, poller, nursery), await desk(tcp_network, poller, nursery)
    await bad.theirs.send_all(text(b"raise"))
    await good.theirs.send_all(text(b"1"))
    await good.until(1)
    await trio.testing.wait_all_tasks_blocked(0.02)
    assert isinstance(bad.ended, ValueError)
    await good.theirs.send_all(text(b"2"))
    await good.until(2)
    assert good.ended is None


async def test_a_violation_is_answered_after_the_messages_before_it(tcp_network, poller, nursery):
    one = await desk(tcp_network, poller, nursery)
    await one.theirs.send_all(text(b"1") + b"\x8f\x80\0\0\0\0")  # a reserved opcode
    await one.until(1)
    received = await one.theirs.receive_some(100)
    assert frames.parse_close(received[2:])[0] == 1002


async def test_closing_from_our_side_while_the_poller_reads(tcp_network, poller, nursery):
    one = await desk(tcp_network, poller, nursery)
    nursery.start_soon(one.link.aclose, 1001, "stopping")
    assert frames.parse_close((await one.theirs.receive_some(100))[2:]) == (1001, "stopping")
    await one.theirs.send_all(text(b"crossing") + frames.frame(frames.CLOSE, frames.close_payload(1001, ""), mask=True))
    await trio.testing.wait_all_tasks_blocked(0.02)
    assert one.taken == [b"crossing"]
    assert one.ended is not None


async def test_a_number_that_is_another_sockets_by_now_reaches_only_that(tcp_network, poller, nursery):
    for round_ in range(20):
        one = await desk(tcp_network, poller, nursery)
        await one.theirs.send_all(text(b"%d" % round_))
        await one.until(1)
        one.link.abort()
        await trio.testing.wait_all_tasks_blocked()
        assert one.taken == [b"%d" % round_]
        assert isinstance(one.ended, LinkClosed)


async def test_one_that_sends_without_end_starves_nobody(tcp_network, poller, nursery):
    flood, calm = await desk(tcp_network, poller, nursery), await desk(tcp_network, poller, nursery)

    async def send_without_end():
        while True:
            await flood.theirs.send_all(text(b"x" * 1000) * 1000)

    async with trio.open_nursery() as flooding:
        flooding.start_soon(send_without_end)
        while len(flood.taken) < 5000:
            await trio.lowlevel.checkpoint()
        for number in range(5):
            before = len(flood.taken)
            await calm.theirs.send_all(text(b"%d" % number))
            while len(calm.taken) == number:
                await trio.lowlevel.checkpoint()
            assert len(flood.taken) - before < 10_000
        flooding.cancel_scope.cancel()
    assert calm.taken == [b"0", b"1", b"2", b"3", b"4"]


async def test_without_a_running_poller_the_reader_reads_and_returns_batches(tcp_network, nursery):
    one = await desk(tcp_network, Poller(), nursery)
    await one.theirs.send_all(text(b"1"))
    await trio.testing.wait_all_tasks_blocked(0.01)
    assert one.left == [[b"1"]]
    assert one.taken == []


class Relief:
    """A task that goes on with reading where the poller's has left off, as long as it is let."""

    def __init__(self, poller, nursery):
        self.poller, self.nursery = poller, nursery
        self.comes, self.turns = False, 0
        poller.relieved = lambda: self.comes

    async def run(self):
        try:
            while self.comes:
                await self.poller.wait()
                self.turns += 1
                self.poller.read()
        finally:
            self.poller.resume()


async def test_another_task_may_go_on_with_reading_and_give_it_back(tcp_network, poller, nursery):
    one, relief = await desk(tcp_network, poller, nursery), Relief(poller, nursery)
    await one.theirs.send_all(text(b"1"))
    await one.until(1)
    assert not poller.relief.taken
    relief.comes = True
    await one.theirs.send_all(text(b"2"))
    await one.until(2)
    assert poller.relief.taken
    nursery.start_soon(relief.run, name="relief")
    for number in (3, 4):
        await one.theirs.send_all(text(b"%d" % number))
        await one.until(number)
    relief.comes = False
    await one.theirs.send_all(text(b"5"))
    await one.until(5)
    await trio.testing.wait_all_tasks_blocked()
    assert not poller.relief.taken
    await one.theirs.send_all(text(b"6"))
    await one.until(6)
    assert one.taken == [b"1", b"2", b"3", b"4", b"5", b"6"]
    assert relief.turns == 3
    assert one.readers == {"poller", "relief"}


async def test_when_the_poller_ends_whoever_relieves_it_is_woken_and_reads_nothing(tcp_network, nursery):
    poller = Poller()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as polling:
            polling.start_soon(poller.run)
            await trio.testing.wait_all_tasks_blocked()
            one, relief = await desk(tcp_network, poller, nursery), Relief(poller, nursery)
            relief.comes = True
            await one.theirs.send_all(text(b"1"))
            await one.until(1)
            nursery.start_soon(relief.run)
            await trio.testing.wait_all_tasks_blocked()
            assert relief.turns == 0
            scope.cancel()
    await one.theirs.send_all(text(b"2"))
    while not relief.turns:
        await trio.lowlevel.checkpoint()
    relief.comes = False
    assert one.taken == [b"1"]
