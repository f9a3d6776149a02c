"""One task that reads for all links of a server, as far as that needs no waiting (Linux)."""

from __future__ import annotations

import contextlib
import select
import sys
from typing import Protocol

import trio

__all__ = ["Poller", "Reader"]

EVENTS = 64
"""Sockets that are looked after without a checkpoint in between."""


class Reader(Protocol):
    """Whose socket is watched."""

    def readable(self, *, ended: bool) -> None:
        """There is something to read since it was called last, or (`ended`) the other side has ended its direction.
        Reads until there is nothing left, or remembers it; never raises."""


class Poller:
    """Watches sockets in an epoll set of its own: each is registered once, and not again for every wait.

    Edge-triggered: what is told is that something has come, once. `run` needs one task, which should outlive the links.
    """

    __slots__ = ("_epoll", "_readers", "running")

    def __init__(self) -> None:
        self.running = False
        self._readers: dict[int, Reader] = {}

    def add(self, descriptor: int, reader: Reader) -> bool:
        """Watches a socket until `discard`. False: it does not run here, so everybody has to wait for itself."""
        if not self.running:
            return False
        self._readers[descriptor] = reader
        self._epoll.register(descriptor, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)
        return True

    def discard(self, descriptor: int, reader: Reader) -> None:
        """To be called before the socket is closed: its number may be another's at once."""
        if self._readers.get(descriptor) is reader:
            del self._readers[descriptor]
            if self.running:
                with contextlib.suppress(OSError):  # it was closed behind our back
                    self._epoll.unregister(descriptor)

    async def run(self) -> None:
        """Reads until it is cancelled. Returns at once where there is no epoll."""
        if sys.platform != "linux":
            await trio.lowlevel.checkpoint()
            return
        with select.epoll() as self._epoll:
            self.running = True
            try:
                while True:
                    await trio.lowlevel.wait_readable(self._epoll.fileno())
                    for descriptor, events in self._epoll.poll(0, EVENTS):
                        reader = self._readers.get(descriptor)
                        if reader is not None:
                            reader.readable(ended=events & ~select.EPOLLIN != 0)
            finally:
                self.running = False
