"""RFC 6455 frames, pure: bytes in, messages and control frames out. No trio, no socket, no clock.

`FrameParser` reads what one peer sends, `frame` and `text_frame` build what we send.
"""

from __future__ import annotations

import codecs
import os
import struct
from typing import Final, Protocol

from .large import LargeFrame
from .masking import apply_mask, xor_mask

__all__ = [
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "INVALID_DATA",
    "LOST",
    "NO_CODE",
    "PING",
    "PONG",
    "PROTOCOL_ERROR",
    "TEXT",
    "TOO_BIG",
    "Binary",
    "FrameParser",
    "Parser",
    "Violation",
    "apply_mask",
    "close_payload",
    "frame",
    "parse_close",
    "text_frame",
    "xor_mask",
]

# Opcodes (RFC 6455 §5.2).
CONTINUATION: Final = 0
TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10

# Close codes this layer uses by itself (RFC 6455 §7.4.1).
PROTOCOL_ERROR: Final = 1002
NO_CODE: Final = 1005  # never on the wire: the peer's close frame was empty
LOST: Final = 1006  # never on the wire: there was no close frame
INVALID_DATA: Final = 1007
TOO_BIG: Final = 1009

MAX_CONTROL = 125  # bytes a control frame may carry (RFC 6455 §5.5)
# From this size on a payload travels as a part of its own: copying it costs more than one more entry in writev.
SEPARATE_PART = 16 * 1024
# Below this size the two copies of a slice are cheaper than setting up a memoryview.
COPY_BELOW = 64 * 1024

_WHOLE_TEXT = 0x80 | TEXT
_WHOLE_BINARY = 0x80 | BINARY
_FINAL = 0x80
_MASKED = 0x80
_RESERVED = 0x70

_HEAD_16 = struct.Struct("!BBH").pack
_START_MASKED = struct.Struct("!HH4s")
_START_BARE = struct.Struct("!HH0s")
_HEAD_64 = struct.Struct("!BBQ").pack
_Utf8Decoder = codecs.getincrementaldecoder("utf-8")


class Binary(bytes):
    """A message that came in binary frames. Text messages are plain `bytes`, and valid UTF-8."""

    __slots__ = ()


class Violation(Exception):
    """What the peer sent breaks RFC 6455 or our limits: `code` and `reason` are for our close frame."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


def frame(opcode: int, payload: bytes, *, mask: bool) -> bytes:
    """One complete, final frame, ready for the wire. Clients mask, servers do not (RFC 6455 §5.1)."""
    if not mask:
        return _head(opcode, len(payload), 0) + payload
    key = os.urandom(4)
    return b"".join((_head(opcode, len(payload), _MASKED), key, apply_mask(payload, key)))


def text_frame(payload: bytes, mask: bool) -> tuple[bytes, ...]:
    """One complete text frame in parts that belong together, for `Link.send_nowait(*parts)`.

    `payload` is UTF-8. A small frame is one part; a large payload stays a part of its own, uncopied where it is not
    masked. An unmasked frame can be given to any number of receivers.
    """
    size = len(payload)
    if mask:
        key = os.urandom(4)
        head = _head(TEXT, size, _MASKED) + key
        payload = apply_mask(payload, key)
    elif 125 < size < SEPARATE_PART:  # nearly all there are
        return (_HEAD_16(_WHOLE_TEXT, 126, size) + payload,)
    else:
        head = _head(TEXT, size, 0)
    return (head + payload,) if size < SEPARATE_PART else (head, payload)


def _head(opcode: int, size: int, masked: int) -> bytes:
    if size < 126:
        return bytes((_FINAL | opcode, masked | size))
    if size < 65536:
        return _HEAD_16(_FINAL | opcode, masked | 126, size)
    return _HEAD_64(_FINAL | opcode, masked | 127, size)


def close_payload(code: int, reason: str) -> bytes:
    """The payload of a close frame. 1005 means "no code" and gives an empty one.

    A reason that is too long is cut between two characters.
    """
    if code == NO_CODE:
        return b""
    text = reason.encode(errors="replace")[: MAX_CONTROL - 2].decode(errors="ignore").encode()
    return code.to_bytes(2, "big") + text


def may_be_sent(code: int) -> bool:
    """Whether a close code may stand in a close frame (RFC 6455 §7.4 and the IANA registry)."""
    return 3000 <= code < 5000 or 1000 <= code <= 1003 or 1007 <= code <= 1014


def parse_close(payload: bytes) -> tuple[int, str]:
    """Code and reason of a close frame, (1005, "") for an empty one. Raises Violation."""
    if not payload:
        return NO_CODE, ""
    code = int.from_bytes(payload[:2], "big")
    if len(payload) < 2 or not may_be_sent(code):
        raise Violation(PROTOCOL_ERROR, "invalid close code")
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        raise Violation(INVALID_DATA, "close reason is not UTF-8") from None


class Parser(Protocol):
    """What cuts a peer's bytes into messages: `FrameParser`, or that of another protocol over TCP."""

    controls: list[tuple[int, bytes]]
    close: tuple[int, str] | None
    violation: Violation | None
    missing: int

    def feed(self, data: bytes | bytearray) -> list[bytes]: ...


