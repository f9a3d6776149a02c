"""The durable outbox: accepted messages in a file, so that they survive the death of the process.

One task writes, in a thread, whatever has gathered since its last commit: many senders share one commit. A message is
on disk before it is on the wire; its removal may be lost with the process, and then the message is sent again and
recognised as a duplicate by the other side: nobody waits for it, so it goes with the next commit that somebody waits
for. What is received goes through the same task (`durable_inbox`).
"""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

import trio

from maim_trio._runtime.changes import Change
from maim_trio._runtime.outbox_file import Batch, OutboxFile, Row, explain
from maim_trio._transport.interrupts import uninterrupted
from maim_trio._transport.parking import ParkingSpot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from maim_trio._delivery.outbox import Entry
    from maim_trio._runtime.log import Log
    from maim_trio._runtime.session import Session

    Stored = Callable[[Session, Entry, bool], None]

BATCH: Final = 1000
"""Changes of one commit; more wait for the next."""
TURNS: Final = 2
"""Ticks after a commit in which those who have waited for it go on. What they have to write shares the next one."""
REMOVAL_DELAY: Final = 0.05
"""Seconds that a removal waits for a commit that somebody else needs."""
RETRY_DELAY: Final = 1.0
"""Seconds until what can wait is tried again after the disk refused it."""


class _Insertion(Change):
    row: Row
    session: Session
    entry: Entry
    stored: Stored

    def join(self, batch: Batch) -> None:
        batch.rows.append(self.row)

    def settle(self, stored: bool) -> None:
        self.stored(self.session, self.entry, stored)


class _Removal(Change):
    id: int

    def join(self, batch: Batch) -> None:
        batch.removed.append((self.id,))


class _Burial(Change):
    id: int
    reason: str

    def join(self, batch: Batch) -> None:
        batch.buried.append((self.reason, self.id))


class _Fact(Change):
    name: str
    value: str

    def join(self, batch: Batch) -> None:
        batch.facts.append((self.name, self.value))


