"""on_connect and on_disconnect of a client, called in the order of the events."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import trio

from maim_trio._transport.interrupts import uninterrupted

if TYPE_CHECKING:
    from maim_trio._runtime.endpoint import Endpoint
    from maim_trio._runtime.hooks import Handler

HOOKS_BEHIND = 8
"""Calls that may wait for a slow one before reconnecting waits for them."""


@uninterrupted
class HookQueue:
    """Calls hooks one after the other in a task of its own, so that a slow one delays no message."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._send, self._receive = trio.open_memory_channel[tuple[str, "Handler", tuple[Any, ...]]](HOOKS_BEHIND)
        self._done = trio.Event()
        self._called = trio.Event()

    def put(self, name: str, hook: Handler, arguments: tuple[Any, ...]) -> None:
        """Queues a call. There is room: `wait_room` comes before each attempt to connect."""
        self._send.send_nowait((name, hook, arguments))

    async def wait_room(self) -> None:
        """Until there is room for both calls of another connection."""
        while self._send.statistics().current_buffer_used > HOOKS_BEHIND - 2:
            await self._called.wait()

    async def run(self) -> None:
        """Makes the calls, until `finish`."""
        async for name, hook, arguments in self._receive:
            timeout = self._endpoint.config.handler_timeout
            deadline = math.inf if timeout is None else trio.current_time() + timeout
            await self._endpoint.run_hook(name, hook, *arguments, deadline=deadline)
            self._called.set()
            self._called = trio.Event()
        self._done.set()

    async def finish(self) -> None:
        """Returns when all queued calls are made."""
        self._send.close()
        await self._done.wait()