class FrameParser:
    """What one peer sends, cut into messages and control frames.

    `masked`: whether the peer must mask (it is a client). `max_message`: bytes a message may have; a larger one is a
    violation as soon as its head is there, so nothing beyond the limit is ever buffered.

    After each `feed`: `controls` holds the pings and pongs (the caller empties it), `close` the peer's close frame,
    `violation` what broke the protocol. After either of the last two everything further is ignored.
    """

    __slots__ = (
        "_bit",
        "_buffer",
        "_decoder",
        "_inside",
        "_large",
        "_max",
        "_message",
        "_usual",
        "close",
        "controls",
        "missing",
        "violation",
    )

    def __init__(self, *, masked: bool, max_message: int) -> None:
        self.controls: list[tuple[int, bytes]] = []
        self.close: tuple[int, str] | None = None
        self.violation: Violation | None = None
        self.missing = 0
        """Bytes that the unfinished frame still lacks; 0 when there is none, or its size is not known yet."""
        self._bit = _MASKED if masked else 0
        start = _START_MASKED if masked else _START_BARE
        # How nearly all frames begin: their first two bytes, the size of their head, and what reads it.
        self._usual = (_WHOLE_TEXT << 8 | self._bit | 126, start.size, start.unpack_from)
        self._max = max_message
        self._buffer: bytes | bytearray = b""
        self._large: LargeFrame | None = None  # the unfinished frame, where it is one
        self._message: bytearray | None = None  # of the fragmented message that is under way
        self._decoder: codecs.IncrementalDecoder | None = None  # its text check; None: it is binary
        self._inside = False  # something is unfinished, or all is over: what comes next does not begin a message

    def feed(self, data: bytes | bytearray) -> list[bytes]:
        """The messages that `data` completes, in order: `bytes` for text, `Binary` for binary ones. Never raises.

        The loop has what nearly all traffic is: whole text messages in one frame each, neither tiny nor large. With
        anything else the general way goes on from where it begins.
        """
        messages: list[bytes] = []
        if self._inside:
            return self._feed_other(data, messages)
        kind, head, unpack = self._usual
        begin, total, most = 0, len(data), self._max
        while begin < total - head:
            start, size, mask = unpack(data, begin)
            body = begin + head
            end = body + size
            if start != kind or end > total or not 125 < size <= most:
                break
            payload = apply_mask(data[body:end], mask) if mask else bytes(data[body:end])
            if not payload.isascii() and not _is_utf8(payload):
                break
            messages.append(payload)
            begin = end
        return messages if begin == total else self._feed_other(data[begin:], messages)

    def _feed_other(self, data: bytes | bytearray, messages: list[bytes]) -> list[bytes]:
        if self.close is not None or self.violation is not None:
            return messages
        try:
            self._parse(data, messages)
        except Violation as violation:
            self.violation = violation
        ended = self.close is not None or self.violation is not None
        if ended:
            self._buffer, self._large, self._message, self._decoder, self.missing = b"", None, None, None, 0
        self._inside = ended or bool(self._buffer) or self._large is not None or self._message is not None
        return messages

    def _parse(self, new: bytes | bytearray, messages: list[bytes]) -> None:
        if self._large is not None:
            new = self._filled(self._large, new, messages)
        data = self._joined(new)
        if self.missing:
            return
        end = self._parse_frames(data, messages)
        if end:
            self._buffer = bytes(data[end:]) if end < len(data) else b""
        elif data is new:
            self._buffer = new

    def _joined(self, new: bytes | bytearray) -> bytes | bytearray:
        """What is there to parse. It grows in one bytearray, so small reads cost no copy of all."""
        if self.missing:
            self.missing = max(0, self.missing - len(new))
        if not self._buffer:
            return new
        if type(self._buffer) is bytes:
            self._buffer = bytearray(self._buffer)
        self._buffer += new
        return self._buffer

    def _parse_frames(self, data: bytes | bytearray, messages: list[bytes]) -> int:
        """Takes the complete frames and returns where they end. One loop, because a call per frame is what it costs."""
        bit, pos, total = self._bit, 0, len(data)
        while total - pos >= 2:
            first, second = data[pos], data[pos + 1]
            body, size = pos + 2, second & 0x7F
            if size > 125:
                body += 2 if size == 126 else 8
                if total < body:
                    break
                size = (
                    data[pos + 2] << 8 | data[pos + 3] if size == 126 else int.from_bytes(data[pos + 2 : body], "big")
                )
                if size < 65536 and (size < 126 or body - pos == 10):
                    raise Violation(PROTOCOL_ERROR, "size is not in its shortest form")
            if first != _WHOLE_TEXT or second & 0x80 != bit or size > self._max or self._message is not None:
                self._check_head(first, second, size)
            if bit:
                body += 4
            end = body + size
            if end > total:
                return self._remember(first, size, data, pos, body)
            if not bit:
                payload = bytes(data[body:end])
            elif size < COPY_BELOW:
                payload = apply_mask(data[body:end], data[body - 4 : body])
            else:
                payload = _unmasked(data, body, end)
            pos = end
            if first == _WHOLE_TEXT and (payload.isascii() or _is_utf8(payload)):
                messages.append(payload)
            elif self._take_other(first, payload, messages):
                break
        return pos

    def _remember(self, first: int, size: int, data: bytes | bytearray, pos: int, body: int) -> int:
        """The frame at `pos` is unfinished. Returns from where on `data` has to be kept."""
        if size < COPY_BELOW:
            self.missing = body + size - len(data)
            return pos
        if body > len(data):
            return pos  # the mask is yet to come
        with memoryview(data) as view:
            key = bytes(view[body - 4 : body]) if self._bit else b""
            self._large = LargeFrame(first, size, key, apply_mask)
            self._large.add(view[body:])
        self.missing = self._large.missing
        return len(data)

    def _filled(self, large: LargeFrame, new: bytes | bytearray, messages: list[bytes]) -> bytes | bytearray:
        """Gives `new` to the large frame. What is behind its end is returned."""
        size = large.missing
        large.add(new if len(new) <= size else new[:size])
        self.missing = large.missing
        if not large.missing:
            self._large = None
            payload = large.payload()
            if large.first == _WHOLE_TEXT and (payload.isascii() or _is_utf8(payload)):
                messages.append(payload)
            else:
                self._take_other(large.first, payload, messages)
        return new[size:]

    def _check_head(self, first: int, second: int, size: int) -> None:
        """Before the payload is there: nothing illegal is ever buffered."""
        opcode = first & 15
        if second & 0x80 != self._bit:
            raise Violation(PROTOCOL_ERROR, "wrong masking")
        if first & _RESERVED:
            raise Violation(PROTOCOL_ERROR, "reserved bit")
        if opcode > PONG or BINARY < opcode < CLOSE:
            raise Violation(PROTOCOL_ERROR, "reserved opcode")
        if opcode >= CLOSE:
            if size > MAX_CONTROL or not first & _FINAL:
                raise Violation(PROTOCOL_ERROR, "illegal control frame")
            return
        if (opcode == CONTINUATION) == (self._message is None):
            raise Violation(PROTOCOL_ERROR, "fragments out of order")
        if size + len(self._message or b"") > self._max:
            raise Violation(TOO_BIG, f"message over {self._max} bytes")

    def _take_other(self, first: int, payload: bytes, messages: list[bytes]) -> bool:
        """Every frame that is not a whole and valid text message. True: it was the close frame."""
        opcode = first & 15
        if opcode == CLOSE:
            self.close = parse_close(payload)
            return True
        if opcode > CLOSE:
            self.controls.append((opcode, payload))
        elif first == _WHOLE_BINARY:
            messages.append(Binary(payload))
        else:
            self._fragment(opcode, bool(first & _FINAL), payload, messages)
        return False

    def _fragment(self, opcode: int, final: bool, payload: bytes, messages: list[bytes]) -> None:
        if opcode != CONTINUATION:
            self._message = bytearray()
            self._decoder = _Utf8Decoder() if opcode == TEXT else None
        assert self._message is not None  # _check_head has seen to it
        if self._decoder is not None:
            try:
                self._decoder.decode(payload, final)
            except UnicodeDecodeError:
                raise Violation(INVALID_DATA, "text is not UTF-8") from None
        # One buffer, not a list of fragments: a million empty ones cost nothing then.
        self._message += payload
        if final:
            messages.append(bytes(self._message) if self._decoder is not None else Binary(self._message))
            self._message = self._decoder = None


def _unmasked(data: bytes | bytearray, body: int, end: int) -> bytes:
    """The payload of a large frame; its mask stands in the four bytes before it."""
    with memoryview(data) as view:
        return apply_mask(view[body:end], bytes(view[body - 4 : body]))


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
