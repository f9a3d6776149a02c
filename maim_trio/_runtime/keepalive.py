"""One task that pings all connections of a server or client, and ends those that do not answer."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

import trio

from maim_trio._transport.interrupts import uninterrupted
from maim_trio._transport.limits import LinkClosed
from maim_trio._transport.parking import ParkingSpot

if TYPE_CHECKING:
    from collections.abc import Callable

    from maim_trio._runtime.connection import Connection

__all__ = ["Keepalive", "Liveness", "Watched"]

EARLY = 0.01
"""Parts of the interval. Whose time comes within it is pinged at once, so that many are one wake-up and one flush."""
PINGS_TURN = 64
"""Pings in a row without a checkpoint."""


class Watched(Protocol):
    """A connection, as far as it is pinged."""

    def owes_pong(self) -> bool:
        """Whether the last ping is still unanswered."""

    def ping(self) -> bool:
        """Asks the peer for a sign of life. False when there is nobody to ask any more."""

    def judge(self) -> bool:
        """The time for the answer to the last ping is up. False when that is the end."""


class Liveness:
    """Whether the peer of a connection answers our pings."""

    __slots__ = ("_asked_at", "_connection", "_heard_at", "_pauses", "_ping")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._heard_at = self._asked_at = connection.started_at
        self._ping = b""  # the last one, until we know of its pong
        self._pauses = 0  # of the connection, when it was sent

    def heard_at(self) -> float:
        """Up to then the other side has read what was written."""
        self.owes_pong()
        return self._heard_at

    def owes_pong(self) -> bool:
        if self._ping and self._connection.link.pings.answered_up_to >= self._ping:
            self._ping, self._heard_at = b"", self._asked_at
        return self._ping != b""

    def ping(self) -> bool:
        connection = self._connection
        try:
            self._ping = connection.link.ping_nowait()
        except LinkClosed:
            connection.stop_pause()
            return False
        self._asked_at, self._pauses = trio.current_time(), connection.pauses
        return True

    def judge(self) -> bool:
        connection = self._connection
        if connection.link.closed is not None:
            connection.stop_pause()
            return False
        if not self.owes_pong():
            return True
        self._ping = b""
        if connection.paused or connection.pauses != self._pauses:
            return True  # we are the one that does not read: its pong is waiting
        connection.no_pong()
        return False


@uninterrupted
class Keepalive:
    """Two queues in the order of time: who is to be pinged when, and who is to have answered by when.

    The times of one kind are the same for all, so whoever comes last has the latest. A pong is only noted on the
    link, where `judge` finds it.
    """

    __slots__ = ("_interval", "_spot", "_timeout", "_to_answer", "_to_ping")

    def __init__(self, interval: Callable[[], float], timeout: Callable[[], float]) -> None:
        self._interval = interval
        self._timeout = timeout
        self._to_ping: OrderedDict[Watched, float] = OrderedDict()
        self._to_answer: OrderedDict[Watched, float] = OrderedDict()
        self._spot = ParkingSpot()

    def __len__(self) -> int:
        """How many it watches."""
        return len(self._to_ping)

    def add(self, watched: Watched) -> None:
        """Has it pinged every so many seconds from now on; never, when that is 0."""
        interval = self._interval()
        if interval:
            self._to_ping[watched] = trio.current_time() + interval
            self._spot.wake()

    def discard(self, watched: Watched) -> None:
        self._to_ping.pop(watched, None)
        self._to_answer.pop(watched, None)

    async def run(self) -> None:
        """Pings until it is cancelled."""
        while True:
            if not self._to_ping:
                await self._spot.wait()
            await trio.sleep_until(min(_first(self._to_ping), _first(self._to_answer)))
            now = trio.current_time()
            self._judge(now)
            self._ping(now)

    def _judge(self, now: float) -> None:
        while _first(self._to_answer) <= now:
            watched, _ = self._to_answer.popitem(last=False)
            if not watched.judge():
                self.discard(watched)

    def _ping(self, now: float) -> None:
        interval, timeout = self._interval(), self._timeout()
        for _ in range(PINGS_TURN):
            if _first(self._to_ping) > now + interval * EARLY:
                break
            watched, _ = self._to_ping.popitem(last=False)
            if interval and watched.owes_pong():
                self._to_ping[watched] = now + interval
            elif interval and watched.ping():
                self._to_ping[watched] = now + interval
                self._to_answer.pop(watched, None)
                self._to_answer[watched] = now + timeout
            else:
                self.discard(watched)


def _first(queue: OrderedDict[Watched, float]) -> float:
    for time in queue.values():
        return time
    return float("inf")
