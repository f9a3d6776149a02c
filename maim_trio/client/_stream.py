"""`client.messages()`: received messages as an async iterator."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import trio

from maim_trio._runtime.durable_inbox import DurableDelivery, HeldLane, forget, nothing
from maim_trio._runtime.session import INBOX_BYTES
from maim_trio._transport.interrupts import uninterrupted
from maim_trio.errors import NotConnected

if TYPE_CHECKING:
    from collections.abc import Callable

    from maim_trio._runtime.delivery import Delivery
    from maim_trio.message import APIMessageBase


class StreamLane(HeldLane):
    """The inbox that an iterator draws from. It outlives the iterator, so that leaving a loop loses nothing."""

    def __init__(self, max_messages: int) -> None:
        super().__init__(max_messages, INBOX_BYTES)
        self._arrived = trio.Event()
        self._given: Delivery | None = None  # what the iterator has returned last
        self._given_to: trio.lowlevel.Task | None = None

    def give(self) -> Delivery:
        """The oldest message, for the iterator."""
        self._given, self._given_to = self.take(), trio.lowlevel.current_task()
        return self._given

    async def settle(self) -> None:
        """What the iterator has returned last is done with. Returns when that is on disk, where there is a file."""
        given, self._given, self._given_to = self._given, None, None
        if given is not None:
            await forget(given)

    def stopped(self) -> None:
        """The client begins to stop. If that is the doing of the task with the loop, it has left the loop."""
        if self._given_to is trio.lowlevel.current_task():
            self.left()

    def left(self) -> None:
        """The loop over the iterator was left. A cancelled one has not done with its message: it stays in the file."""
        given, self._given, self._given_to = self._given, None, None
        if isinstance(given, DurableDelivery) and not _cancelled():
            given.forget(nothing)

    def notify(self) -> None:
        """There is something new to see: a message, or the end."""
        self._arrived.set()
        self._arrived = trio.Event()

    async def wait_news(self) -> None:
        await self._arrived.wait()


@uninterrupted
class MessageStream:
    """What `messages()` returns: an async iterator of ``(message, metadata)``."""

    def __init__(
        self,
        lane: StreamLane,
        open_delivery: Callable[[Delivery], tuple[APIMessageBase, dict[str, Any]]],
        ended: Callable[[], str | None],
        closed: Callable[[MessageStream], None],
    ) -> None:
        self._lane = lane
        self._open_delivery = open_delivery
        self._ended = ended  # None while there may be more, "" after stop(), else why the client has given up
        self._closed = closed

    def __aiter__(self) -> MessageStream:
        return self

    async def __anext__(self) -> tuple[APIMessageBase, dict[str, Any]]:
        """The oldest message that waits; with `outbox_path`, the one before it counts as handled from here on.
        Cancelling takes none. Raises NotConnected when the client has given up."""
        await trio.lowlevel.checkpoint()
        await self._lane.settle()
        while not self._lane.inbox:
            ended = self._ended()
            if ended == "":
                raise StopAsyncIteration
            if ended is not None:
                raise NotConnected(f"the client has given up: {ended}")
            await self._lane.wait_news()
        return self._open_delivery(self._lane.give())

    async def aclose(self) -> None:
        """Unsubscribes: from here on `on_message` or another `messages()` may take over. The last message counts as
        handled."""
        await trio.lowlevel.checkpoint()
        await self._lane.settle()
        self._closed(self)


def _cancelled() -> bool:
    """Whether this runs in a task that is cancelled, or in none of ours."""
    try:
        return trio.current_effective_deadline() == -math.inf
    except RuntimeError:
        return True
