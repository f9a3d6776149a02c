"""What one side has accepted for one identity and the other side has not acknowledged yet. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

__all__ = ["MAX_SENDS", "Entry", "Outbox"]

MAX_SENDS: Final = 3
"""What was written so often and never acknowledged breaks the connection itself, or nobody will ever ack it."""
NON_ACKING_AFTER: Final = 32
NON_ACKING_TIME: Final = 30.0
"""A peer that got so many messages and acknowledged none within so many seconds does not acknowledge at all."""
POISON_SIZE: Final = 1024 * 1024
"""Bytes; maim_message clients up to 0.6.5 cannot receive more, whatever they are told."""
_SPARE: Final = 16
"""Places of messages that are gone, which are kept until that many more have gone."""

_EMPTY: Final[deque[Entry]] = deque(maxlen=0)
"""Stands for every queue that was never used: an empty deque of its own takes 600 bytes."""

Settled = Callable[[bool], None]
"""Called once: True when the message was acknowledged, False when it never will be."""


class Entry(msgspec.Struct, eq=False, gc=False):
    """A message in an outbox. `payload` is the same bytes every time it is written; `frame` is it already framed, where
    that is done once for many receivers, until it is written.

    Its only way into a cycle is `settled`, which is taken out when it is called.
    """

    msg_id: str
    payload: bytes
    expires: float
    frame: tuple[bytes, ...] | None = None
    settled: Settled | None = None
    row: int = 0
    """In the durable outbox."""
    held: bool = False
    """Not on disk yet: neither it nor what is behind it may be written."""
    refused: bool = False
    """By the disk."""
    sends: int = 0
    written_at: float = 0.0
    gone: bool = False
    """Withdrawn, expired or given up before it was written."""
    shared: bool = False
    """It was written to many at the same time, and stands in the outbox of each: never changed. Where a connection is
    lost, a copy takes its place."""

    @property
    def size(self) -> int:
        """Bytes of the payload."""
        return len(self.payload)

    def own(self) -> Entry:
        """The same for one outbox alone, to be changed there."""
        return msgspec.structs.replace(self, shared=False) if self.shared else self

    def settle(self, acknowledged: bool) -> None:
        """Tells whoever waits for the outcome."""
        if self.settled is not None:
            settled, self.settled = self.settled, None
            settled(acknowledged)


class Outbox:
    """Accepted messages in order: those on the wire, then those that wait for their turn.

    Bounded in count and bytes together (one larger message may stand alone); at most `window` are on the wire without
    an acknowledgement, so that the other side's inbox takes them all and reading never has to stop.
    """

    __slots__ = (
        "_again",
        "_count",
        "_max_bytes",
        "_max_messages",
        "_most_on_wire",
        "_window",
        "_wire",
        "_written",
        "acks",
        "bytes",
        "non_acking",
        "waiting",
    )

    def __init__(self, max_messages: int, max_bytes: int, window: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._window = window
        self._most_on_wire = min(window, max_messages)
        self._wire: dict[str, Entry] = {}
        self.waiting: deque[Entry] = _EMPTY
        """What was not written, or has to be written again; from outside only to be asked whether there is anything."""
        self._again: dict[str, Entry] = {}  # of those that wait: written on an earlier connection
        self._count = 0  # of those that wait and are not gone
        self._written = 0  # messages, while there was no ack at all
        self.acks = 0
        self.bytes = 0
        self.non_acking = False

    def __len__(self) -> int:
        return len(self._wire) + self._count

    def __iter__(self) -> Iterator[Entry]:
        """All entries, oldest first."""
        yield from list(self._wire.values())
        yield from [entry for entry in self.waiting if not entry.gone]

    @property
    def on_wire(self) -> int:
        """How many are written and not acknowledged."""
        return len(self._wire)

    def has_room(self, size: int) -> bool:
        """Whether a message of `size` bytes can be added."""
        held = len(self._wire) + self._count
        return not held or (held < self._max_messages and self.bytes + size <= self._max_bytes)

    def add(self, entry: Entry) -> None:
        """Takes a message, behind all others. Whether there is room was asked before."""
        if self.waiting is _EMPTY:
            self.waiting = deque()
        self.waiting.append(entry)
        self._count += 1
        self.bytes += len(entry.payload)

    def takes_at_once(self, size: int) -> bool:
        """The usual case: a new message of `size` bytes would be the next one to send, and its ack will come. There may
        be room without that."""
        written = len(self._wire)
        if self.waiting or self.acks == 0 or written >= self._most_on_wire:
            return False
        return not written or self.bytes + size <= self._max_bytes

    def add_sent(self, entry: Entry) -> None:
        """Takes a message that has been written already, because the outbox `takes_at_once`."""
        self.bytes += len(entry.payload)
        self._wire[entry.msg_id] = entry

    def next_to_send(self) -> Entry | None:
        """The message whose turn it is, None when there is none or the window is full. It stays until `sent`."""
        if len(self._wire) >= self._window:
            return None
        while self.waiting and self.waiting[0].gone:
            self.waiting.popleft()
        return self.waiting[0] if self.waiting and not self.waiting[0].held else None

    def sent(self, entry: Entry, now: float) -> bool:
        """`entry`, which was next, has been written. False when that is the last that will be heard of it."""
        self.waiting.popleft()
        self._again.pop(entry.msg_id, None)
        self._count -= 1
        entry.frame = None
        entry.sends += 1
        entry.written_at = now
        self._written += 1
        if self.non_acking:
            self.bytes -= entry.size
            return False
        self._wire[entry.msg_id] = entry
        return True

    def acknowledged(self, msg_id: str) -> Entry | None:
        """Removes what was acknowledged; None for an id that was not written (acknowledged before, or foreign)."""
        self.acks += 1
        self.non_acking = False
        entry = self._wire.pop(msg_id, None)
        if entry is None:
            return self.refused(msg_id)
        self.bytes -= len(entry.payload)
        return entry

    def refused(self, msg_id: str) -> Entry | None:
        """Removes what the other side could not take."""
        entry = self._remove_written(msg_id)
        if entry is None and (entry := self._again.get(msg_id)) is not None:
            self._drop_waiting(entry)
        return entry

    def lost(self) -> list[Entry]:
        """The connection has ended: what is unacknowledged waits again, in its old place. Returns those that were sent
        too often, which are removed."""
        hopeless = [entry for entry in self._wire.values() if entry.sends >= MAX_SENDS]
        for entry in hopeless:
            self._remove_written(entry.msg_id)
        unacked = {msg_id: entry.own() for msg_id, entry in self._wire.items()}
        self.waiting = deque([*unacked.values(), *self.waiting])
        self._count += len(unacked)
        self._again.update(unacked)
        self._wire = {}
        return hopeless

    def poison(self) -> Entry | None:
        """The other side has closed with 1009: removes the message that it most likely could not take."""
        written = list(self._wire.values())
        large = [entry for entry in written if entry.size > POISON_SIZE]
        suspect = large[0] if large else max(written, key=lambda entry: entry.size, default=None)
        return self._remove_written(suspect.msg_id) if suspect is not None else None

    def withdraw(self, entry: Entry) -> bool:
        """Takes a message back that was not written yet; False when it was, or is gone already."""
        if entry.gone or entry.msg_id in self._wire or entry.sends:
            return False
        self._drop_waiting(entry)
        return True

    def expired(self, now: float) -> list[Entry]:
        """Removes and returns what has outlived its time."""
        old = [entry for entry in self if entry.expires <= now]
        for entry in old:
            self._drop(entry)
        return old

    def clear(self) -> list[Entry]:
        """Removes and returns everything."""
        left = list(self)
        self._wire, self.waiting, self._again = {}, _EMPTY, {}
        for entry in left:
            entry.gone = not entry.shared
        self._count = self.bytes = 0
        return left

    def check_acking(self, heard: float) -> list[Entry]:
        """Finds out whether the other side acknowledges at all. `heard`: up to then it is known to have read what was
        written, so that a dead connection is not taken for a silent peer.

        When it does not, written means done from here on: returns what is done by that, and is removed. One that has
        ever acknowledged is not suspected: its handlers may be slow.
        """
        if self.non_acking or self.acks or self._written < NON_ACKING_AFTER or not self._wire:
            return []
        oldest = next(iter(self._wire.values()))
        if heard - oldest.written_at < NON_ACKING_TIME:
            return []
        self.non_acking = True
        done = list(self._wire.values())
        for entry in done:
            self._remove_written(entry.msg_id)
        return done

    def _remove_written(self, msg_id: str) -> Entry | None:
        entry = self._wire.pop(msg_id, None)
        if entry is not None:
            self.bytes -= entry.size
        return entry

    def _drop(self, entry: Entry) -> None:
        if self._remove_written(entry.msg_id) is None:
            self._drop_waiting(entry)

    def _drop_waiting(self, entry: Entry) -> None:
        entry.gone = True
        self._again.pop(entry.msg_id, None)
        self._count -= 1
        self.bytes -= entry.size
        if len(self.waiting) > 2 * self._count + _SPARE:  # what is gone must not pile up while nobody is connected
            self.waiting = deque(waiting for waiting in self.waiting if not waiting.gone)
