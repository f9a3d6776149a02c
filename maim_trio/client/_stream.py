"""`client.messages()`: received messages as an async iterator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from maim_trio._runtime.connection import Delivery
from maim_trio._runtime.dispatch import Lane
from maim_trio._runtime.session import INBOX_BYTES
from maim_trio.errors import NotConnected

if TYPE_CHECKING:
    from collections.abc import Callable

    from maim_trio.message import APIMessageBase


class StreamLane(Lane[Delivery]):
    """The inbox that an iterator draws from. It outlives the iterator, so that leaving a loop loses nothing."""

    passes = False

    def __init__(self, max_messages: int) -> None:
        super().__init__(max_messages, INBOX_BYTES)
        self._arrived = trio.Event()

    def notify(self) -> None:
        """There is something new to see: a message, or the end."""
        self._arrived.set()
        self._arrived = trio.Event()

    async def wait_news(self) -> None:
        await self._arrived.wait()


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
        """The oldest message that waits. Cancelling takes none. Raises NotConnected when the client has given up."""
        await trio.lowlevel.checkpoint()
        while not self._lane.inbox:
            ended = self._ended()
            if ended == "":
                raise StopAsyncIteration
            if ended is not None:
                raise NotConnected(f"the client has given up: {ended}")
            await self._lane.wait_news()
        return self._open_delivery(self._lane.take())

    async def aclose(self) -> None:
        """Unsubscribes: from here on `on_message` or another `messages()` may take over."""
        await trio.lowlevel.checkpoint()
        self._closed(self)
