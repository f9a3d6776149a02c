"""The bounded inbox of one identity: taken messages first, then those that wait unacked."""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Any, Final, Generic, TypeVar

__all__ = ["Inbox", "Put"]

T = TypeVar("T")

_EMPTY: Final[deque[Any]] = deque(maxlen=0)
"""Stands for every buffer that was never used: an empty deque of its own takes 600 bytes."""


class Put(Enum):
    """What became of an item."""

    TAKEN = "taken"
    """It is in the inbox: acknowledge it now."""
    WAITING = "waiting"
    """It is in the waiting room: it is acknowledged when `promote` returns it."""
    FULL = "full"
    """It was not stored: stop reading, keep it, and put it again, before anything newer, once something was taken."""


class _Buffer(Generic[T]):
    """A queue bounded in messages and bytes. One item larger than `max_bytes` may stand in it alone."""

    __slots__ = ("_max_bytes", "_max_messages", "bytes", "items")

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self.items: deque[tuple[T, int]] = _EMPTY  # most of the time: an idle connection should cost little
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self.bytes = 0

    def __len__(self) -> int:
        return len(self.items)

    @property
    def next_size(self) -> int:
        return self.items[0][1]

    def fits(self, size: int) -> bool:
        if not self.items:
            return True
        return len(self.items) < self._max_messages and self.bytes + size <= self._max_bytes

    def append(self, item: T, size: int) -> None:
        if self.items is _EMPTY:
            self.items = deque()
        self.items.append((item, size))
        self.bytes += size

    def popleft(self) -> tuple[T, int]:
        item, size = self.items.popleft()
        self.bytes -= size
        return item, size


class Inbox(Generic[T]):
    """First in, first out; at most `max_messages` items of `max_bytes` bytes, and as much again in a waiting room.

    The inbox proper holds what this side is responsible for (it was, or is about to be, acknowledged). What does not
    fit waits unacknowledged, so that reading can go on and an answer behind it still gets through. Nothing enters the
    inbox while something waits: the order of `put` is the order of `take`. Every operation is O(1).
    """

    __slots__ = ("_taken", "_waiting")

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        if max_messages < 1 or max_bytes < 1:
            raise ValueError("an inbox holds at least one message of one byte")
        self._taken: _Buffer[T] = _Buffer(max_messages, max_bytes)
        self._waiting: _Buffer[T] = _Buffer(max_messages, max_bytes)

    def __len__(self) -> int:
        """How many items `take` can return without another `promote`."""
        return len(self._taken.items)

    @property
    def bytes(self) -> int:
        """The size of what is in the inbox, without the waiting room."""
        return self._taken.bytes

    @property
    def waiting(self) -> int:
        """How many items wait unacknowledged."""
        return len(self._waiting)

    @property
    def waiting_bytes(self) -> int:
        """The size of what waits unacknowledged."""
        return self._waiting.bytes

    @property
    def full(self) -> bool:
        """True when not even one more byte can be put: reading has to stop now."""
        return not self._waiting.fits(1)

    def put(self, item: T, size: int) -> Put:
        """Store `item`, which occupies `size` bytes, and say where."""
        if not self._waiting.items and self._taken.fits(size):
            self._taken.append(item, size)
            return Put.TAKEN
        if self._waiting.fits(size):
            self._waiting.append(item, size)
            return Put.WAITING
        return Put.FULL

    def take(self) -> T:
        """Remove and return the oldest item of the inbox; IndexError when it is empty. Call `promote` afterwards."""
        return self._taken.popleft()[0]

    def promote(self) -> list[T]:
        """Move what now fits from the waiting room into the inbox and return it, oldest first: acknowledge it now."""
        promoted: list[T] = []
        while self._waiting.items and self._taken.fits(self._waiting.next_size):
            item, size = self._waiting.popleft()
            self._taken.append(item, size)
            promoted.append(item)
        return promoted

    def forget_waiting(self) -> None:
        """Drop what waits unacknowledged: it stays its sender's."""
        while self._waiting:
            self._waiting.popleft()
