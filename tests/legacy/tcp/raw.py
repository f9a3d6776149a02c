"""A peer of the TCP mode that knows nothing of the package: its own frames, its own encryption, legal or not."""

from __future__ import annotations

import json
import os
import struct
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tests.transport.raw import RawPeer

HANDSHAKE, ANSWER, DATA, HEARTBEAT = 1, 2, 3, 4
ZERO_KEY = bytes(32)
LOW_ORDER_KEYS = [
    ZERO_KEY,
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("00000000000000000000000000000000000000000000000000000000000000" + "80"),
]
"""What X25519 turns into a shared secret of zeros, whatever the other key is."""


def frame(kind: int, payload: bytes = b"", *, length: int | None = None) -> bytes:
    return struct.pack("!IB", len(payload) + 5 if length is None else length, kind) + payload


def split_frames(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """(the whole frames at the beginning of `data`, the rest)."""
    frames = []
    while len(data) >= 5:
        length, kind = struct.unpack("!IB", data[:5])
        if len(data) < length:
            break
        frames.append((kind, data[5:length]))
        data = data[length:]
    return frames, data


class Keys:
    """One side's keys and what it can do with the other's."""

    def __init__(self) -> None:
        self.private = X25519PrivateKey.generate()
        self.public = self.private.public_key().public_bytes_raw()
        self.sequence = 0
        self.aead: ChaCha20Poly1305 | None = None

    def agree(self, public: bytes) -> None:
        shared = self.private.exchange(X25519PublicKey.from_public_bytes(public))
        key = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"handshake data").derive(shared)
        self.aead = ChaCha20Poly1305(key)

    def seal(self, message: bytes, sequence: int | None = None) -> bytes:
        """A whole data frame; the sequence number goes on counting from what it was told last."""
        assert self.aead is not None
        self.sequence = self.sequence if sequence is None else sequence
        counted = struct.pack("!Q", self.sequence)
        self.sequence += 1
        nonce = os.urandom(12)
        return frame(DATA, nonce + counted + self.aead.encrypt(nonce, message, counted))

    def open(self, payload: bytes) -> tuple[int, bytes]:
        """(sequence number, message)."""
        assert self.aead is not None
        return struct.unpack("!Q", payload[12:20])[0], self.aead.decrypt(payload[:12], payload[20:], payload[12:20])


class TcpPeer(RawPeer):
    """One end of a stream, driven by a test."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self.keys = Keys()

    async def tcp_frame(self) -> tuple[int, bytes]:
        """(type, payload) of the next frame."""
        while True:
            frames, _ = split_frames(self.unread)
            if frames:
                kind, payload = frames[0]
                self.unread = self.unread[len(payload) + 5 :]
                return kind, payload
            assert await self.read_more(), f"the stream ended before a frame: {self.unread[:100]!r}"

    async def exchange_keys(self) -> None:
        """Either side's first step; the order does not matter."""
        await self.send(frame(HANDSHAKE, self.keys.public))
        kind, public = await self.tcp_frame()
        assert kind == HANDSHAKE
        self.keys.agree(public)

    async def register(self, platform: str = "qq", token: str | None = None, **more: Any) -> None:
        fields = {"platform": platform, **({} if token is None else {"token": token}), **more}
        await self.say(json.dumps(fields).encode())

    async def say(self, message: bytes, sequence: int | None = None) -> None:
        await self.send(self.keys.seal(message, sequence))

    async def hear(self) -> bytes:
        """The next message; heartbeats are passed over."""
        while True:
            kind, payload = await self.tcp_frame()
            if kind != HEARTBEAT:
                assert kind == DATA
                return self.keys.open(payload)[1]
