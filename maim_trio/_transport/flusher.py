"""One task that writes for all links of a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import trio

from .parking import ParkingSpot

if TYPE_CHECKING:
    from .writer import Writer

__all__ = ["PATIENCE", "Flusher", "Replies"]

FLUSH_TURNS = 64
"""Links flushed in a row without a checkpoint: a broadcast must not starve the readers."""
PATIENCE = 2
"""Ticks that a link waits for a reply that is about to be made. Handlers are begun within one or two."""


class Replies(Protocol):
    """Who knows whether handlers are about to run that may reply on a link."""

    ready: int
    """How many."""


class Flusher:
    """Writes what the links of one server queued in a scheduler tick: one task switch for all, not one per link.

    A link for which a handler is about to run waits for that, `PATIENCE` ticks at most: an acknowledgement and the
    reply leave in one write. `run` needs one task, which should outlive the links; without it each link's own task
    writes.
    """

    __slots__ = ("_spot", "expected", "marked", "running")

    def __init__(self) -> None:
        self.running = False
        self.expected = 0
        """Calls of `flush` or `wait`."""
        self.marked: list[Writer] = []
        """Writers add themselves, and call `wake` when nobody is expected: `Writer.flush` is called then by whoever is
        expected to call `flush`, or else one tick later."""
        self._spot = ParkingSpot()

    def wake(self) -> None:
        """Has what is marked written one tick later."""
        self._spot.wake()

    def expect(self) -> None:
        """Somebody is about to queue something, and calls `flush` or `wait` in this tick or the next."""
        self.expected += 1

    def flush(self) -> None:
        """Who was expected has queued what there was: it is written here and now, as far as it does not wait for
        others, and is not too much."""
        self.expected -= 1
        if self.marked:
            self._flush()
            self._leave()

    def flush_early(self) -> None:
        """Who was expected has most likely queued all there is, and calls `flush` when the rest is seen to."""
        if 0 < len(self.marked) <= FLUSH_TURNS:
            self._flush()

    def wait(self) -> None:
        """Who was expected waits for something else first: what is queued so far does not wait for that."""
        self.expected -= 1
        self._leave()

    def _leave(self) -> None:
        if self.marked and not self.expected:
            self._spot.wake()

    async def run(self) -> None:
        """Flushes until it is cancelled."""
        self.running = True
        try:
            while True:
                if not self.marked:
                    await self._spot.wait()
                await trio.lowlevel.checkpoint()
                self._flush()
        finally:
            self.running = False
            marked, self.marked = self.marked, []
            for writer in marked:
                writer.wake()

    def _flush(self) -> None:
        marked, self.marked = self.marked, []
        if len(marked) > FLUSH_TURNS:
            marked, self.marked = marked[:FLUSH_TURNS], marked[FLUSH_TURNS:]
        for writer in marked:
            replies = writer.replies
            if replies is not None and replies.ready and writer.patience:
                writer.patience -= 1
                self.marked.append(writer)
            else:
                writer.flush()
