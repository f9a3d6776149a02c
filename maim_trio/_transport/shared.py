"""Receiving on one link through the poller of its server: the poller's task reads, the link's own task sleeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from .parking import ParkingSpot

if TYPE_CHECKING:
    from .link import Link
    from .pipe import Pipe
    from .poller import Poller

__all__ = ["SharedReader", "Sink"]

Sink = Callable[[list[bytes]], list[bytes] | None]
"""Takes complete messages; None: all of them. What it returns is left, and nothing more is given to it until then."""


class SharedReader:
    """Between a poller and the task that receives on a link."""

    __slots__ = ("_descriptor", "_error", "_link", "_pipe", "_poller", "_rest", "_sink", "_spot", "_unread")

    def __init__(self, link: Link, pipe: Pipe, poller: Poller) -> None:
        self._link = link
        self._pipe = pipe
        self._poller = poller
        self._descriptor = pipe.descriptor()
        self._sink: Sink | None = None  # of the task that waits
        self._spot = ParkingSpot()
        self._rest: list[bytes] | None = None  # what the sink has left
        self._error: Exception | None = None  # what it has raised
        self._unread = not pipe.dry  # there may be something that the poller has told of and nobody has read

    def begin(self) -> bool:
        """False when the poller does not run."""
        return self._poller.add(self._descriptor, self)

    async def receive(self, sink: Sink) -> list[bytes] | None:
        """Until the sink has left something, which is returned, or raised something, which is raised; or until the
        link has to be looked after by this task itself."""
        try:
            if self._unread:
                await trio.lowlevel.checkpoint()
                if not self._link.received_all:
                    self._sink = sink
                    self.readable(False)
            else:
                self._sink = sink
                await self._spot.wait()
        finally:
            self._sink = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        rest, self._rest = self._rest, None
        return rest

    def readable(self, ended: bool) -> None:
        """For the poller. With a task that waits, what is there is read, once, and given to its sink. What else is
        there is left to the task, which lets others have their turn in between."""
        self._unread, sink, link = True, self._sink, self._link
        if ended:  # nobody will tell of what comes next: the link reads by itself, without waiting first
            self._pipe.dry = False
            link.leave_poller()
        elif sink is not None:
            try:
                batch = link.read_nowait()
                self._unread = not self._pipe.dry
                if batch:
                    self._rest = sink(batch)
                if not self._unread and self._rest is None and not link.received_all:
                    return
            except Exception as error:  # the fence: one connection. Its own task raises it
                self._error = error
            self._wake()

    def end(self) -> None:
        """The poller reads no more."""
        self._poller.discard(self._descriptor, self)
        self._wake()

    def _wake(self) -> None:
        self._sink = None
        self._spot.wake()
