"""How much is read at a time."""

from __future__ import annotations

from .pipe import CHUNK

__all__ = ["ReadSizes"]

READ_MAX = 1024 * 1024 + CHUNK
"""Bytes of one read of a large frame: nearly as fast as a buffer of the announced size, without trusting it."""
WIDE_READS = 8
"""Reads after a large one that are as large, in case that the next message is, too: it is not put together then."""


class ReadSizes:
    """How much one link reads at a time."""

    __slots__ = ("_before", "_wide")

    def __init__(self) -> None:
        self._wide = 0  # reads
        self._before = 0  # `bytes_in` at the last wide read

    def next(self, missing: int, bytes_in: int) -> int:
        """For the next read, while the unfinished frame lacks `missing` bytes, and `bytes_in` have come so far."""
        if missing > CHUNK or (self._wide and bytes_in - self._before > CHUNK):
            self._wide = WIDE_READS
        elif self._wide:
            self._wide -= 1
        else:
            return CHUNK
        self._before = bytes_in
        return READ_MAX
