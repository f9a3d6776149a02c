"""One task that writes for all links of a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from .parking import ParkingSpot

if TYPE_CHECKING:
    from .writer import Writer

__all__ = ["Flusher"]

FLUSH_TURNS = 64
"""Links flushed in a row without a checkpoint: a broadcast must not starve the readers."""


class Flusher:
    """Writes what the links of one server queued in this scheduler tick: one task switch for all, not one per link.

    `run` needs one task, which should outlive the links; without it each link's own task writes.
    """

    __slots__ = ("_marked", "_spot", "running")

    def __init__(self) -> None:
        self.running = False
        self._marked: list[Writer] = []
        self._spot = ParkingSpot()

    def add(self, writer: Writer) -> None:
        """Has `writer.flush` called one tick later."""
        self._marked.append(writer)
        self._spot.wake()

    async def run(self) -> None:
        """Flushes until it is cancelled."""
        self.running = True
        try:
            while True:
                await trio.lowlevel.checkpoint()  # one tick later: an ack and a reply leave in one write
                marked, self._marked = self._marked[:FLUSH_TURNS], self._marked[FLUSH_TURNS:]
                for writer in marked:
                    writer.flush()
                if not self._marked:
                    await self._spot.wait()
        finally:
            self.running = False
            marked, self._marked = self._marked, []
            for writer in marked:
                writer.wake()
