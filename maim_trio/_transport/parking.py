"""Where one task waits until another one has work for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable

__all__ = ["ParkingSpot"]


class ParkingSpot:
    """Room for one waiting task. Cheaper than an event: nothing to create or to reset per wait."""

    __slots__ = ("_task", "taken")

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None
        self.taken = False
        """Whether a task waits here, and nobody has woken it yet."""

    def wait(self) -> Awaitable[object]:
        """To be awaited at once: until `wake`. Cancelling leaves the spot empty."""
        self._task, self.taken = trio.lowlevel.current_task(), True
        return trio.lowlevel.wait_task_rescheduled(self._abort)  # noqa: ASYNC105 - a frame less where many sleep

    def _abort(self, _: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self._task, self.taken = None, False
        return trio.lowlevel.Abort.SUCCEEDED

    def wake(self) -> None:
        """Lets the waiting task run on; nothing happens when there is none."""
        task = self._task
        if task is not None:
            self._task, self.taken = None, False
            trio.lowlevel.reschedule(task)
