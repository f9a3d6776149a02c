"""Finding the handler that blocks the event loop: an opt-in trio instrument."""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from maim_trio._runtime.log import Log

clock = time.perf_counter
"""Seconds. Real time, whatever clock trio goes by: it is the processor that is taken from the others."""


class SlowStepWatch(trio.abc.Instrument):
    """Reports a task that ran longer than `limit` seconds without a checkpoint, once per such step.

    While it blocks nothing else runs: no message, no ping, no timeout. `watched` says whether a task is ours.
    """

    def __init__(
        self,
        limit: float,
        watched: Callable[[trio.lowlevel.Task], bool],
        report: Callable[[str, float], None],
    ) -> None:
        self._limit = limit
        self._watched = watched
        self._report = report
        self._began = math.inf  # made in the middle of a step

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._began = clock()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        took = clock() - self._began
        if took > self._limit and self._watched(task):
            self._report(task.name, took)


@contextmanager
def watching_slow_steps(limit: float | None, watched: Callable[[trio.lowlevel.Task], bool], log: Log) -> Iterator[None]:
    """Logs slow steps within the block. `limit` None: there is no watch."""
    if limit is None:
        yield
        return

    def report(name: str, took: float) -> None:
        what = "%s blocked the event loop for %.3f s: use await, or trio.to_thread.run_sync for blocking calls"
        log.warning(what, name, took)

    watch = SlowStepWatch(limit, watched, report)
    trio.lowlevel.add_instrument(watch)
    try:
        yield
    finally:
        trio.lowlevel.remove_instrument(watch)
