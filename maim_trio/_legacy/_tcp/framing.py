"""Frames of the TCP mode, pure: ``u32 length | u8 type | payload``, big endian; the length counts the whole frame."""

from __future__ import annotations

import struct
from typing import Final

from maim_trio._transport.frames import PROTOCOL_ERROR, TOO_BIG, Violation

__all__ = [
    "DATA",
    "HANDSHAKE",
    "HEAD_SIZE",
    "HEARTBEAT",
    "HEARTBEAT_FRAME",
    "KEY_SIZE",
    "SEALED_EXTRA",
    "data_head",
    "frame",
    "handshake_frame",
    "parse_handshake_head",
    "parse_head",
]

HANDSHAKE: Final = 1
"""A public key, from either side: the type that the protocol reserves for the answer is never sent."""
DATA: Final = 3
HEARTBEAT: Final = 4

HEAD_SIZE: Final = 5
KEY_SIZE: Final = 32
"""Bytes of an X25519 public key."""
SEALED_EXTRA: Final = 12 + 8 + 16
"""Bytes of a DATA payload beside the message: nonce, sequence number, tag."""

_MAX_LENGTH: Final = 2**32 - 1
_HEAD = struct.Struct("!IB")
_HANDSHAKE_HEAD = _HEAD.pack(HEAD_SIZE + KEY_SIZE, HANDSHAKE)
_HTTP = (b"GET ", b"HEAD", b"POST", b"PUT ", b"OPTI", b"HTTP")


def frame(kind: int, payload: bytes = b"") -> bytes:
    """One complete frame."""
    return _HEAD.pack(HEAD_SIZE + len(payload), kind) + payload


HEARTBEAT_FRAME: Final = frame(HEARTBEAT)


def handshake_frame(public_key: bytes) -> bytes:
    """What either side says first."""
    return _HANDSHAKE_HEAD + public_key


def data_head(size: int) -> bytes:
    """The head of the frame that carries a message of `size` bytes. `ValueError` for one that no frame can carry."""
    length = HEAD_SIZE + SEALED_EXTRA + size
    if length > _MAX_LENGTH:
        raise ValueError(f"a message of {size} bytes does not fit into a frame of the TCP mode")
    return _HEAD.pack(length, DATA)


def parse_handshake_head(data: bytes | bytearray) -> int:
    """The length of the frame with the peer's public key, which begins with `data`. Raises Violation for all else.

    `data` has at least `HEAD_SIZE` bytes.
    """
    if data.startswith(_HANDSHAKE_HEAD):
        return HEAD_SIZE + KEY_SIZE
    raise Violation(PROTOCOL_ERROR, _what_came_instead(data))


def _what_came_instead(data: bytes | bytearray) -> str:
    if data.startswith(_HTTP):
        return "the peer speaks HTTP or WebSocket (ws://) and not the TCP mode (tcp://)"
    if data.startswith(b"\x16\x03") or data.startswith(b"\x15\x03"):
        return "the peer speaks TLS, which the TCP mode does not know, not even as tcps://"
    length, kind = _HEAD.unpack_from(data)
    if kind == HANDSHAKE:
        return f"a handshake frame of {length} bytes, and not of {HEAD_SIZE + KEY_SIZE}"
    return "the first bytes are no handshake of the TCP mode"


def parse_head(data: bytes | bytearray, position: int, max_message: int) -> tuple[int, int]:
    """(length, type) of the frame that begins at `position`, after the handshake. Raises Violation.

    At least `HEAD_SIZE` bytes must be there. Refused is also what is too large, so that it is never buffered.
    """
    length, kind = _HEAD.unpack_from(data, position)
    if kind == DATA:
        size = length - HEAD_SIZE - SEALED_EXTRA
        if size < 0:
            raise Violation(PROTOCOL_ERROR, f"a data frame of {length} bytes is too short")
        if size > max_message:
            raise Violation(TOO_BIG, f"message over {max_message} bytes")
    elif kind == HEARTBEAT:
        if length != HEAD_SIZE:
            raise Violation(PROTOCOL_ERROR, f"a heartbeat of {length} bytes, and not of {HEAD_SIZE}")
    elif kind == HANDSHAKE:
        raise Violation(PROTOCOL_ERROR, "a second handshake")
    else:
        raise Violation(PROTOCOL_ERROR, f"unknown frame type {kind}")
    return length, kind
