"""The sending half of a link: one bounded queue of whole frames, written by one task.

A server's flusher writes for all its links what their sockets take at once; a link's own `Writer.run` does the rest:
what a socket did not take, streams that cannot be tried without waiting, and every end. With `call_on` it runs only
while there is something of that.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import trio

from .flusher import PATIENCE
from .parking import ParkingSpot
from .pipe import CHUNK, LOST, SMALL_PART, Part, Pipe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .flusher import Flusher, Replies
    from .limits import Limits

__all__ = ["MAX_PONGS", "Writer"]

WRITE_MAX = 256 * 1024
"""Bytes taken from the queue for one write."""
MAX_PONGS = 32
"""Pongs that wait. A peer that pings without reading costs 4 KiB; RFC 6455 §5.5.3 asks for the latest only."""


class Writer:
    """The queue of one link. Only `run` and the flusher write, never both: the flusher only while `_idle`."""

    __slots__ = (
        "_broken",
        "_call_run",
        "_controls",
        "_enqueued",
        "_flusher",
        "_idle",
        "_left",
        "_marked",
        "_max_queued",
        "_out",
        "_pings",
        "_pipe",
        "_pongs",
        "_rest",
        "_room_until",
        "_space",
        "_spot",
        "_timeout",
        "done",
        "patience",
        "replies",
        "running",
        "sealed",
        "torn",
    )

    def __init__(self, pipe: Pipe, limits: Limits, flusher: Flusher | None) -> None:
        self.sealed = False
        """Nothing more may be queued: the close frame is in, or the link is dead."""
        self.running = False
        self.done = False
        """Everything up to the close frame has been written, or the link is dead."""
        self.torn = False
        """A frame was cut at an unknown place: nothing may follow."""
        self.replies: Replies | None = None
        """Who is about to reply on this link."""
        self.patience = PATIENCE
        """Ticks that the flusher still waits for a reply."""
        self._pipe = pipe
        self._max_queued = limits.max_queued
        self._timeout = limits.send_timeout
        self._flusher = flusher if pipe.direct else None
        self._out: list[tuple[bytes, ...]] = []  # whole frames
        self._pings: list[bytes] = []  # ours; as many as there are tasks in ping(), and one of the keepalive
        self._pongs: list[bytes] = []
        self._controls = False  # whether there are any of these
        self._rest: Sequence[Part] = ()  # of the last write
        self._enqueued = pipe.bytes_out
        self._room_until = 0  # so much may have been queued in all, as far as was looked after; less than 0: nothing
        self._spot = ParkingSpot()
        self._idle = False  # nobody is writing: `run` is parked, or can be called
        self._call_run: Callable[[], None] | None = None
        self._marked = False  # the flusher knows of us
        self._broken = False  # the flusher found the connection broken
        self._space: trio.Event | None = None
        self._left: trio.Event | None = None

    @property
    def queued_bytes(self) -> int:
        """What waits to be written, the unwritten part of a frame under way included."""
        return 0 if self.done else self._enqueued - self._pipe.bytes_out

    # -- filling

    def put(self, parts: tuple[bytes, ...]) -> None:
        """Like `offer`, but raises: `trio.WouldBlock` when the queue has no room for it."""
        if not self.offer(parts):
            raise trio.WouldBlock

    def offer(self, parts: tuple[bytes, ...]) -> bool:
        """Queues one frame; its parts stay together. False when there is no room for it or nothing may follow."""
        enqueued = self._enqueued + (len(parts[0]) if len(parts) == 1 else sum(map(len, parts)))
        if enqueued > self._room_until and not self._fits(enqueued):
            return False
        self._enqueued = enqueued
        self._out.append(parts)
        if not self._marked:
            flusher = self._flusher
            if flusher is not None and flusher.running and flusher.expected and self._idle:  # as usual; a call less
                self._marked = True
                flusher.marked.append(self)
            else:
                self._poke()
        return True

    def _fits(self, enqueued: int) -> bool:
        """Whether so much may have been queued in all."""
        if self.sealed:
            return False
        self._room_until = self._pipe.bytes_out + self._max_queued
        return enqueued <= self._room_until or not self.queued_bytes

    def put_ping(self, ping: bytes) -> None:
        """Queues a ping ahead of the data."""
        self._put_first(self._pings, ping)

    def put_pong(self, pong: bytes) -> None:
        """Queues a pong ahead of the data; the oldest waiting one gives way when there are too many."""
        if len(self._pongs) >= MAX_PONGS:
            self._enqueued -= len(self._pongs.pop(0))
        self._put_first(self._pongs, pong)

    def _put_first(self, queue: list[bytes], control: bytes) -> None:
        queue.append(control)
        self._controls = True
        self._enqueued += len(control)
        if not self._marked:
            self._poke()

    def put_last(self, close: bytes) -> None:
        """Queues the close frame, whatever waits already. Nothing can follow it."""
        self._out.append((close,))
        self._enqueued += len(close)
        self.seal()

    def seal(self) -> None:
        """Nothing can follow what waits already; `run` ends with that."""
        self.sealed = True
        self._room_until = -1
        self._idle = False
        self._spot.wake()

    def _poke(self) -> None:
        if self._idle:
            flusher = self._flusher
            if flusher is not None and flusher.running:
                self._marked = True
                flusher.marked.append(self)
                if not flusher.expected:
                    flusher.wake()
            else:
                self._resume()

    def call_on(self, call_run: Callable[[], None]) -> bool:
        """Has `call_run` called when there is something for `run` to do, which ends when it has done it. False, and
        `run` is needed all the time, where no flusher can write."""
        if self._flusher is None:
            return False
        self._call_run, self._idle = call_run, True
        if self._waiting:
            self._poke()
        return True

    def _resume(self) -> None:
        """There is something for `run` to do."""
        self._idle = False
        if self.running:
            self._spot.wake()
        elif self._call_run is not None:
            self._call_run()

    # -- writing

    async def run(self) -> None:
        """Writes until the close frame is out or `stop` was called. Returns at once when another task does that.

        Raises `trio.BrokenResourceError`, `trio.ClosedResourceError` or, without progress for `send_timeout` seconds,
        `trio.TooSlowError`: the link is dead then. Cancelling leaves the queue as it is, so that `run` can be called
        again, unless `torn` is set.
        """
        if self.running or self.done:
            await trio.lowlevel.checkpoint()
            return
        self.running, self._idle = True, False
        try:
            await self._run()
        finally:
            self.running = False
            self.torn = self._pipe.cut
            self._idle = self._call_run is not None and not (self.sealed or self.torn or self._rest or self._broken)
            if self._left is not None:
                self._left.set()
                self._left = None

    async def _run(self) -> None:
        while not self.done:
            if self._broken:
                raise trio.BrokenResourceError
            if self._rest:
                self._rest = await self._pipe.write_some(self._rest, self._timeout)
            elif self._waiting:
                self._rest = self._pipe.write_nowait(self._take())
                if self._out and not self._rest:
                    await trio.lowlevel.checkpoint()
            elif self.sealed:
                break
            elif self._call_run is not None and self._flusher is not None and self._flusher.running:
                return
            else:
                self._idle = True
                await self._spot.wait()
                self._idle = False
                await trio.lowlevel.checkpoint()  # one tick later: an ack and a reply leave in one write
            self._note_space()
        self.stop()

    def flush(self) -> None:
        """For the flusher: writes what the socket takes at once. The rest, and every end, is left to `run`."""
        self._marked, self.patience = False, PATIENCE
        if not self._idle:
            return
        out = self._out
        parts: Sequence[Part]
        if len(out) == 1 and not self._controls:  # nearly always; a call less then
            self._out, parts = [], out[0]
        elif out or self._controls:
            parts = self._take()
        else:
            return
        try:
            rest = self._pipe.write_nowait(parts)
        except LOST:
            self._broken = True
            self._resume()
        else:
            if rest or self._out:
                self._rest = rest
                self._resume()
        if self._space is not None:
            self._note_space()

    def wake(self) -> None:
        """The flusher has gone: what it was to write is `run`'s now."""
        self._marked = False
        if self._idle:
            self._resume()

    @property
    def _waiting(self) -> bool:
        return bool(self._out) or self._controls

    def _take(self) -> Sequence[Part]:
        out, self._out = self._out, []
        if len(out) == 1 and not self._controls:
            return out[0]
        parts: list[Part] = self._take_controls() if self._controls else []
        if self._enqueued - self._pipe.bytes_out < CHUNK:
            return (b"".join(chain(parts, chain.from_iterable(out))),)
        size = 0
        for index, frame in enumerate(out):
            if size >= WRITE_MAX:
                self._out = out[index:]
                break
            for part in frame:
                parts.append(part)
                size += len(part)
        if len(parts) > 1 and (size < CHUNK or size < SMALL_PART * len(parts)):
            return (b"".join(parts),)
        return parts

    def _take_controls(self) -> list[Part]:
        controls: list[Part] = [*self._pings, *self._pongs]
        self._pings.clear()
        self._pongs.clear()
        self._controls = False
        return controls

    # -- ending and waiting

    def stop(self) -> None:
        """Nothing more is written: all is out, or the link is dead. Wakes everybody."""
        self.sealed = self.done = True
        self._room_until = -1
        self._out, self._pings, self._pongs, self._controls, self._rest = [], [], [], False, ()
        self._enqueued = self._pipe.bytes_out
        self._idle, self._call_run = False, None
        self._spot.wake()
        self._note_space()

    async def wait_left(self) -> None:
        """Until the task in `run` has left it, for whatever reason."""
        if not self.running:
            await trio.lowlevel.checkpoint()
            return
        if self._left is None:
            self._left = trio.Event()
        await self._left.wait()

    def has_space(self, size: int) -> bool:
        """Whether the queue takes a frame of `size` bytes now; always, once the link has ended."""
        queued = self.queued_bytes
        return self.done or not queued or queued + size <= self._max_queued

    def _has_space(self, size: int) -> bool:
        queued = self.queued_bytes
        return self.done or not queued or (queued <= self._max_queued // 2 and queued + size <= self._max_queued)

    def _note_space(self) -> None:
        if self._space is not None and self._has_space(0):
            self._space.set()
            self._space = None

    async def wait_space(self, size: int = 0) -> None:
        """Until the queue is at most half full and has room for a frame of `size` bytes, or the link has ended."""
        await trio.lowlevel.checkpoint()
        while not self._has_space(size):
            if self._space is None:
                self._space = trio.Event()
            await self._space.wait()