@uninterrupted
class DurableOutbox:
    """An open file and the task that writes to it, `run`. The file is closed when that ends."""

    def __init__(self, file: OutboxFile, log: Log, hold: Callable[[bool], None]) -> None:
        self.file = file
        self._log = log
        self._hold = hold  # called with True before many are told at once, and with False when they have gone on
        self.after_commit: list[Callable[[], None]] = []
        """Called when all of a commit have been told of it: what is done once for many of them."""
        self._changes: deque[Change] = deque()  # bounded by what outboxes and inboxes hold
        self._removed: list[tuple[int]] = []  # rows that are in the file and done with; go with the next commit
        self._spot = ParkingSpot()  # where `run` waits
        self._news = False  # there is something since it has looked
        self._ended = trio.Event()
        self._thread = trio.CapacityLimiter(1)  # of its own: user code may have taken all others
        self._closing = False
        self._failing = False

    def add(self, session: Session, entry: Entry, lifetime: float, stored: Stored) -> None:
        """Writes a message that lives for `lifetime` seconds; `stored` is told whether that worked, in the order of the
        calls."""
        now = time.time()
        entry.row = self.file.new_id()
        row = Row(
            entry.row,
            session.uuid,
            session.user_id,
            session.platform,
            entry.msg_id,
            entry.payload,
            created=now,
            expires=now + lifetime,
        )
        self.put(_Insertion(row, session, entry, stored))

    def remove(self, entry: Entry) -> None:
        """Forgets a message that is done, some time soon."""
        if entry.refused:
            return
        if entry.held:
            self.put(_Removal(entry.row))  # behind the insertion
        elif not self._ended.is_set():
            self._removed.append((entry.row,))
            if len(self._removed) == 1:
                self._spot.wake()

    def bury(self, entry: Entry, reason: str) -> None:
        """Keeps a message that was given up, for the operator."""
        if not entry.refused:
            self.put(_Burial(entry.row, reason))

    def remember(self, name: str, value: str) -> None:
        """Writes a fact."""
        self.put(_Fact(name, value))

    def put(self, change: Change) -> None:
        """Has a change written with the next commit. Once the file is closed, nothing is written any more."""
        if not self._ended.is_set():
            self._changes.append(change)
            if not self._news:
                self._wake()
        else:
            self._settle_all([change], False)

    async def run(self) -> None:
        """Writes until `close`. Each commit holds what has gathered during the one before."""
        try:
            while not self._closing or self._changes or self._removed:
                if not (self._changes or self._removed or self._news):
                    await self._spot.wait()
                if not self._changes:
                    await self._wait_for_news(REMOVAL_DELAY)
                self._news = False
                if not await self._write():
                    await self._wait_for_news(RETRY_DELAY)
            await trio.to_thread.run_sync(self.file.close, limiter=self._thread)
        finally:
            self._ended.set()
            if self._changes or self._removed:  # cancelled: those who wait for these are told what became of them
                self._closing = True
                self._settle(list(self._changes), self._try(self._gather(self._changes)))
            self.file.close()

    async def close(self) -> None:
        """Writes what is left and closes the file."""
        self._closing = True
        self._wake()
        await self._ended.wait()

    def _wake(self) -> None:
        self._news = True
        self._spot.wake()

    async def _wait_for_news(self, patience: float) -> None:
        """Until there is something new that somebody waits for, `patience` seconds at most."""
        with trio.move_on_after(patience):
            while not self._news:
                await self._spot.wait()

    async def _write(self) -> bool:
        changes, removed = list(islice(self._changes, BATCH)), len(self._removed)
        if not (changes or removed):
            return True
        batch = self._gather(changes)
        error = await trio.to_thread.run_sync(partial(self._try, batch), limiter=self._thread)
        if error is None:
            del self._removed[:removed]
        if batch.rows:
            await self._settle_with_senders(changes, error)
        else:
            self._settle(changes, error)
        return error is None

    async def _settle_with_senders(self, batch: list[Change], error: sqlite3.Error | None) -> None:
        """Gives those who have waited for the commit `TURNS` ticks to go on."""
        self._hold(True)
        try:
            self._settle(batch, error)
            for _ in range(TURNS):
                await trio.lowlevel.checkpoint()
        finally:
            self._hold(False)

    def _settle(self, batch: list[Change], error: sqlite3.Error | None) -> None:
        for _ in batch:
            self._changes.popleft()
        settled = batch if error is None or self._closing else self._postpone(batch)
        self._tell(error)
        self._settle_all(settled, error is None)

    def _settle_all(self, changes: Iterable[Change], stored: bool) -> None:
        for change in changes:
            change.settle(stored)
        for told in self.after_commit:
            told()

    def _postpone(self, batch: list[Change]) -> list[Change]:
        """The disk refuses. Returns what is refused with it: all that senders wait for. The rest is tried again."""
        waiting = [*batch, *self._changes]
        kept = [change for change in waiting if not isinstance(change, _Insertion)]
        self._changes = deque(sorted(kept, key=lambda change: change.rank))
        return [change for change in waiting if isinstance(change, _Insertion)]

    def _tell(self, error: sqlite3.Error | None) -> None:
        """One line when it begins to fail, one when it works again."""
        if error is not None and not self._failing:
            self._log.error("outbox %s: %s: messages are refused", str(self.file.path), explain(error))
        elif error is None and self._failing:
            self._log.warning("outbox %s: messages are accepted again", str(self.file.path))
        self._failing = error is not None

    def _gather(self, changes: Iterable[Change]) -> Batch:
        batch = Batch(removed=self._removed.copy())
        for change in changes:
            change.join(batch)
        return batch

    def _try(self, batch: Batch) -> sqlite3.Error | None:
        try:
            self.file.apply(batch)
        except sqlite3.Error as error:
            return error
        return None
