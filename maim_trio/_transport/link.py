"""One WebSocket connection after its opening handshake.

One task receives, one task writes (`run_writer`), everything that leaves goes through one bounded queue. Control frames
and the close handshake are answered here.
"""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, ClassVar

import trio

from . import frames
from .limits import Closed, Limits, LinkClosed
from .memory import ReadSizes
from .pings import Pings
from .pipe import CHUNK, LOST, Pipe
from .running import running
from .shared import SharedReader
from .writer import MAX_PONGS, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .flusher import Flusher, Replies
    from .poller import Poller
    from .shared import Sink

__all__ = ["Closed", "Limits", "Link", "LinkClosed", "running"]


class Link:
    """A connection that carries messages. From `accept_link` or `open_link`; needs `run_writer` or `write_by`.

    `closed` tells how it ended or is ending (None while it is open), `client` which end we are, `remote` and
    `remote_ip` the peer's address ("" when unknown), `response_headers` (client) the headers of the server's 101, names
    in lower case. `bytes_in` and `bytes_out` are plain counts, the opening handshake included.
    """

    longest_ping_interval: ClassVar[float] = math.inf
    """Seconds. A peer that hears no ping for much longer takes us for dead."""

    __slots__ = (
        "__weakref__",
        "_close_timeout",
        "_closing",
        "_glued",
        "_left",
        "_parser",
        "_pipe",
        "_reading",
        "_shared",
        "_sizes",
        "_to_answer",
        "_writer",
        "client",
        "closed",
        "offer",
        "pings",
        "received_all",
        "remote",
        "remote_ip",
        "response_headers",
    )

    def __init__(
        self,
        pipe: Pipe,
        *,
        client: bool,
        limits: Limits,
        glued: bytes = b"",
        flusher: Flusher | None = None,
        remote: tuple[str, str] = ("", ""),
        response_headers: Mapping[str, str] | None = None,
        parser: frames.Parser | None = None,
    ) -> None:
        self.closed: Closed | None = None
        self.client = client
        self.remote, self.remote_ip = remote
        self.response_headers: Mapping[str, str] = response_headers or {}
        self._pipe = pipe
        self._close_timeout = limits.close_timeout
        self._parser = parser or frames.FrameParser(masked=not client, max_message=limits.max_message)
        self._writer = Writer(pipe, limits, flusher)
        self.offer = self._writer.offer
        """`send_nowait` without exceptions: queues the parts of a frame, or returns False. A call less per message."""
        self._glued: bytes | bytearray = glued  # came in one segment with the handshake
        self._to_answer: tuple[int, str] | None = None
        self.received_all = False  # the peer's close frame, a violation or the end has been seen
        self._reading = False
        self._sizes = ReadSizes()
        self._shared: SharedReader | None = None  # a poller reads for us
        self._left: trio.Event | None = None  # for aclose(): the reader has left
        self._closing: trio.Event | None = None  # set when aclose() is through
        self.pings = Pings()

    def __repr__(self) -> str:
        return f"<Link {'to' if self.client else 'from'} {self.remote or 'a stream'}, {self.closed or 'open'}>"

    @property
    def peer_closed(self) -> bool:
        """Whether the peer's close frame has come: it was alive then."""
        return self._parser.close is not None

    @property
    def queued_bytes(self) -> int:
        """What waits to be written."""
        return self._writer.queued_bytes

    @property
    def bytes_in(self) -> int:
        """Read so far."""
        return self._pipe.bytes_in

    @property
    def bytes_out(self) -> int:
        """Written so far."""
        return self._pipe.bytes_out

    # -- receiving

    async def receive(self, sink: Sink | None = None) -> list[bytes]:
        """The next complete messages, at least one: `bytes` for text, `frames.Binary` for binary ones.

        With `use_poller`, messages may be given to `sink` instead, outside of this task, as long as it takes them. What
        it leaves is returned, what it raises is raised here.

        Cancel-safe: a cancelled call has taken nothing. One task at a time (`trio.BusyResourceError`). Raises
        LinkClosed once the peer's close frame, a violation or the end was met, and while `aclose` is reading. The
        answer to a close or a violation is queued by the NEXT call, so that what the last batch calls for can still be
        sent.
        """
        while True:
            self._answer()
            if self.received_all:
                raise self._ended()
            if self._reading:
                if self._closing is None:
                    raise trio.BusyResourceError("another task is receiving from this link")
                raise self._ended()
            if sink is None or self._shared is None or self._glued:
                batch: list[bytes] | None = await self._read_once()
                if batch:
                    return batch
                continue
            self._reading = True
            try:
                batch = await self._shared.receive(sink)
            finally:
                self._note_left()
            if batch is not None:
                return batch

    def read_nowait(self, again: bool = True) -> list[bytes]:
        """The messages that what is there completes; at the end none, and the link has ended. Where a large frame is
        under way and there is more, it is read once again."""
        parser, missing, sizes = self._parser, self._parser.missing, self._sizes
        try:
            data = self._pipe.read_nowait(sizes.next(missing, self._pipe.bytes_in) if missing or sizes.wide else CHUNK)
        except LOST:
            data = b""
        if data:
            batch = self._take(data)
            if parser.missing and again and not self._pipe.dry:
                batch += self.read_nowait(False)
            return batch
        if data is not None:
            self._lose("connection lost")
        return []

    def _note_left(self) -> None:
        """The task that was reading has stopped."""
        self._reading = False
        if self._left is not None:
            self._left.set()

    async def _read_once(self) -> list[bytes]:
        data, self._glued = self._glued, b""
        self._reading = True
        try:
            if not data:
                data = await self._pipe.read(self._sizes.next(self._parser.missing, self._pipe.bytes_in))
        except LOST:
            data = b""
        finally:
            self._note_left()
        if not data:
            self._lose("connection lost")
            return []
        return self._take(data)

    def _take(self, data: bytes | bytearray) -> list[bytes]:
        parser = self._parser
        batch = parser.feed(data)
        if parser.controls:
            self._handle_controls()
        if parser.close is not None:
            self.received_all = True
            self._to_answer = parser.close[0], ""
            self._end(*parser.close, by_peer=True)
        elif parser.violation is not None:
            self.received_all = True
            self._to_answer = parser.violation.code, parser.violation.reason
        return batch

    def _handle_controls(self) -> None:
        controls, self._parser.controls = self._parser.controls, []
        pings = [payload for opcode, payload in controls if opcode == frames.PING]
        if not self._writer.sealed:
            for payload in pings[-MAX_PONGS:]:
                self._writer.put_pong(frames.frame(frames.PONG, payload, mask=self.client))
        for opcode, payload in controls:
            if opcode == frames.PONG:
                self.pings.answered(payload)

    def _answer(self) -> None:
        """Queues our close frame for a close or a violation of the peer."""
        if self._to_answer is not None:
            answer, self._to_answer = self._to_answer, None
            self._queue_close(*answer)

    def use_poller(self, poller: Poller) -> None:
        """Has a server's poller read for this link, where it can. Before the first `receive`."""
        if self._pipe.direct and self.closed is None:
            shared = SharedReader(self, self._pipe, poller)
            if shared.begin():
                self._shared = shared

    def leave_poller(self) -> None:
        """From here on this link reads for itself."""
        if self._shared is not None:
            shared, self._shared = self._shared, None
            shared.end()

    # -- sending

    def send_nowait(self, *parts: bytes) -> None:
        """Queues one complete frame (see `frames.text_frame`). Its parts stay together: no pong gets in between.

        Raises LinkClosed, and `trio.WouldBlock` when `max_queued` would be exceeded; one larger frame may stand alone
        in an empty queue. `wait_space` helps then.
        """
        if not self.offer(parts):
            raise self._ended() if self._writer.sealed else trio.WouldBlock

    def send_text_nowait(self, payload: bytes) -> None:
        """Queues one text message; `payload` is UTF-8. Raises like `send_nowait`."""
        if not self.offer(frames.text_frame(payload, mask=self.client)):
            raise self._ended() if self._writer.sealed else trio.WouldBlock

    def send_texts_nowait(self, payloads: list[bytes]) -> None:
        """The same for small ones that belong together: all of them, or none. They are one entry of the queue."""
        if self._writer.sealed:
            raise self._ended()
        mask = self.client
        self._writer.put((b"".join([part for payload in payloads for part in frames.text_frame(payload, mask=mask)]),))

    def expect_replies(self, replies: Replies) -> None:
        """Lets what is queued wait a moment for replies that are about to be made, so that they leave together."""
        self._writer.replies = replies

    def has_space(self, size: int) -> bool:
        """Whether a frame of `size` bytes could be queued now."""
        return self._writer.has_space(size)

    async def wait_space(self, size: int = 0) -> None:
        """Until the queue is at most half full and takes a frame of `size` bytes, or the link has ended."""
        await self._writer.wait_space(size)

    async def run_writer(self) -> None:
        """Writes what is queued, until the close frame is out or the link is dead; the owner's nursery runs it.

        Cancelling it stops all sending. Between two frames that does no more harm (`aclose` can still say goodbye); in
        the middle of one, or where that cannot be known, the link is dead: half a frame is never followed by more.
        """
        try:
            await self._writer.run()
        except LOST:
            self._lose("connection lost")
        except trio.TooSlowError:
            self._lose("peer does not read")
        finally:
            if self._writer.torn:
                self._lose("cancelled")
            if self._pipe.aborted:
                await self._pipe.kill()

    def write_by(self, start: Callable[[], None]) -> None:
        """Has `start` called, which runs `run_writer` in a task: now or, with a flusher, when a socket does not take
        all at once."""
        if not self._writer.call_on(start):
            start()

    # -- control

    async def ping(self, timeout: float) -> float:
        """Pings and returns the round trip in seconds.

        Raises `trio.TooSlowError` after `timeout` seconds, LinkClosed when the link ends meanwhile. Cancel-safe.
        """
        took = await self.pings.wait(self.ping_nowait(), timeout)
        if self.closed is not None:
            raise self._ended()
        return took

    def ping_nowait(self) -> bytes:
        """Queues a ping, which is answered once `pings.answered_up_to` is its key or a later one. Raises LinkClosed."""
        if self.closed is not None or self._writer.sealed:
            raise self._ended()
        key = self.pings.new()
        self._writer.put_ping(self._ping_frame(key))
        return key

    def _ping_frame(self, key: bytes) -> bytes:
        return frames.frame(frames.PING, key, mask=self.client)

    def abort(self, reason: str = "aborted") -> None:
        """Ends the link at once, synchronously and without a close frame; wakes whoever receives, pings or waits.

        `reason` is what `closed` says then, unless the link had ended before. A TCP socket is closed here and now; what
        else belongs to the stream when `run_writer` or `aclose` ends.
        """
        self._lose(reason)

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Sends what is queued and the close frame, waits for the peer's and for the end of TCP (RFC 6455 §7.1).

        Never longer than `close_timeout`; afterwards the stream is closed, also when this is cancelled. Messages that
        arrive meanwhile are dropped, unless another task is receiving. Idempotent: further calls wait for the same end.
        `ValueError` for a code that may not be sent.
        """
        if not frames.may_be_sent(code):
            raise ValueError(f"{code} is no close code that may be sent")
        if self._closing is not None:
            return await self._closing.wait()
        self._closing = trio.Event()
        try:
            if not self._pipe.aborted:  # the other side may hear it
                with trio.move_on_after(self._close_timeout), contextlib.suppress(*LOST):
                    await self._say_goodbye(code, reason)
        finally:
            self._lose("connection lost")
            try:
                await self._pipe.kill()
            finally:
                self._closing.set()

    async def _say_goodbye(self, code: int, reason: str) -> None:
        self._answer()
        self._queue_close(code, reason)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._await_peer)  # reading goes on, or two full peers would wait for each other
            await self._finish_writing()
        if not self._pipe.aborted:
            await self._pipe.linger(client=self.client, violated=self._parser.violation is not None)
            self.leave_poller()
            await self._pipe.aclose()

    async def _finish_writing(self) -> None:
        while not self._writer.done:
            if self._writer.running:
                await self._writer.wait_left()
            else:  # it was cancelled, or never begun
                await self.run_writer()

    async def _await_peer(self) -> None:
        """Until the peer's close frame, a violation or the end. Leaves the reading to another task that is at it."""
        while not self.received_all:
            if self._reading:
                self._left = trio.Event()
                await self._left.wait()
                await trio.lowlevel.checkpoint()  # the reader goes first
            else:
                await self._read_once()

    # -- the end

    def _queue_close(self, code: int, reason: str) -> None:
        if not self._writer.sealed:
            self._end(code, reason, by_peer=False)
            self._writer.put_last(frames.frame(frames.CLOSE, frames.close_payload(code, reason), mask=self.client))

    def _lose(self, reason: str) -> None:
        """The connection is gone, whatever was to come. Wakes everybody."""
        self.received_all = True
        self._end(frames.LOST, reason, by_peer=False)
        self._writer.stop()
        self.leave_poller()
        self._pipe.abort()

    def _end(self, code: int, reason: str, by_peer: bool) -> None:
        if self.closed is None:
            self.closed = Closed(code, reason, by_peer)
            self.pings.end()

    def _ended(self) -> LinkClosed:
        return LinkClosed(*(self.closed or Closed(frames.LOST, "connection lost", False)))
