"""One task that reads for all links of a server, as far as that needs no waiting (Linux)."""

from __future__ import annotations

import select
import sys
from typing import TYPE_CHECKING, Protocol

import trio

from .parking import ParkingSpot

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Poller", "Reader"]

EVENTS = 64
"""Sockets that are looked after without a checkpoint in between."""


class Reader(Protocol):
    """Whose socket is watched."""

    def readable(self, ended: bool) -> None:
        """There is something to read since it was called last, or (`ended`) the other side has ended its direction.
        Reads until there is nothing left, or remembers it; never raises."""


class Poller:
    """Watches sockets in an epoll set of its own: each is registered once, and not again for every wait.

    Edge-triggered: what is told is that something has come, once. `run` needs one task, which should outlive the links.
    A task that is going to deal with what was read may relieve it: then `run` sleeps until `resume`.
    """

    __slots__ = ("_epoll", "_readers", "relief", "relieved", "running")

    def __init__(self) -> None:
        self.running = False
        self.relieved: Callable[[], bool] = _nobody
        """Whether another task is about to go on with reading: by `wait` and `read`, and by `resume` when it ends."""
        self.relief = ParkingSpot()
        """Where `run` waits while it leaves it to another task to wait and read."""
        self._readers: dict[int, Reader] = {}

    def add(self, descriptor: int, reader: Reader) -> bool:
        """Watches a socket until `discard`. False: it does not run here, so everybody has to wait for itself."""
        if not self.running:
            return False
        self._readers[descriptor] = reader
        self._epoll.register(descriptor, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)
        return True

    def discard(self, descriptor: int, reader: Reader) -> None:
        """To be called before the socket is closed: its number may be another's at once.

        It is closed soon, or nothing more can come on it, so it stays in the epoll set: closing takes it out.
        """
        if self._readers.get(descriptor) is reader:
            del self._readers[descriptor]

    async def run(self) -> None:
        """Reads until it is cancelled. Returns at once where there is no epoll."""
        if sys.platform != "linux":
            await trio.lowlevel.checkpoint()
            return
        with select.epoll() as self._epoll:
            self.running = True
            try:
                while True:
                    await self.wait()
                    self.read()
                    if self.relieved():
                        await self.relief.wait()
            finally:
                self.running = False
                trio.lowlevel.notify_closing(self._epoll.fileno())

    def resume(self) -> None:
        """No other task waits and reads any more."""
        self.relief.wake()

    async def wait(self) -> None:
        """Until there is something to read, or `run` has ended."""
        if not self.running:
            await trio.lowlevel.checkpoint()
            return
        try:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
        except trio.ClosedResourceError:  # only ever raised to another task than `run`
            return

    def read(self) -> None:
        """Has what is there read, once."""
        if not self.running:
            return
        readers = self._readers
        for descriptor, events in self._epoll.poll(0, EVENTS):
            if descriptor in readers:  # no longer, where a handler has closed it meanwhile
                readers[descriptor].readable(events != select.EPOLLIN)


def _nobody() -> bool:
    return False
