"""The one task that pings all connections, in virtual time; what it asks of a connection is in `test_connection.py`."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from maim_trio._runtime.keepalive import EARLY, PINGS_TURN, Keepalive

Clock = trio.testing.MockClock


class Peer:
    """A connection that writes down when it is pinged and judged."""

    def __init__(self, *, answers: bool = True) -> None:
        self.answers = answers
        self.there = True
        self.owes = False
        self.pinged: list[float] = []
        self.judged: list[float] = []

    def owes_pong(self) -> bool:
        return self.owes

    def ping(self) -> bool:
        if self.there:
            self.pinged.append(trio.current_time())
            self.owes = not self.answers
        return self.there

    def judge(self) -> bool:
        self.judged.append(trio.current_time())
        return not self.owes


class Times:
    """What the configuration says."""

    def __init__(self, interval: float = 10.0, timeout: float = 4.0) -> None:
        self.interval = interval
        self.timeout = timeout


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
def keepalive(nursery: trio.Nursery, times: Times) -> Keepalive:
    made = Keepalive(lambda: times.interval, lambda: times.timeout)
    nursery.start_soon(made.run)
    return made


async def test_each_is_pinged_every_interval_after_its_start_and_judged_after_the_timeout(
    keepalive: Keepalive, autojump_clock: Clock
) -> None:
    one, other = Peer(), Peer()
    start = trio.current_time()
    keepalive.add(one)
    await trio.sleep(3)
    keepalive.add(other)
    await trio.sleep(30.5)
    assert [time - start for time in one.pinged] == [10, 20, 30]
    assert [time - start for time in one.judged] == [14, 24]
    assert [time - start for time in other.pinged] == [13, 23, 33]


async def test_who_does_not_answer_is_left_alone_after_the_verdict(keepalive: Keepalive, autojump_clock: Clock) -> None:
    silent, alive = Peer(answers=False), Peer()
    keepalive.add(silent)
    keepalive.add(alive)
    await trio.sleep(100)
    assert (len(silent.pinged), len(silent.judged)) == (1, 1)
    assert len(alive.pinged) >= 9
    assert len(keepalive) == 1


async def test_those_whose_time_is_nearly_there_are_pinged_in_the_same_step(
    keepalive: Keepalive, autojump_clock: Clock
) -> None:
    peers = [Peer() for _ in range(5)]
    for peer in peers:
        keepalive.add(peer)
        await trio.sleep(10 * EARLY / 4)
    await trio.sleep(25)
    for peer in peers:
        assert peer.pinged == peers[0].pinged
        assert peer.pinged[1] - peer.pinged[0] == 10


async def test_more_than_fit_into_one_step_are_pinged_all_the_same(keepalive: Keepalive, autojump_clock: Clock) -> None:
    peers = [Peer() for _ in range(3 * PINGS_TURN + 1)]
    for peer in peers:
        keepalive.add(peer)
    await trio.sleep(10)
    await trio.testing.wait_all_tasks_blocked()
    assert {len(peer.pinged) for peer in peers} == {1}


async def test_who_owes_a_pong_for_longer_than_an_interval_is_not_pinged_again(
    keepalive: Keepalive, autojump_clock: Clock, times: Times
) -> None:
    times.timeout = 25.0
    late = Peer()
    keepalive.add(late)
    await trio.sleep(15)
    late.answers = False
    await trio.sleep(25)
    assert late.pinged == [10, 20]
    assert late.judged == [], "the second ping has its whole time, too"
    await trio.sleep(20)
    assert (late.pinged, late.judged) == ([10, 20], [45])


async def test_who_is_gone_is_forgotten(keepalive: Keepalive, autojump_clock: Clock) -> None:
    gone, left = Peer(), Peer()
    gone.there = False
    keepalive.add(gone)
    keepalive.add(left)
    await trio.sleep(11)
    assert len(keepalive) == 1
    keepalive.discard(left)
    await trio.sleep(50)
    assert (len(left.pinged), left.judged) == (1, [])
    keepalive.discard(left)
    assert len(keepalive) == 0


async def test_an_interval_of_zero_means_never_and_holds_from_the_next_connection_on(
    keepalive: Keepalive, autojump_clock: Clock, times: Times
) -> None:
    times.interval = 0
    never, later = Peer(), Peer()
    keepalive.add(never)
    await trio.sleep(100)
    times.interval = 10
    keepalive.add(later)
    await trio.sleep(15)
    times.interval = 0
    await trio.sleep(100)
    assert (len(never.pinged), len(later.pinged), len(keepalive)) == (0, 1, 0)
