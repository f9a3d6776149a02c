"""The durable inbox: what is received is in the file before it is acknowledged, and until its handler has ended.

A message has its place in the inbox at once and is held there; it is acknowledged and can be handled when the commit is
through. While the disk refuses, it stays held and unacknowledged, and is tried again: it is still its sender's.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar, Final

import trio

from maim_trio._delivery.held import HeldInbox
from maim_trio._runtime.changes import Change
from maim_trio._runtime.delivery import Delivery, name_of
from maim_trio._runtime.dispatch import Lane
from maim_trio._runtime.received_file import Origin, Received
from maim_trio._wire.codec import Custom, FrameError, Standard, decode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from maim_trio._runtime.connection import Connection
    from maim_trio._runtime.delivery import Source
    from maim_trio._runtime.durable import DurableOutbox
    from maim_trio._runtime.log import Log
    from maim_trio._runtime.outbox_file import Batch
    from maim_trio._runtime.received_file import Left
    from maim_trio._runtime.session import Session

MAX_REMEMBERED: Final = 262_144
"""Handled messages, over all identities, that the file remembers at most: about 25 MB."""
_NO_LANE_YET: Final[Any] = None

STEP: Final = 4096
"""So many are forgotten at a time."""


class HeldLane(Lane[Delivery]):
    """An inbox in which messages wait for the disk before they can be handled."""

    __slots__ = ()
    inbox: HeldInbox[Delivery]

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        super().__init__(max_messages, max_bytes)
        self.inbox = HeldInbox(max_messages, max_bytes)
        self.passes = False

    def put(self, delivery: Delivery) -> bool:
        if isinstance(delivery, DurableDelivery):
            delivery.lane = self
        return super().put(delivery)

    @property
    def idle(self) -> bool:
        return not self.running and not self.inbox and not self.inbox.held

    def restore(self, delivery: DurableDelivery) -> None:
        """Takes a message from the file, before anything newer."""
        delivery.lane = self
        self.inbox.restore(delivery, delivery.size)

    def adopt(self, other: Lane[Delivery]) -> None:
        """Takes over what waits in another lane."""
        while other.inbox:
            delivery = other.take(promote=False)
            self.inbox.restore(delivery, delivery.size)


class PastConnection:
    """The connection that a message from the file came on."""

    __slots__ = ("metadata", "session")

    def __init__(self, session: Session, metadata: dict[str, Any]) -> None:
        self.session = session
        self.metadata = {**metadata, "restored": True}

    @property
    def api_key(self) -> str:
        key: str = self.metadata["api_key"]
        return key


class DurableDelivery(Delivery):
    """A received message that is in the file until its handler has ended."""

    store: DurableInbox
    frame: bytes
    row: int = 0
    lane: HeldLane = _NO_LANE_YET

    def accepted(self) -> None:
        self.waits()  # a retransmission is recognised, and acknowledged once this one is on disk
        self.lane.inbox.hold()
        self.store.add(self)

    def stored(self) -> None:
        """It is on disk: from here on it will be handled, so it is acknowledged."""
        self.frame = b""
        self.lane.inbox.let_go()
        self.store.stored(self)
        Delivery.accepted(self)

    def forget(self, forgotten: Callable[[], None]) -> None:
        """Its handler has ended. Calls `forgotten` when that is on disk: until then it may be handled again."""
        self.store.handled(self.row, forgotten)


class _Reception(Change):
    rank: ClassVar[int] = 1
    delivery: DurableDelivery
    message: Received

    def join(self, batch: Batch) -> None:
        batch.inbox.received.append(self.message)

    def settle(self, stored: bool) -> None:
        if stored:
            self.delivery.stored()


class _Arrival(Change):
    origin: Origin

    def join(self, batch: Batch) -> None:
        batch.inbox.origins.append(self.origin)


class _Handled(Change):
    id: int
    settled: Callable[[], None]

    def join(self, batch: Batch) -> None:
        batch.inbox.handled.append((self.id,))

    def settle(self, stored: bool) -> None:
        self.settled()


class _Ended(Change):
    uuid: str
    user_id: str

    def join(self, batch: Batch) -> None:
        batch.inbox.ended.append((self.uuid, self.user_id))


class _Tidying(Change):
    forget_below: int
    live: set[int] | None

    def join(self, batch: Batch) -> None:
        batch.inbox.forget_below = max(batch.inbox.forget_below, self.forget_below)
        if self.live is not None:
            batch.inbox.live = (batch.inbox.live or set()) | self.live


class DurableInbox:
    """What one server or client has received, in the file of its durable outbox. `window`: seconds that a handled
    message is remembered, to tell a retransmission. `offer` is told of a lane that has something to handle."""

    def __init__(self, store: DurableOutbox, window: float, offer: Callable[[HeldLane], None], log: Log) -> None:
        self._offer = offer
        self._store = store
        self._stored: dict[HeldLane, None] = {}  # got something with the commit that is being told of
        self._owing: dict[Connection, None] = {}  # owe acknowledgements for that
        store.after_commit.append(self._commit_told)
        self._log = log
        self._window = window
        self._marks: deque[tuple[float, int]] = deque()  # when, and the first id from then on
        self._marked = self._floor = 0

    def delivery(self, connection: Source, envelope: Standard | Custom, frame: bytes, key: int) -> DurableDelivery:
        """A message that has just been received."""
        return DurableDelivery(connection, envelope, len(frame), key, name_of(envelope), self, frame)

    def add(self, delivery: DurableDelivery) -> None:
        """Writes a message that has got its place in an inbox."""
        now, session = time.time(), delivery.connection.session
        self._introduce(session, delivery.connection.metadata)
        delivery.row = self._store.file.new_id()
        message = Received(delivery.row, session.origin, delivery.envelope.msg_id, now, delivery.frame)
        self._store.put(_Reception(delivery, message))
        if delivery.row - self._marked >= STEP:
            self._forget(now)

    def stored(self, delivery: DurableDelivery) -> None:
        """A message is on disk. What follows from that is done once for all of its commit."""
        self._stored[delivery.lane] = None
        connection = delivery.connection.session.connection
        if connection is not None and connection not in self._owing:
            self._owing[connection] = None
            connection.begin_owing()

    def _commit_told(self) -> None:
        while self._owing:
            self._owing.popitem()[0].send_owed()
        lanes, self._stored = self._stored, {}
        for lane in lanes:
            self._offer(lane)

    def handled(self, row: int, settled: Callable[[], None]) -> None:
        """Writes that a message needs no handler any more; calls `settled` when it is on disk, or never will be."""
        self._store.put(_Handled(row, settled))

    def ended(self, session: Session) -> None:
        """Nobody will come back to this identity: its messages are handled, and that is all."""
        if session.origin:
            session.origin, session.introduced = 0, None
            self._store.put(_Ended(session.uuid, session.user_id))

    def tidy(self, sessions: Iterable[Session]) -> None:
        """Forgets what is too old, and connections that no message refers to any more. `sessions`: all there are."""
        self._forget(time.time())
        self._store.put(_Tidying(self._floor, {session.origin for session in sessions}))

    def restore(self, session: Session, left: Left) -> list[DurableDelivery]:
        """Takes over what an earlier process has received of this identity, and returns what waits for a handler."""
        now, restored = trio.current_time(), []
        session.origin = left.origin
        for key in left.keys:
            session.dedupe.add(key, now)
        for row, frame, metadata in left.waiting:
            envelope = _envelope(frame)
            if envelope is None:
                self._log.error("a message from %s in the file is damaged and is not handled", session.uuid)
                self.handled(row, nothing)
                continue
            past = PastConnection(session, metadata)
            restored.append(DurableDelivery(past, envelope, len(frame), 0, name_of(envelope), self, b"", row))
        return restored

    def _introduce(self, session: Session, metadata: dict[str, Any]) -> None:
        """Writes what handlers are told about a connection, once, before its first message."""
        if session.introduced is not metadata:
            session.introduced, session.origin = metadata, self._store.file.new_id()
            origin = Origin(
                session.origin, session.uuid, session.user_id, session.platform, session.resumable, metadata
            )
            self._store.put(_Arrival(origin))

    def _forget(self, now: float) -> None:
        marks, newest = self._marks, self._store.file.new_id()
        marks.append((now, newest))
        self._marked, floor = newest, self._floor
        while marks and (marks[0][0] < now - self._window or marks[0][1] < newest - MAX_REMEMBERED):
            self._floor = marks.popleft()[1]
        if self._floor > floor:
            self._store.put(_Tidying(self._floor, None))


def place(lane: Lane[Delivery], restored: Iterable[DurableDelivery]) -> None:
    """Puts messages from the file into an inbox, before anything newer."""
    assert isinstance(lane, HeldLane)
    for delivery in restored:
        lane.restore(delivery)


def conclude(delivery: Delivery, concluded: Callable[[], None]) -> None:
    """The handler of a message has ended, whatever came of it. `concluded` gives its slot back, not before that is on
    disk: so after the death of the process no more is handled again than had a slot."""
    if isinstance(delivery, DurableDelivery):
        delivery.forget(concluded)
    else:
        concluded()


async def forget(delivery: Delivery) -> None:
    """The same for a message that was handled without a slot. Returns when it is on disk."""
    if isinstance(delivery, DurableDelivery):
        forgotten = trio.Event()
        delivery.forget(forgotten.set)
        await forgotten.wait()


def nothing() -> None:
    """For those who do not wait."""


def _envelope(frame: bytes) -> Standard | Custom | None:
    try:
        envelope = decode(frame)
    except FrameError:
        return None
    return envelope if isinstance(envelope, Standard | Custom) else None
