"""How much is read at a time, and what becomes of the memory of large messages."""

from __future__ import annotations

from functools import cache

from .pipe import CHUNK

__all__ = ["ReadSizes"]

READ_MAX = 1024 * 1024 + CHUNK
"""Bytes of one read of a large frame: nearly as fast as a buffer of the announced size, without trusting it."""
WIDE_READS = 8
"""Reads after a large one that are as large, in case that the next message is, too: it is not put together then."""
BLOCK = 24 * 1024 * 1024
"""Bytes: the largest block that a message of the default maximum needs, which is where it is encoded."""


class ReadSizes:
    """How much one link reads at a time."""

    __slots__ = ("_before", "wide")

    def __init__(self) -> None:
        self.wide = 0  # reads
        self._before = 0  # `bytes_in` at the last wide read

    def next(self, missing: int, bytes_in: int) -> int:
        """For the next read, while the unfinished frame lacks `missing` bytes, and `bytes_in` have come so far."""
        if not self.wide and missing <= CHUNK:
            return CHUNK
        if missing > CHUNK or bytes_in - self._before > CHUNK:
            _keep_freed_memory()
            self.wide = WIDE_READS
        else:
            self.wide -= 1
        self._before = bytes_in
        return READ_MAX


@cache
def _keep_freed_memory() -> None:
    """Has glibc keep the memory of large messages for the next ones: at most twice `BLOCK`, in the whole process.

    It gives freed memory back to the kernel, and gets every page anew for the next message, unless larger blocks were
    freed before: it learns from the largest. So one is freed here, never touched, which costs nothing.
    """
    bytes(BLOCK)
