"""Starting, running and stopping, in the three forms that servers and clients offer."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import trio

from maim_trio._transport.interrupts import uninterrupted
from maim_trio.errors import NotRunning

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType
    from typing import Self


@uninterrupted
class LifeCycle:
    """Something that is started in a nursery and stopped again, any number of times. All it runs is below one task.

    It and the classes below have slots for what they hold. Python looks up methods fast in objects with at most thirty
    attributes in their dict, and a server has forty.
    """

    __slots__ = ("_ended", "_main_task", "_manager", "_nursery")

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__module__.startswith("maim_trio."):  # in classes that users derive, the methods are theirs
            uninterrupted(cls)

    def __init__(self) -> None:
        self._main_task: trio.lowlevel.Task | None = None
        self._ended = trio.Event()
        self._ended.set()
        self._manager: AbstractAsyncContextManager[trio.Nursery] | None = None
        self._nursery: trio.Nursery | None = None

    def _prepare(self) -> None:
        """Checks the configuration before anything runs, and resets what an earlier run has left."""
        raise NotImplementedError

    async def _main(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """The task above all others. Calls ``started()`` once it is really up."""
        raise NotImplementedError

    def _begin_stop(self) -> None:
        """Makes `_main` end, in its own time. Called any number of times."""
        raise NotImplementedError

    async def start(self, nursery: trio.Nursery) -> None:
        """Runs in `nursery` and returns when it is really up: a server listens, a client's tasks run.

        A client is not connected by it (`connect` does that). Cancelling it undoes what was begun. Raises ConfigError
        when the configuration is not complete, OSError when a server's port is taken, NotRunning when it runs already.
        """
        if self.is_running():
            raise NotRunning(f"this {type(self).__name__} runs already: stop() it before it is started again")
        self._prepare()
        self._ended = trio.Event()
        try:
            await nursery.start(self._run_main)
        except BaseExceptionGroup as group:
            error = _alone(group)
            raise error from error.__cause__  # how our nurseries are nested is no business of the caller
        finally:
            if self._main_task is None:
                self._ended.set()

    async def stop(self) -> None:
        """Ends everything in order and returns when every task it owned has ended. May be called from any task, any
        number of times; from one of its own callbacks it only initiates the end and returns.

        Nothing new is let in; handlers that run or wait get `shutdown_timeout` seconds and are cancelled then; what is
        queued is sent, and connections are closed with 1001 within `close_timeout` seconds. Cancelling this call does
        not take the stop back.
        """
        if not self.is_running():
            await trio.lowlevel.checkpoint()
            return
        self._begin_stop()
        if self._called_from_inside():
            await trio.lowlevel.checkpoint()
            return
        await self._ended.wait()

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs until `stop()` or cancelled: ``trio.run(server.run)``, ``await nursery.start(server.run)``.

        Reports itself as started with the server or client object.
        """
        with interruption_alone():
            async with self:
                task_status.started(self)
                await self._ended.wait()

    def is_running(self) -> bool:
        """Whether it was started and has not ended yet."""
        return not self._ended.is_set()

    async def __aenter__(self) -> Self:
        manager = trio.open_nursery()
        nursery = await manager.__aenter__()
        try:
            await self.start(nursery)
        except BaseException:
            nursery.cancel_scope.cancel()
            await manager.__aexit__(None, None, None)  # nothing runs in it: the error stays as it is
            raise
        self._manager, self._nursery = manager, nursery
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._manager is not None
        manager, self._manager, self._nursery = self._manager, None, None
        if error is not None and _holds_cancelled(error):
            return await manager.__aexit__(kind, error, traceback)
        try:
            await self.stop()
        except BaseException as late:
            await manager.__aexit__(type(late), late, late.__traceback__)
            raise
        await manager.__aexit__(None, None, None)
        return None

    async def _run_main(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self._main_task = trio.lowlevel.current_task()
        try:
            await self._main(task_status=task_status)
        finally:
            self._main_task = None
            self._ended.set()

    def _called_from_inside(self) -> bool:
        return self._is_below(trio.lowlevel.current_task())

    def _is_below(self, task: trio.lowlevel.Task | None) -> bool:
        """Whether a task is one of those that this object has started, directly or not."""
        while task is not None:
            if task is self._main_task:
                return True
            task = task.parent_nursery.parent_task if task.parent_nursery is not None else None
        return False


def _alone(error: BaseException) -> BaseException:
    """What stands alone in groups of one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


@contextmanager
def interruption_alone() -> Iterator[None]:
    """What Ctrl-C has raised in a handler comes out as a KeyboardInterrupt, as everywhere, and not in groups."""
    try:
        yield
    except BaseExceptionGroup as group:
        if group.split(KeyboardInterrupt)[1] is not None:
            raise
        raise _first(group) from None


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _holds_cancelled(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(map(_holds_cancelled, error.exceptions))
    return isinstance(error, trio.Cancelled)
