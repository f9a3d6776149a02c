"""What a client was given to send and the connection has not taken yet, pure: bounded, first in, first out."""

from __future__ import annotations

from collections import deque

__all__ = ["Backlog"]


class Backlog:
    """At most `max_messages` messages of `max_bytes` bytes together, each for `ttl` seconds. One larger message may
    stand alone."""

    __slots__ = ("_items", "_max_bytes", "_max_messages", "_ttl", "bytes")

    def __init__(self, max_messages: int, max_bytes: int, ttl: float) -> None:
        self._items: deque[tuple[bytes, float]] = deque()
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._ttl = ttl
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def first(self) -> bytes:
        """The oldest message; IndexError when there is none."""
        return self._items[0][0]

    def put(self, payload: bytes, now: float) -> bool:
        """Takes a message. False: there is no room for it."""
        if self._items and (len(self._items) >= self._max_messages or self.bytes + len(payload) > self._max_bytes):
            return False
        self._items.append((payload, now + self._ttl))
        self.bytes += len(payload)
        return True

    def pop(self) -> None:
        """Drops the oldest message."""
        self.bytes -= len(self._items.popleft()[0])

    def expire(self, now: float) -> int:
        """Drops what has outlived its time, and says how many messages that were."""
        dropped = 0
        while self._items and self._items[0][1] <= now:
            self.pop()
            dropped += 1
        return dropped

    def clear(self) -> int:
        """Drops everything, and says how many messages that were."""
        dropped = len(self._items)
        self._items.clear()
        self.bytes = 0
        return dropped
