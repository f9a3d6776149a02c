"""What a server or client keeps beyond its connections: outboxes and their time, the file, and how that ends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import trio

from maim_trio._delivery.dedupe import WINDOW
from maim_trio._delivery.outbox import Entry
from maim_trio._runtime.durable_inbox import HeldLane
from maim_trio._runtime.service import Service
from maim_trio._runtime.undelivered import is_object

if TYPE_CHECKING:
    from collections.abc import Iterable

    from maim_trio._runtime.config import CommonConfig
    from maim_trio._runtime.courier import Courier
    from maim_trio._runtime.delivery import Delivery
    from maim_trio._runtime.dispatch import Lane
    from maim_trio._runtime.durable_inbox import DurableInbox
    from maim_trio._runtime.log import Log
    from maim_trio._runtime.outbox_file import OutboxFile, Row
    from maim_trio._runtime.received_file import Left
    from maim_trio._runtime.requests import Requests
    from maim_trio._runtime.session import Session


class Keeping(Service):
    """Gives up what has outlived its time, restores what an earlier process has accepted, and reports at the end."""

    __slots__ = ("courier", "durable_inbox", "log", "requests")

    config: CommonConfig
    log: Log
    courier: Courier
    requests: Requests

    def __init__(self) -> None:
        super().__init__()
        self.durable_inbox: DurableInbox | None = None

    async def _keep_house(self) -> None:
        """Gives up, now and then, what has outlived its time."""
        while True:
            await trio.sleep(min(self.config.message_cache_cleanup_interval, self.config.message_cache_ttl))
            self._expire(trio.current_time())

    def _expire(self, now: float) -> None:
        self.courier.expire(self._all_sessions(), now)
        if self.durable_inbox is not None:
            self.durable_inbox.tidy(self._all_sessions())

    def offer(self, lane: Lane[Delivery]) -> None:
        """Says that an inbox may have something to handle."""
        raise NotImplementedError

    def hold(self, held: bool) -> None:
        """Says that handlers are about to end, whose tasks can go on with what an inbox has; or not any more."""
        raise NotImplementedError

    def _all_sessions(self) -> list[Session]:
        """All identities there are."""
        raise NotImplementedError

    async def _open_store(self, links: trio.Nursery) -> OutboxFile | None:
        """Opens the durable outbox and starts its task. ConfigError when the file cannot be used."""
        self.courier.closed = False
        path = self.config.outbox_path
        if path is None:
            return None
        from maim_trio._runtime.durable import DurableOutbox  # SQLite, for those who want it
        from maim_trio._runtime.durable_inbox import DurableInbox
        from maim_trio._runtime.outbox_file import OutboxFile

        file = await trio.to_thread.run_sync(OutboxFile, path)
        store = self.courier.store = DurableOutbox(file, self.log, self.hold)
        store.after_commit.append(self.courier.commit_told)
        self.durable_inbox = DurableInbox(store, self._memory, self.offer, self.log)
        links.start_soon(store.run, name="durable outbox")
        return file

    @property
    def _memory(self) -> float:
        """Seconds that a received message is remembered."""
        return max(WINDOW, self.config.message_cache_ttl)

    async def _left_in(self, file: OutboxFile) -> list[Left]:
        """What an earlier process has received."""
        return await trio.to_thread.run_sync(file.left, self._memory)

    def _restore_messages(self, session: Session, rows: Iterable[Row]) -> None:
        """Fills an outbox from the file. What has outlived its time meanwhile is given up at once."""
        now, clock = time.time(), trio.current_time()
        for row in rows:
            entry = Entry(row.msg_id, row.payload, expires=clock + row.expires - now, row=row.id)
            if not is_object(row.payload):
                self.log.error("a message of the outbox for %s is damaged and is not sent", session.uuid)
                if self.courier.store is not None:
                    self.courier.store.bury(entry, "damaged")
                continue
            self.courier.restore(session, entry)
        self.courier.expire([session], clock)

    async def _finish_delivery(self, reason: str) -> None:
        """The end of a stop: what could not be delivered is reported, or stays in the durable outbox."""
        self._end_delivery(reason)
        await self.courier.undelivered.wait_reported()
        if self.courier.store is not None:
            await self.courier.store.close()

    def _end_delivery(self, reason: str) -> None:
        """Nothing is accepted any more, and what was is given up, or left to the durable outbox."""
        courier = self.courier
        courier.closed = True
        self.requests.lost(None, reason)
        unhandled = sum(len(session.lane.inbox) for session in self._all_sessions())
        if unhandled:
            what = "%d received messages were not handled within shutdown_timeout"
            self.log.warning(what + ("" if courier.store is None else ": they stay in the file"), unhandled)
        for session in self._all_sessions():
            if courier.store is None:
                courier.give_up(session, reason)
            else:
                courier.leave(session)

    def _leave_inboxes(self) -> None:
        """The file is closed, and keeps what was received and not handled: another start takes it from there."""
        if self.durable_inbox is not None:
            for lane in self._lanes():
                if isinstance(lane, HeldLane):
                    lane.inbox.clear()
        self.courier.store = self.durable_inbox = None

    def _lanes(self) -> list[Lane[Delivery]]:
        return [session.lane for session in self._all_sessions()]
