"""A peer that knows nothing of the package: it sends bytes, reads bytes, and reads frames with a decoder of its own."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import socket
import struct
from typing import NamedTuple

import trio
import trio.testing

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # the example of RFC 6455
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def request(
    *extra: bytes, target: bytes = b"/ws?a=1", key: bytes | None = KEY, version: bytes = b"13", host: bytes = b"x"
) -> bytes:
    """An upgrade request; `extra` are whole header lines."""
    lines = [b"GET %b HTTP/1.1" % target, b"Host: " + host, b"Upgrade: websocket", b"Connection: Upgrade"]
    lines += [b"Sec-WebSocket-Version: " + version]
    if key is not None:
        lines += [b"Sec-WebSocket-Key: " + key]
    return b"\r\n".join([*lines, *extra]) + b"\r\n\r\n"


def accept_token(head: bytes) -> bytes:
    """What the server must answer to the key in a request (RFC 6455 §4.2.2)."""
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b": ")
        if name.lower() == b"sec-websocket-key":
            return base64.b64encode(hashlib.sha1(value + _GUID).digest())
    raise AssertionError("no key in the request")


def switching(accept: bytes, *extra: bytes) -> bytes:
    """A 101; `extra` are whole header lines."""
    lines = [b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade"]
    return b"\r\n".join([*lines, b"Sec-WebSocket-Accept: " + accept, *extra]) + b"\r\n\r\n"


def frame(
    opcode: int, payload: bytes = b"", *, mask: bytes | None = None, final: bool = True, reserved: int = 0
) -> bytes:
    """One frame, legal or not."""
    first = bytes([(0x80 if final else 0) | reserved | opcode])
    masked, size = (0x80 if mask is not None else 0), len(payload)
    if size < 126:
        head = first + bytes([masked | size])
    elif size < 65536:
        head = first + bytes([masked | 126]) + struct.pack("!H", size)
    else:
        head = first + bytes([masked | 127]) + struct.pack("!Q", size)
    return head + payload if mask is None else head + mask + apply(payload, mask)


def masked(opcode: int, payload: bytes = b"", *, final: bool = True) -> bytes:
    """A frame as a client sends it."""
    return frame(opcode, payload, mask=b"\x01\x02\x03\x04", final=final)


def apply(payload: bytes, mask: bytes) -> bytes:
    """Masking by the letter of RFC 6455 §5.3."""
    return bytes(a ^ b for a, b in zip(payload, itertools.cycle(mask), strict=False))


class Frame(NamedTuple):
    opcode: int
    payload: bytes
    masked: bool = False
    final: bool = True


def first_frame(data: bytes) -> tuple[Frame, int] | None:
    """The frame at the beginning of `data` and where it ends; None when it is not whole."""
    if len(data) < 2:
        return None
    size, start = data[1] & 127, 2
    if size > 125:
        start = 4 if size == 126 else 10
        size = int.from_bytes(data[2:start], "big")
    mask = b""
    if data[1] & 128:
        mask, start = data[start : start + 4], start + 4
    if len(data) < start + size:
        return None
    payload = data[start : start + size]
    return Frame(data[0] & 15, apply(payload, mask) if mask else payload, bool(mask), data[0] > 127), start + size


def split_frames(data: bytes) -> tuple[list[Frame], bytes]:
    """(the whole frames at the beginning of `data`, the rest)."""
    frames = []
    while (found := first_frame(data)) is not None:
        frames.append(found[0])
        data = data[found[1] :]
    return frames, data


class RawPeer:
    """One end of a stream, driven by a test."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.unread = b""
        self.was_reset = False

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def pour(self, data: bytes, times: float = 1) -> None:
        """Sends until it is through or the stream has ended, whoever ended it."""
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while times > 0:
                await self.stream.send_all(data)
                times -= 1

    async def read_more(self) -> bool:
        """False at the end of the stream."""
        try:
            data = bytes(await self.stream.receive_some(65536))
        except trio.BrokenResourceError:
            self.was_reset = True
            data = b""
        self.unread += data
        return bool(data)

    async def head(self) -> bytes:
        """The next HTTP head."""
        while b"\r\n\r\n" not in self.unread:
            assert await self.read_more(), f"the stream ended before a head: {self.unread[:100]!r}"
        head, _, self.unread = self.unread.partition(b"\r\n\r\n")
        return head

    async def until_end(self) -> bytes:
        """Everything up to the end of the stream."""
        while await self.read_more():
            pass
        return self.unread

    async def frame(self) -> Frame:
        """The next frame."""
        while (found := first_frame(self.unread)) is None:
            assert await self.read_more(), f"the stream ended before a frame: {self.unread[:100]!r}"
        self.unread = self.unread[found[1] :]
        return found[0]

    async def frames_until_end(self) -> list[Frame]:
        """All further frames; the stream must end after a whole one."""
        frames, rest = split_frames(await self.until_end())
        assert rest == b""
        return frames

    async def message(self) -> bytes:
        """The payload of the next frame, which must be a whole text message."""
        found = await self.frame()
        assert (found.opcode, found.final) == (TEXT, True)
        return found.payload

    async def close_frame(self) -> tuple[int, str]:
        """Code and reason of the close frame that must be next."""
        found = await self.frame()
        assert found.opcode == CLOSE, found
        return (int.from_bytes(found.payload[:2], "big"), found.payload[2:].decode()) if found.payload else (1005, "")

    async def reset(self) -> None:
        """Ends TCP with a reset, as a crashing peer does. A memory stream can only end."""
        transport = transport_of(self.stream)
        if isinstance(transport, trio.SocketStream):
            transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await trio.aclose_forcefully(self.stream)

    async def aclose(self) -> None:
        await trio.aclose_forcefully(self.stream)


class MemoryStream(trio.abc.HalfCloseableStream):
    """One end of a memory stream that remembers what it has written and whether it was closed.

    With `piece`, writing takes virtual time: `piece` bytes each 10 ms.
    """

    def __init__(self, inner: trio.StapledStream, piece: int = 0) -> None:
        self.written = bytearray()
        self.closed = False
        self._inner = inner
        self._piece = piece

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        data = bytes(data)
        for start in range(0, len(data), self._piece or len(data) or 1):
            if self._piece:
                await trio.sleep(0.01)
            part = data[start : start + (self._piece or len(data))]
            await self._inner.send_all(part)
            self.written += part

    async def wait_send_all_might_not_block(self) -> None:
        await self._inner.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self._inner.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return await self._inner.receive_some(max_bytes)

    async def aclose(self) -> None:
        self.closed = True
        await self._inner.aclose()


def memory_pair(piece: int = 0) -> tuple[MemoryStream, MemoryStream]:
    """Two ends of a connection in memory."""
    ours, theirs = trio.testing.memory_stream_pair()
    return MemoryStream(ours, piece), MemoryStream(theirs, piece)


def transport_of(stream: trio.abc.Stream) -> trio.abc.Stream:
    while isinstance(stream, trio.SSLStream):
        stream = stream.transport_stream
    return stream


def is_closed(stream: trio.abc.Stream) -> bool:
    """Whether this end of a connection was closed by its owner."""
    transport = transport_of(stream)
    if isinstance(transport, trio.SocketStream):
        return transport.socket.fileno() == -1
    assert isinstance(transport, MemoryStream)
    return transport.closed
