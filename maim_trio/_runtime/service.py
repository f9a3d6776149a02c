"""The life cycle that servers and clients share: who owns which task, and how everything ends.

::

    main task (in the user's nursery)
    └── handlers: user code; cancelled with its surroundings, at once
        └── shield: links; cancelling from outside only sets its deadline, so that what is queued still leaves
            └── admission: lets new peers in (server) or dials (client); ends first

What is shielded does not feel a cancellation, so guards stand where it is felt and pass it on as a deadline.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import trio

from maim_trio._runtime.dispatch import Dispatcher
from maim_trio._runtime.lifecycle import LifeCycle
from maim_trio._transport.flusher import Flusher
from maim_trio._transport.handshake import load_library
from maim_trio._transport.interrupts import uninterrupted
from maim_trio._transport.link import Link
from maim_trio._transport.poller import Poller

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


for _work in (Dispatcher, Flusher, Link, Poller):
    uninterrupted(_work)


class EndTimes(Protocol):
    """The part of a configuration that says how long an end may take; seconds."""

    shutdown_timeout: float
    close_timeout: float


class Service(LifeCycle):
    """The life of a server or a client: what ends when, and what of it the surroundings can cut short."""

    __slots__ = (
        "_abandoned",
        "_admission",
        "_handlers_dismissed",
        "_shield",
        "_shutdown_deadline",
        "_user_scopes",
        "deciding",
        "stopping",
    )

    config: EndTimes

    def __init__(self) -> None:
        super().__init__()
        self._admission = trio.CancelScope()
        self._shield = trio.CancelScope()
        self._user_scopes: set[trio.CancelScope] = set()
        self.deciding: set[trio.CancelScope] = set()
        """Those of them that end when a stop begins."""
        self.stopping = False
        self._abandoned = False  # the surroundings were cancelled
        self._handlers_dismissed = False
        self._shutdown_deadline = math.inf

    # -- what a server or client fills in

    def _prepare(self) -> None:
        self.stopping = self._abandoned = self._handlers_dismissed = False
        self._shutdown_deadline = math.inf
        self._admission = trio.CancelScope()
        self._shield = trio.CancelScope(shield=True)
        load_library()

    def _handlers_opened(self, nursery: trio.Nursery) -> None:
        """The nursery for user code is open."""
        raise NotImplementedError

    def _links_opened(self, links: trio.Nursery) -> None:
        """The nursery for our own tasks is open; they are cancelled when all links are closed."""
        raise NotImplementedError

    async def _admit(self, links: trio.Nursery, up: Callable[[], None]) -> None:
        """Lets peers in until it is cancelled; calls ``up()`` once it is really up."""
        raise NotImplementedError

    async def _drain(self) -> None:
        """Returns when no user code runs or waits any more."""
        raise NotImplementedError

    def _close_handlers(self) -> None:
        """No further handler is started."""
        raise NotImplementedError

    async def _close_links(self) -> None:
        """Flushes and closes all links, concurrently."""
        raise NotImplementedError

    # -- how it runs and ends

    async def _main(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as outer:
            outer.start_soon(self._guard, name="guard")
            async with trio.open_nursery() as handlers:
                self._handlers_opened(handlers)
                handlers.start_soon(self._guard_handlers, name="handler guard")
                with self._shield:
                    await self._serve(handlers, task_status)
                handlers.cancel_scope.cancel()
            outer.cancel_scope.cancel()

    async def _serve(self, handlers: trio.Nursery, task_status: trio.TaskStatus[None]) -> None:
        up = _Once(task_status.started)
        async with trio.open_nursery() as links:
            self._links_opened(links)
            with self._admission:
                await self._admit(links, up)
            up()  # stopped before it was up: who waits in start() goes on
            self._begin_stop()
            with self._user_scope(self._shutdown_deadline):
                await self._drain()
            self._close_handlers()
            self._handlers_dismissed = True
            handlers.cancel_scope.cancel()
            self._bound_shield(max(self._shutdown_deadline, trio.current_time()) + self.config.close_timeout)
            await self._close_links()
            links.cancel_scope.cancel()

    async def _guard(self) -> None:
        """Feels a cancellation from outside."""
        try:
            await trio.sleep_forever()
        finally:
            self._abandon()

    async def _guard_handlers(self) -> None:
        """Feels that a handler ended with what no fence holds: KeyboardInterrupt, SystemExit, a bug of ours."""
        try:
            await trio.sleep_forever()
        finally:
            if not self._handlers_dismissed:
                self._abandon()

    def _abandon(self) -> None:
        """User code ends now; links get `close_timeout` to say goodbye."""
        self._abandoned = True
        self._begin_stop()
        self._close_handlers()
        self._bound_shield(trio.current_time() + self.config.close_timeout)
        for scope in self._user_scopes:
            scope.cancel()

    def _begin_stop(self) -> None:
        if not self.stopping:
            self.stopping = True
            self._shutdown_deadline = trio.current_time() + self.config.shutdown_timeout
            for scope in self._user_scopes:
                scope.deadline = min(scope.deadline, self._shutdown_deadline)
            for scope in self.deciding:
                scope.cancel()
            self._stop_begun()
        self._admission.cancel()

    def _stop_begun(self) -> None:
        """Called once, synchronously, when stopping begins."""

    def _bound_shield(self, deadline: float) -> None:
        self._shield.deadline = min(self._shield.deadline, deadline)

    @contextmanager
    def _user_scope(self, deadline: float, *, until_stop: bool = False) -> Iterator[trio.CancelScope]:
        """For user code that runs in a task of the links: it ends when the surroundings are cancelled."""
        with trio.CancelScope(deadline=deadline) as scope:
            if self._abandoned:
                scope.cancel()
            self._user_scopes.add(scope)
            if until_stop:
                self.deciding.add(scope)
            try:
                yield scope
            finally:
                self._user_scopes.discard(scope)
                self.deciding.discard(scope)


class _Once:
    def __init__(self, function: Callable[[], None]) -> None:
        self._function: Callable[[], None] | None = function

    def __call__(self) -> None:
        function, self._function = self._function, None
        if function is not None:
            function()
