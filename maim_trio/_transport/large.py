"""A large frame that comes in many reads, pure: each piece is unmasked while it is in the cache, and copied once more,
at the end, into the payload."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["LargeFrame", "Unmask"]

OWN = 4 * 1024
"""Smaller pieces are collected in one buffer: a peer that sends byte by byte does not cost an object for each."""

Unmask = Callable[[bytes | bytearray | memoryview, bytes | bytearray], bytes]


class LargeFrame:
    """The payload of one frame whose head is there. `first` is the first byte of that head."""

    __slots__ = ("_key", "_pieces", "_unmask", "first", "missing")

    def __init__(self, first: int, size: int, key: bytes, unmask: Unmask) -> None:
        self.first = first
        self.missing = size
        self._key = key  # empty: it is not masked
        self._unmask = unmask
        self._pieces: list[bytes | bytearray] = []

    def add(self, data: bytes | bytearray | memoryview) -> None:
        """The next piece, not longer than what is missing."""
        key = self._key
        if key:
            piece = self._unmask(data, key)
            turn = len(data) & 3
            self._key = key[turn:] + key[:turn]
        else:
            piece = bytes(data)
        self.missing -= len(piece)
        if len(piece) >= OWN:
            self._pieces.append(piece)
        elif self._pieces and type(self._pieces[-1]) is bytearray:
            self._pieces[-1] += piece
        else:
            self._pieces.append(bytearray(piece))

    def payload(self) -> bytes:
        """All of it, once nothing is missing."""
        return b"".join(self._pieces)
