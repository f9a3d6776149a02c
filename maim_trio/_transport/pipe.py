"""A trio stream, read and written without needless waits. Public trio API only.

On a TCP socket (POSIX), also under TLS once its handshake is through, the non-blocking descriptor is tried first and
trio only waits; memory streams, Windows and handshakes take the same calls through the Stream.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import trio

from .tls import take_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .engine import TlsEngine

__all__ = ["CHUNK", "LINGER", "LOST", "SMALL_PART", "Part", "Pipe", "peer_at", "peer_of"]

CHUNK = 64 * 1024
"""Bytes of an ordinary read, and below which written parts are joined into one."""
SMALL_PART = 4 * 1024
"""Parts that are smaller than this on average are joined: copying is cheaper than handing them over one by one."""
PIECE = 64 * 1024
"""What one `send_all` carries where we cannot see progress inside it: large enough for its overhead to vanish, small
enough that a slow but living peer takes it within `send_timeout`."""
MAX_PARTS = 512
"""Of one writev; every POSIX system takes 1024 or more."""
FAIR_TURNS = 8
"""Reads in a row without a checkpoint: a peer with endless data must not starve the others."""
LINGER = 1.0
"""Seconds of silence after our half-close until TCP is closed all the same: enough for one slow round trip, and a peer
that never closes costs no more."""
SILENCE = 0.2
"""The same where no half-close can tell the peer (TLS)."""

LOST = (trio.BrokenResourceError, trio.ClosedResourceError)
"""What a connection that is gone raises."""

Part = bytes | memoryview


class Pipe:
    """One stream with one reader and one writer at a time.

    Whatever goes wrong with the connection is `trio.BrokenResourceError` or `trio.ClosedResourceError`, nothing else.
    """

    __slots__ = (
        "_engine",
        "_fileno",
        "_read_scope",
        "_socket",
        "_turns",
        "_write_scope",
        "aborted",
        "bytes_in",
        "bytes_out",
        "cut",
        "direct",
        "dry",
        "stream",
    )

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._socket = _socket_of(stream)
        self._fileno: Callable[[], int] = _no_number if self._socket is None else self._socket.fileno
        self.direct = os.name == "posix" and isinstance(stream, trio.SocketStream)
        """Whether writing can be tried without waiting."""
        self.bytes_in = 0
        self.bytes_out = 0
        self.cut = False
        """A write was given up at an unknown place: nothing may follow on this stream."""
        self._engine: TlsEngine | None = None
        self.aborted = False
        self.dry = True
        """The last read took all there was."""
        self._turns = 0
        self._read_scope: trio.CancelScope | None = None
        self._write_scope: trio.CancelScope | None = None

    def take_over(self) -> None:
        """For a TLS stream, after its handshake and a first write (trio keeps the server's session tickets until then):
        from here on this pipe is `direct`, and nothing but `aclose` may be done with the stream itself."""
        engine = take_engine(self.stream) if os.name == "posix" else None
        if engine is not None:
            self._engine, self.direct, self.dry = engine, True, False

    def descriptor(self) -> int:
        """The socket's number. Asked anew for each call: a remembered number could by now be another connection's."""
        number = self._fileno()
        if number < 0:
            raise trio.ClosedResourceError
        return number

    async def read(self, size: int = CHUNK) -> bytes | bytearray:
        """At most `size` bytes, b"" at the end. When it is cancelled nothing was taken."""
        if not self.direct:
            return await self._read_stream(size)
        if self.dry:
            await trio.lowlevel.wait_readable(self.descriptor())
            self._turns = 0
        else:
            self._turns += 1
            if self._turns >= FAIR_TURNS:
                self._turns = 0
                await trio.lowlevel.checkpoint()
        while (data := self.read_nowait(size)) is None:
            await trio.lowlevel.wait_readable(self.descriptor())
        return data

    def read_nowait(self, size: int) -> bytes | bytearray | None:
        """What is there, b"" at the end, None when nothing is there yet. Only where the pipe is `direct`."""
        try:
            if self._engine is None:
                fileno = self._fileno
                # of a closed socket the number is -1, and refused
                data: bytes | bytearray = os.read(fileno(), size)
                self.dry = len(data) < size
            else:
                decrypted, self.dry = self._engine.read(self.descriptor(), size)
                if decrypted is None:
                    return None
                data = decrypted
        except BlockingIOError:
            self.dry = True
            return None
        except OSError as error:
            raise trio.BrokenResourceError from error
        self.bytes_in += len(data)
        return data

    async def _read_stream(self, size: int) -> bytes:
        if self.aborted:
            raise trio.ClosedResourceError
        try:
            if self._socket is not None:
                data = bytes(await self.stream.receive_some(size))
            else:
                data = await self._read_abortable(size)
        except OSError as error:
            raise trio.BrokenResourceError from error
        self.bytes_in += len(data)
        return data

    async def _read_abortable(self, size: int) -> bytes:
        """For streams without a socket, whose closing would wake the reader."""
        try:
            with trio.CancelScope() as self._read_scope:
                return bytes(await self.stream.receive_some(size))
        finally:
            self._read_scope = None
        raise trio.ClosedResourceError  # abort() has cancelled the scope

    def write_nowait(self, parts: Sequence[Part]) -> Sequence[Part]:
        """Writes what the socket takes at once, returns the rest; on a stream that is not `direct`, all of it."""
        if not self.direct:
            return parts
        try:
            if self._engine is not None:
                return self._write_tls(self._engine, parts)
            if len(parts) > 1:
                written = os.writev(self._fileno(), parts[:MAX_PARTS])
            else:
                part, fileno = parts[0], self._fileno
                written = os.write(fileno(), part)
                if written == len(part):
                    self.bytes_out += written
                    return ()
        except BlockingIOError:
            return parts
        except OSError as error:
            self.descriptor()  # raises when the socket is closed
            raise trio.BrokenResourceError from error
        self.bytes_out += written
        return _after(parts, written)

    def _write_tls(self, engine: TlsEngine, parts: Sequence[Part]) -> Sequence[Part]:
        written = engine.write(self.descriptor(), parts)
        self.bytes_out += written
        return _after(parts, written) or ((b"",) if engine.unsent else ())

    async def write_some(self, parts: Sequence[Part], timeout: float) -> Sequence[Part]:
        """Waits until something could be written, returns the rest. `trio.TooSlowError` after `timeout` seconds.

        Cancelled, or too slow: nothing was written, unless `cut` is set.
        """
        if not self.direct:
            return await self._write_piece(parts, timeout)
        with trio.move_on_after(timeout) as scope:
            await trio.lowlevel.wait_writable(self.descriptor())
        if scope.cancelled_caught:
            raise trio.TooSlowError
        return self.write_nowait(parts)

    async def _write_piece(self, parts: Sequence[Part], timeout: float) -> Sequence[Part]:
        if self.aborted:
            raise trio.ClosedResourceError
        whole = parts[0] if len(parts) == 1 else b"".join(parts)
        piece = whole if len(whole) <= PIECE else memoryview(whole)[:PIECE]
        self.cut = True
        try:
            with trio.move_on_after(timeout) as self._write_scope:
                await self.stream.send_all(piece)
                self.cut = False
        except OSError as error:
            raise trio.BrokenResourceError from error
        finally:
            self._write_scope = None
        if self.cut:
            raise trio.ClosedResourceError if self.aborted else trio.TooSlowError
        self.bytes_out += len(piece)
        return [memoryview(whole)[PIECE:]] if len(whole) > PIECE else []

    @property
    def half_closeable(self) -> bool:
        """Whether the stream can tell the peer that nothing more will come."""
        return isinstance(self.stream, trio.abc.HalfCloseableStream)

    async def write_all(self, data: bytes, timeout: float) -> None:
        """Writes `data`; `trio.TooSlowError` when `timeout` seconds pass without progress."""
        rest = self.write_nowait([data])
        while rest:
            rest = await self.write_some(rest, timeout)

    async def finish(self) -> None:
        """Ends our direction and reads until the peer has ended too, or is silent.

        Unread input would turn our last words into a reset. TCP and memory streams tell the peer by a half-close; TLS
        cannot.
        """
        if isinstance(self.stream, trio.abc.HalfCloseableStream):
            await self.stream.send_eof()
            await self.drain(LINGER)
        else:
            await self.drain(SILENCE)

    async def linger(self, *, client: bool, violated: bool) -> None:
        """After both close frames the server ends TCP and the client waits for that (RFC 6455 §7.1.1)."""
        if violated:
            await self.finish()
        elif client:
            await self.drain(LINGER)
        elif self.half_closeable:
            await self.finish()

    async def drain(self, patience: float) -> None:
        """Reads and drops until the end, or until nothing came for `patience` seconds."""
        while True:
            with trio.move_on_after(patience) as scope:
                if not await self.read():
                    return
            if scope.cancelled_caught:
                return

    async def aclose(self) -> None:
        """Closes the stream politely (TLS says goodbye). Cancelled: it is closed all the same."""
        with contextlib.suppress(*LOST, OSError):
            await self.stream.aclose()

    async def kill(self) -> None:
        """Closes the stream without waiting for anything; wakes whoever reads or writes."""
        self.abort()
        if isinstance(self.stream, trio.SocketStream):  # its socket is all that there is to close
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        with contextlib.suppress(*LOST, OSError):
            await trio.aclose_forcefully(self.stream)

    def abort(self) -> None:
        """Synchronous: closes the socket, where there is one, and wakes whoever reads or writes."""
        self.aborted = True
        if self._socket is not None:
            self._socket.close()
        for scope in (self._read_scope, self._write_scope):
            if scope is not None:
                scope.cancel()


def _no_number() -> int:
    return -1


def _after(parts: Sequence[Part], written: int) -> Sequence[Part]:
    for index, part in enumerate(parts):
        if written < len(part):
            return [memoryview(part)[written:], *parts[index + 1 :]]
        written -= len(part)
    return []


def _socket_of(stream: trio.abc.Stream) -> trio.socket.SocketType | None:
    """The TCP socket of a stream, also under TLS."""
    while type(stream) is not trio.SocketStream and isinstance(stream, trio.SSLStream):
        stream = stream.transport_stream
    return stream.socket if isinstance(stream, trio.SocketStream) else None


def peer_of(stream: trio.abc.Stream) -> tuple[str, str]:
    """("ip:port", "ip") of the peer, ("[ip]:port", "ip") for IPv6, ("", "") when unknown. To be asked right after
    accept: a socket that was reset since cannot tell any more."""
    socket = _socket_of(stream)
    if socket is None:
        return "", ""
    try:
        return peer_at(socket.getpeername())
    except OSError:
        return "", ""


def peer_at(name: object) -> tuple[str, str]:
    """The same for the address of a socket."""
    if not isinstance(name, tuple) or not isinstance(name[0], str):
        return "", ""
    if len(name) == 2:
        return f"{name[0]}:{name[1]}", name[0]
    return f"[{name[0]}]:{name[1]}", name[0]
