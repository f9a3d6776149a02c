"""Which messages of one identity were seen lately."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

try:
    from zlib_ng.zlib_ng import crc32
except ImportError:  # the extra `speed` is not installed
    from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Set

__all__ = ["MAX_ENTRIES", "WINDOW", "DedupeWindow", "crc32", "frame_key", "key_of"]

WINDOW: Final = 600.0
"""Seconds a message is remembered at least: twice the default time that an identity waits for its client."""
MAX_ENTRIES: Final = 65_536
"""Messages that are remembered at least, where so many come within the window."""

_NOTHING: Final[frozenset[int]] = frozenset()
"""Stands for every generation that never was: a set of its own takes 200 bytes."""


def frame_key(msg_id: str, frame: bytes) -> int:
    """What tells a retransmission from a new message (wire protocol, section 6).

    Not `msg_id` alone: maim_message 0.6.0 to 0.6.2 use the millisecond, so that a burst shares one. A retransmission is
    byte-identical, so length and CRC-32 tell them apart. The three are folded into one integer of 61 bits, which takes
    a quarter of the memory of a tuple.
    """
    return hash((msg_id, len(frame), crc32(frame)))


def key_of(msg_id: str, size: int, crc: int) -> int:
    """The `frame_key` of a frame of `size` bytes with this CRC-32. It is another number in every process, so a file has
    to keep the three it is made of."""
    return hash((msg_id, size, crc))


class DedupeWindow:
    """A set of keys that forgets, bounded in time and count.

    Two generations: the older one is dropped as a whole, which costs nothing per message. (Trimming a bounded dict from
    its front costs more than everything else that is done with a message.) So a key is remembered for one to two
    windows, and at most twice `max_entries` are held.
    """

    __slots__ = ("_current", "_max_entries", "_previous", "_since", "_until", "_window")

    def __init__(self, window: float = WINDOW, max_entries: int = MAX_ENTRIES) -> None:
        self._window = window
        self._max_entries = max_entries
        self._current: set[int] = set()
        self._previous: Set[int] = _NOTHING
        self._since = 0.0
        self._until = -math.inf  # the current generation ends then; before its first key is here, at once

    def __len__(self) -> int:
        return len(self._current) + len(self._previous)

    def seen(self, key: int) -> bool:
        """Whether `key` is remembered."""
        return key in self._current or key in self._previous

    __contains__ = seen

    def add(self, key: int, now: float) -> None:
        """Remembers `key`; `now` is in seconds of a clock that never goes back."""
        if now >= self._until or len(self._current) >= self._max_entries:
            if self._current:
                self._previous, self._current = self._current, set()
            self._since, self._until = now, now + self._window
        self._current.add(key)

    def forget_old(self, now: float) -> None:
        """Drops what is older than the window, for an identity that is silent."""
        if self._current and now - self._since >= self._window:
            self._previous, self._current = self._current, set()
            self._since, self._until = now, -math.inf
        elif not self._current and now - self._since >= self._window:
            self._previous = _NOTHING
