"""One connection of the TCP mode after its handshake: a link like that of a WebSocket."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, ClassVar, Final

import trio

from maim_trio._legacy._tcp.framing import HEAD_SIZE, HEARTBEAT_FRAME, SEALED_EXTRA, data_head
from maim_trio._legacy._tcp.parser import TcpParser
from maim_trio._transport.frames import SEPARATE_PART
from maim_trio._transport.interrupts import uninterrupted
from maim_trio._transport.link import Link
from maim_trio._transport.pipe import LINGER, LOST, Pipe
from maim_trio._transport.writer import MAX_PONGS

if TYPE_CHECKING:
    from maim_trio._legacy._tcp.crypto import Cipher
    from maim_trio._transport.flusher import Flusher
    from maim_trio._transport.limits import Limits

__all__ = ["HEARTBEAT_INTERVAL", "IDLE_TIMEOUT", "TcpLink"]

HEARTBEAT_INTERVAL: Final = 15.0
"""Seconds between two heartbeats of a client, in 0.6.8 as well."""
IDLE_TIMEOUT: Final = 45.0
"""Seconds of silence after which the peer is taken for dead: three heartbeats of a client, or three answers to them."""

FRAME_EXTRA: Final = HEAD_SIZE + SEALED_EXTRA
"""Bytes of a frame beside its message."""


@uninterrupted
class TcpLink(Link):
    """A connection of the TCP mode. Made by `accept_tcp` and `open_tcp`; needs a task in `run_writer`.

    It differs from a WebSocket's where the protocol does. There is no close frame: the codes of `closed` are for us
    only, and 1005 says that the peer has ended the connection between two frames. A client's `ping` is a heartbeat; a
    server cannot ask for one. `receive` ends the link after `idle_timeout` seconds in which nothing came at all.
    """

    longest_ping_interval: ClassVar[float] = HEARTBEAT_INTERVAL

    __slots__ = ("_cipher", "_heard", "_heard_at", "_idle_timeout", "_tcp_parser")

    def __init__(
        self,
        pipe: Pipe,
        cipher: Cipher,
        *,
        client: bool,
        limits: Limits,
        glued: bytes = b"",
        flusher: Flusher | None = None,
        remote: tuple[str, str] = ("", ""),
        idle_timeout: float = IDLE_TIMEOUT,
    ) -> None:
        self._tcp_parser = TcpParser(cipher, from_client=not client, max_message=limits.max_message)
        super().__init__(
            pipe, client=client, limits=limits, glued=glued, flusher=flusher, remote=remote, parser=self._tcp_parser
        )
        self.offer = _not_offered
        self._cipher = cipher
        self._idle_timeout = idle_timeout
        self._heard_at = trio.current_time()
        self._heard: trio.Event | None = None  # for those who wait for a sign of life

    # -- receiving

    async def _read_once(self) -> list[bytes]:
        data, self._glued = self._glued, b""
        lost = silent = False
        self._reading = True
        try:
            if not data:
                with trio.move_on_after(self._idle_timeout) as scope:
                    data = await self._pipe.read(self._sizes.next(self._parser.missing, self._pipe.bytes_in))
                silent = scope.cancelled_caught
        except LOST:
            lost = True
        finally:
            self._note_left()
        if silent:
            self._lose(f"silent for {self._idle_timeout:g} s")
            return []
        if lost or not (data or self._tcp_parser.feed_end()):
            self._lose("connection lost")
            return []
        self._note_heard()
        return self._take(data)

    def _note_heard(self) -> None:
        self._heard_at = trio.current_time()
        if self._heard is not None:
            self._heard.set()
            self._heard = None

    async def _wait_heard(self) -> None:
        """Until something has come, or the link has ended."""
        if self._heard is None:
            self._heard = trio.Event()
        await self._heard.wait()

    def _handle_controls(self) -> None:
        heartbeats, self._parser.controls = self._parser.controls, []
        if self.client:
            self.pings.end()  # they have no names: any answer will do
        elif not self._writer.sealed:
            for _ in heartbeats[-MAX_PONGS:]:
                self._writer.put_pong(HEARTBEAT_FRAME)

    # -- sending

    def send_nowait(self, *parts: bytes) -> None:
        """Not for this kind of link, whose frames are sealed for one connection: TypeError. See `send_text_nowait`."""
        _not_offered(parts)

    def send_text_nowait(self, payload: bytes) -> None:
        """Seals and queues one message; `payload` is UTF-8.

        Raises LinkClosed; `trio.WouldBlock` when `max_queued` would be exceeded, before anything is encrypted (one
        larger message may stand alone in an empty queue); `ValueError` for 4 GiB and more.
        """
        if self._writer.sealed:
            raise self._ended()
        head = data_head(len(payload))
        if not self.has_space(len(payload)):
            raise trio.WouldBlock
        counted, sealed = self._cipher.seal(payload)
        small = len(sealed) < SEPARATE_PART
        self._writer.put((head + counted + sealed,) if small else (head + counted, sealed))

    def has_space(self, size: int) -> bool:
        """Whether a message of `size` bytes could be queued now."""
        return super().has_space(FRAME_EXTRA + size)

    async def wait_space(self, size: int = 0) -> None:
        """Until the queue is at most half full and takes a message of `size` bytes, or the link has ended."""
        await super().wait_space(FRAME_EXTRA + size)

    # -- control

    def greet(self) -> None:
        """Tells a new client, by a heartbeat that it has not asked for, that it is in. 0.6.8's passes that over."""
        self._writer.put_pong(HEARTBEAT_FRAME)

    async def ping(self, timeout: float) -> float:
        """Finds out whether the peer is there, and returns how long that took in seconds.

        A client sends a heartbeat and waits for an answer. Nobody answers a server's, so a server waits for whatever
        the client sends next. Raises `trio.TooSlowError`, after `timeout` seconds (a server: when `idle_timeout` has
        passed before them), and LinkClosed when the link ends meanwhile. Cancel-safe.
        """
        if self.client:
            return await super().ping(timeout)
        if self.closed is not None:
            raise self._ended()
        start = trio.current_time()
        silent_at = self._heard_at + self._idle_timeout
        with trio.fail_after(max(0.0, silent_at - start) + timeout):
            await self._wait_heard()
        if self.closed is not None:
            raise self._ended()
        return trio.current_time() - start

    def _ping_frame(self, key: bytes) -> bytes:
        return HEARTBEAT_FRAME

    # -- the end

    async def _say_goodbye(self, code: int, reason: str) -> None:
        """What is queued, then our half of TCP ends, and that is all that the peer is told."""
        self._answer()
        self._queue_close(code, reason)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._await_peer)  # reading goes on, or two full peers would wait for each other
            await self._finish_writing()
            if not self._pipe.aborted:
                with contextlib.suppress(*LOST):
                    await self._end_our_half()
            nursery.cancel_scope.cancel()
        if not self._pipe.aborted:
            await self._pipe.aclose()

    async def _end_our_half(self) -> None:
        """Unread input would turn our last words into a reset, so it is read until the peer ends or is silent."""
        if isinstance(self._pipe.stream, trio.abc.HalfCloseableStream):
            await self._pipe.stream.send_eof()
        while not self.received_all:
            with trio.move_on_after(LINGER) as scope:
                await self._wait_heard()
            if scope.cancelled_caught:
                return
        if self._parser.violation is not None:
            await self._pipe.drain(LINGER)

    def _queue_close(self, code: int, reason: str) -> None:
        if not self._writer.sealed:
            self._end(code, reason, by_peer=False)
            self._writer.seal()

    def _end(self, code: int, reason: str, by_peer: bool) -> None:
        super()._end(code, reason, by_peer)
        self._note_heard()


def _not_offered(parts: tuple[bytes, ...]) -> bool:
    raise TypeError("a frame of the TCP mode is made for one connection: send_text_nowait makes it")
