"""Getting accepted messages to the other side: outboxes, retransmission, and the honest report when that fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import trio

from maim_trio._delivery.outbox import Entry
from maim_trio._runtime.letters import Storing
from maim_trio._runtime.undelivered import Undelivered
from maim_trio._transport.frames import text_frame
from maim_trio._wire import close

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from maim_trio._delivery.outbox import Settled
    from maim_trio._runtime.durable import DurableOutbox
    from maim_trio._runtime.endpoint import Endpoint
    from maim_trio._runtime.session import Session
    from maim_trio._transport.link import Link
    from maim_trio._wire.codec import PeerError

Frame: TypeAlias = tuple[bytes, ...]
"""A frame in its parts, ready for the wire."""

TOTAL_FACTOR = 8
"""All outboxes of a server together hold at most so many times `message_cache_max_bytes`: connection ids cost nothing,
memory does."""
OVERHEAD = 512
"""Bytes that a kept message costs beside its payload, for that bound."""
FRAME_HEAD = 14
"""Bytes that a frame is larger than its payload, at most."""
UNPROVEN_GRACE = 2.0
"""Seconds that a stop waits for the acks of a peer that has not shown yet that it sends any."""


class Courier:
    """Sends for one server or client. Every method but those that wait is one synchronous step."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.store: DurableOutbox | None = None
        self.closed = False  # the end of a stop: nothing is accepted any more
        self.held_bytes = 0
        self.undelivered = Undelivered(endpoint, self._reported)
        self._endpoint = endpoint
        self._stats = endpoint.stats
        self._flushed: trio.Event | None = None
        self._total_room: trio.Event | None = None
        self._awaited: dict[int, Storing] = {}  # by the id of each row
        self._stirred: dict[Session, None] = {}  # their messages are on disk, or refused: may leave

    # -- sending

    def post(
        self,
        session: Session,
        msg_id: str,
        payload: bytes,
        *,
        frame: Frame | None = None,
        settled: Settled | None = None,
    ) -> Entry | None:
        """Takes responsibility for a message; None when it was refused. It leaves at once if it can."""
        return self.post_to_all((session,), msg_id, payload, frame=frame, settled=settled)[session.uuid]

    def post_to_all(
        self,
        sessions: Sequence[Session],
        msg_id: str,
        payload: bytes,
        *,
        frame: Frame | None = None,
        settled: Settled | None = None,
    ) -> dict[str, Entry | None]:
        """Posts one message to every session; what `post` returns, by uuid. `settled` is for one alone.

        The loop has the usual case in few calls, as it is what a delivery costs: connected, nothing before it, room
        everywhere, and one entry for all. What is anything else has not been touched when it comes to `_accept`.
        """
        endpoint, size, many = self._endpoint, len(payload), len(sessions)
        config, clock = endpoint.config, endpoint.now  # fetched first: Python is slow at calling an attribute
        now, cost = clock(), size + OVERHEAD
        expires, most_held = now + config.message_cache_ttl, TOTAL_FACTOR * config.message_cache_max_bytes
        direct = self.store is None and not self.closed and self.held_bytes + many * cost <= most_held
        entry = Entry(msg_id, payload, expires, settled=settled, sends=1, written_at=now, shared=many > 1)
        entries: dict[str, Entry | None] = {}
        others: list[Session] = []
        for session in sessions:
            outbox, connection = session.outbox, session.connection
            if (
                direct
                and outbox is not None
                and connection is not None
                and connection.ready
                and not session.ended
                and outbox.takes_at_once(size)
            ):
                link = connection.link
                offer = link.offer
                if offer(frame if frame is not None else text_frame(payload, mask=link.client)):
                    outbox.add_sent(entry)
                    entries[session.uuid] = entry
                    continue
            entries[session.uuid] = None
            others.append(session)
        sent = many - len(others)
        self.held_bytes += sent * cost
        self._stats.messages_sent += sent
        for session in others:
            entries[session.uuid] = self._accept(session, msg_id, payload, frame, settled, expires)
        return entries

    def _accept(
        self,
        session: Session,
        msg_id: str,
        payload: bytes,
        frame: Frame | None,
        settled: Settled | None,
        expires: float,
    ) -> Entry | None:
        if session.outbox is None:
            return self._send_directly(session, msg_id, payload, frame, settled)
        if not session.outbox.acks:
            self._check_acking(session)
        if not self._has_room(session, len(payload)):
            return None
        entry = Entry(msg_id, payload, expires, frame, settled)
        self._add(session, entry)
        if self.store is not None:
            entry.held = True
            ttl = self._endpoint.config.message_cache_ttl
            self.store.add(session, entry, ttl, self._stored)
        else:
            self.pump(session)
        return entry

    def pump(self, session: Session) -> None:
        """Writes what may be written now, in order."""
        outbox, connection = session.outbox, session.connection
        if connection is None or not connection.ready:
            return
        if outbox is None:
            session.room_made()  # whoever waits for a connection
            return
        while (entry := outbox.next_to_send()) is not None:
            if not self._write(connection.link, entry.payload, entry.frame):
                connection.starve(entry.size + FRAME_HEAD)
                return
            self._stats.messages_sent += 1
            if entry.sends:
                self._stats.messages_resent += 1
            if not outbox.sent(entry, self._endpoint.now()):
                self._done(session, entry)

    def withdraw(self, session: Session, entry: Entry) -> None:
        """Takes a message back if it was not written yet."""
        entry.settled = None
        session.confirming.pop(entry.msg_id, None)
        if session.outbox is not None and session.outbox.withdraw(entry):
            self._done(session, entry)
            self.pump(session)  # it may have stood before others

    def restore(self, session: Session, entry: Entry) -> None:
        """Takes over a message that an earlier process has accepted."""
        self._add(session, entry)

    # -- what the other side says

    def acknowledged(self, session: Session, msg_id: str) -> None:
        """The other side has taken a message."""
        self._stats.messages_acked += 1
        if session.confirming and (settled := session.confirming.pop(msg_id, None)) is not None:
            settled(True)
        outbox = session.outbox
        if outbox is None:
            return
        entry = outbox.acknowledged(msg_id)
        if entry is not None:
            self.held_bytes -= len(entry.payload) + OVERHEAD
            if self.store is not None:
                self.store.remove(entry)
            if (  # somebody waits, which is seldom: a call less
                entry.settled is not None
                or self._flushed is not None
                or self._total_room is not None
                or session.room is not None
            ):
                self._tell_released(session, entry, acknowledged=True)
        if outbox.waiting:
            self.pump(session)

    def refused(self, session: Session, error: PeerError) -> None:
        """The other side could not take a message."""
        if error.failed_msg_id is None:
            return
        settled = session.confirming.pop(error.failed_msg_id, None)
        if settled is not None:
            settled(False)
        entry = session.outbox.refused(error.failed_msg_id) if session.outbox is not None else None
        if entry is not None:
            self._give_up(session, [entry], f"refused by the other side: {error.code}")
        self.pump(session)

    def link_lost(self, session: Session, *, too_big: bool) -> None:
        """The connection has ended: what was not acknowledged waits for the next one. `too_big`: the other side has
        closed it because of a message that it cannot take."""
        outbox = session.outbox
        if outbox is not None:
            poison = outbox.poison() if too_big else None
            if poison is not None:
                self._give_up(session, [poison], f"too large for the other side (close {close.TOO_BIG})")
            self._give_up(session, outbox.lost(), "sent three times and never acknowledged")
        else:
            self._settle_unconfirmed(session)
        self._stir(session)

    def give_up(self, session: Session, reason: str) -> None:
        """There will be no further connection for this identity."""
        if session.outbox is not None:
            self._give_up(session, session.outbox.clear(), reason)
        self._settle_unconfirmed(session)
        self._stir(session)

    def leave(self, session: Session) -> None:
        """The process ends, and the durable outbox keeps what this identity has not acknowledged."""
        if session.outbox is not None:
            for entry in session.outbox.clear():
                self._release(session, entry)
        self._settle_unconfirmed(session)

    def expire(self, sessions: Iterable[Session], now: float) -> None:
        """Gives up what has outlived its time, and finds out who does not acknowledge."""
        for session in sessions:
            session.dedupe.forget_old(now)
            outbox = session.outbox
            if outbox is None:
                continue
            expired = outbox.expired(now)
            self._stats.messages_expired += len(expired)
            self._give_up(session, expired, "not acknowledged within message_cache_ttl")
            self._check_acking(session)
            self.pump(session)

    # -- waiting

    async def wait_room(self, session: Session, size: int) -> None:
        """Until a message of `size` bytes would be taken, or never will be."""
        await trio.lowlevel.checkpoint()
        while not (session.ended or self.closed or self._has_room(session, size)):
            connection, outbox = session.connection, session.outbox
            if outbox is not None and outbox.has_room(size):
                if self._total_room is None:
                    self._total_room = trio.Event()
                await self._total_room.wait()
            elif outbox is None and connection is not None and connection.ready and connection.link.closed is None:
                await connection.link.wait_space(size + FRAME_HEAD)
            else:
                await session.wait_room()

    async def wait_flushed(self, sessions: Callable[[], Iterable[Session]]) -> None:
        """Until everything that connected peers can still acknowledge is acknowledged. Those that have never
        acknowledged anything get `UNPROVEN_GRACE` seconds."""
        await trio.lowlevel.checkpoint()
        with trio.move_on_after(UNPROVEN_GRACE):
            await self._wait_for_acks(sessions, unproven=True)
        await self._wait_for_acks(sessions, unproven=False)

    async def _wait_for_acks(self, sessions: Callable[[], Iterable[Session]], *, unproven: bool) -> None:
        while any(session.owes_acks(unproven=unproven) for session in sessions()):
            if self._flushed is None:
                self._flushed = trio.Event()
            await self._flushed.wait()

    async def wait_stored(self, entries: Iterable[Entry | None]) -> None:
        """Until the durable outbox has all of `entries`, or has refused them. Cancelled: they may be kept or not."""
        rows = [entry.row for entry in entries if entry is not None and entry.held]
        if rows:
            storing = Storing(len(rows))
            self._awaited.update(dict.fromkeys(rows, storing))
            await storing.wait()

    # -- small things

    def _send_directly(
        self, session: Session, msg_id: str, payload: bytes, frame: Frame | None, settled: Settled | None
    ) -> Entry | None:
        """Without an outbox, written means done."""
        connection = session.connection
        if connection is None or not connection.ready or not self._write(connection.link, payload, frame):
            return None
        self._stats.messages_sent += 1
        if settled is not None:
            session.confirming[msg_id] = settled
        return Entry(msg_id, payload, expires=0.0)

    def _write(self, link: Link, payload: bytes, frame: Frame | None) -> bool:
        return link.offer(frame or text_frame(payload, mask=link.client))

    def _has_room(self, session: Session, size: int) -> bool:
        if session.ended or self.closed:
            return False
        if session.outbox is None:
            connection = session.connection
            if connection is None or not connection.ready or connection.link.closed is not None:
                return False
            return connection.link.has_space(size + FRAME_HEAD)
        if not session.outbox.has_room(size):
            return False
        total = TOTAL_FACTOR * self._endpoint.config.message_cache_max_bytes
        return not self.held_bytes or self.held_bytes + size + OVERHEAD <= total

    def _add(self, session: Session, entry: Entry) -> None:
        assert session.outbox is not None
        session.outbox.add(entry)
        self.held_bytes += entry.size + OVERHEAD

    def _check_acking(self, session: Session) -> None:
        if session.outbox is not None and session.connection is not None:
            for entry in session.outbox.check_acking(session.connection.heard_at()):
                self._done(session, entry)

    def _stored(self, session: Session, entry: Entry, stored: bool) -> None:
        """The durable outbox has a message on disk, or could not write it."""
        entry.held = False
        if not stored:
            entry.refused = True
            self.withdraw(session, entry)
        self._stirred[session] = None
        storing = self._awaited.pop(entry.row, None)
        if storing is not None:
            storing.stored()

    def commit_told(self) -> None:
        """All have been told of a commit: what it has made free leaves."""
        while self._stirred:
            self.pump(self._stirred.popitem()[0])

    def _give_up(self, session: Session, entries: list[Entry], reason: str) -> None:
        if not entries:
            return
        endpoint = self._endpoint
        endpoint.stats.messages_undelivered += len(entries)
        endpoint.log.warning("messages for %s were given up (%d): %s", session.uuid, len(entries), reason)
        for entry in entries:
            if self.store is not None:
                self.store.bury(entry, reason)
            self._settle(session, entry, acknowledged=False)
            self.undelivered.put(entry, reason)
        session.room_made()

    def _done(self, session: Session, entry: Entry) -> None:
        if self.store is not None:
            self.store.remove(entry)
        self._release(session, entry)

    def _release(self, session: Session, entry: Entry) -> None:
        self.held_bytes -= len(entry.payload) + OVERHEAD
        self._tell_released(session, entry, acknowledged=False)

    def _tell_released(self, session: Session, entry: Entry, *, acknowledged: bool) -> None:
        self._settle(session, entry, acknowledged=acknowledged)
        self._total_room_made()
        session.room_made()

    def _settle(self, session: Session, entry: Entry, *, acknowledged: bool) -> None:
        if entry.settled is not None:
            entry.settle(acknowledged)
        if self._flushed is not None and not session.owes_acks(unproven=True):
            self._wake_flush()

    def _reported(self, entry: Entry) -> None:
        """Nothing holds this message any more."""
        self.held_bytes -= len(entry.payload) + OVERHEAD
        self._total_room_made()

    def _total_room_made(self) -> None:
        if self._total_room is not None:
            self._total_room.set()
            self._total_room = None

    def _settle_unconfirmed(self, session: Session) -> None:
        for settled in list(session.confirming.values()):
            settled(False)
        session.confirming.clear()

    def _stir(self, session: Session) -> None:
        """Whoever waits for this session looks again."""
        session.room_made()
        self._wake_flush()

    def _wake_flush(self) -> None:
        if self._flushed is not None:
            self._flushed.set()
            self._flushed = None
