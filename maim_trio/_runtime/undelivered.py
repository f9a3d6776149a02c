"""The report of messages that were given up: `on_undelivered`, one message after the other."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from maim_trio._transport.interrupts import uninterrupted

if TYPE_CHECKING:
    from collections.abc import Callable

    from maim_trio._delivery.outbox import Entry
    from maim_trio._runtime.endpoint import Endpoint


@uninterrupted
class Undelivered:
    """What waits to be reported. It counts as kept until it is reported (`reported` is called with it then), so that a
    hook that is stuck lets the outboxes fill up, and not the memory."""

    def __init__(self, endpoint: Endpoint, reported: Callable[[Entry], None]) -> None:
        self._endpoint = endpoint
        self._done = reported
        self._waiting: deque[tuple[Entry, str]] = deque()
        self._news = trio.Event()
        self._reported = trio.Event()
        self._busy = False

    def put(self, entry: Entry, reason: str) -> None:
        """Has `on_undelivered` called for a message. Without the hook there is nothing to wait for."""
        if self._endpoint.config.on_undelivered is None:
            self._done(entry)
            return
        self._waiting.append((entry, reason))
        self._news.set()

    async def run(self) -> None:
        """Makes the calls until it is cancelled."""
        try:
            while True:
                self._news = trio.Event()
                while self._waiting:
                    self._busy = True
                    await self._report(*self._waiting.popleft())
                    self._busy = False
                self._reported.set()
                self._reported = trio.Event()
                await self._news.wait()
        finally:
            self._busy = False
            self.drop()

    async def wait_reported(self) -> None:
        """Until the hook was called for everything."""
        while self._waiting or self._busy:
            await self._reported.wait()

    async def _report(self, entry: Entry, reason: str) -> None:
        endpoint = self._endpoint
        hook = endpoint.config.on_undelivered
        try:
            if hook is None:
                return
            outcome = await endpoint.run_hook(
                "on_undelivered", hook, envelope_of(entry), reason, deadline=endpoint.hook_deadline(), last_words=True
            )
        finally:
            self._done(entry)
        if outcome.failure in ("too slow", "cancelled") and endpoint.out_of_time:
            self.drop()

    def drop(self) -> None:
        """There is no time left for the rest."""
        if self._waiting:
            self._endpoint.log.error("no time left to call on_undelivered for %d messages", len(self._waiting))
        while self._waiting:
            self._done(self._waiting.popleft()[0])


def is_object(payload: bytes) -> bool:
    """Whether it is a JSON object: a message from a file may be damaged."""
    try:
        return isinstance(msgspec.json.decode(payload), dict)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False


def envelope_of(entry: Entry) -> dict[str, Any]:
    """The envelope as it was sent, for the application that asks what became of it."""
    envelope: dict[str, Any] = msgspec.json.decode(entry.payload)
    return envelope
