"""Lines from stdin and to stdout, without ever blocking the event loop.

Both go past Python's buffered streams: a thread that waits in one of those holds its lock, and an interpreter that
ends meanwhile aborts.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Final

import msgspec
import trio

from maim_trio._cli.failure import CommandError

MAX_LINE: Final = 128 * 1024 * 1024
"""Bytes: more than the largest message that a server takes by default."""

_CHUNK: Final = 64 * 1024


class OutputClosed(CommandError):
    """Nobody reads stdout any more."""


class LineReader:
    """Whole lines from a descriptor, one after the other."""

    def __init__(self, descriptor: int, *, max_line: int = MAX_LINE) -> None:
        self._descriptor = descriptor
        self._max_line = max_line
        self._buffer = bytearray()
        self._searched = 0  # so far there is no line end in the buffer
        self._ended = False

    async def next(self) -> bytes | None:
        """The next line without its end, or None after the last. Cancelling it loses what the line began with.

        CommandError when it cannot be read or is longer than `max_line` bytes.
        """
        await trio.lowlevel.checkpoint()
        while True:
            end = self._buffer.find(b"\n", self._searched)
            if end >= 0:
                return self._take(end)
            if self._ended:
                return self._take(len(self._buffer)) if self._buffer else None
            self._searched = len(self._buffer)
            if self._searched > self._max_line:
                raise CommandError(f"a line of stdin is longer than {self._max_line} bytes")
            await self._read_more()

    async def _read_more(self) -> None:
        try:
            chunk = await trio.to_thread.run_sync(os.read, self._descriptor, _CHUNK, abandon_on_cancel=True)
        except OSError as error:
            raise CommandError(f"cannot read stdin: {error.strerror}") from None
        self._ended = not chunk
        self._buffer += chunk

    def _take(self, end: int) -> bytes:
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        return line.removesuffix(b"\r")


def stdin_lines() -> LineReader:
    """The lines of stdin. CommandError when the program was started without one."""
    if sys.stdin is None:
        raise CommandError("there is no stdin to read messages from")
    return LineReader(sys.stdin.fileno())


class LineWriter:
    """JSON objects to a descriptor, one per line, each written whole before the next."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = trio.Lock()

    async def write(self, value: dict[str, Any]) -> None:
        """Writes one line and returns when it has left. Cancelling may leave half of it.

        OutputClosed when nobody reads any more, CommandError when it cannot be written for another reason.
        """
        line = msgspec.json.encode(value) + b"\n"
        async with self._lock:
            try:
                await trio.to_thread.run_sync(_write_all, self._descriptor, line, abandon_on_cancel=True)
            except BrokenPipeError:
                raise OutputClosed("nobody reads stdout any more") from None
            except OSError as error:
                raise CommandError(f"cannot write to stdout: {error.strerror}") from None


def stdout_lines() -> LineWriter:
    """Lines to stdout. CommandError when the program was started without one."""
    if sys.stdout is None:
        raise CommandError("there is no stdout to write to")
    return LineWriter(sys.stdout.fileno())


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
