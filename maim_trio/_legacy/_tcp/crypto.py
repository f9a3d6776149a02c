"""The encryption of the TCP mode, pure: X25519, HKDF-SHA256, ChaCha20-Poly1305.

The only module that imports cryptography. 1 MiB costs about a millisecond each way, so nothing is moved to a thread.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from maim_trio._transport.frames import PROTOCOL_ERROR, Violation

if TYPE_CHECKING:
    from typing import Final

__all__ = ["Cipher", "KeyPair"]

NONCE_SIZE: Final = 12
SEQUENCE_END: Final = NONCE_SIZE + 8


class KeyPair:
    """One side's keys, for one connection only."""

    __slots__ = ("_private", "public")

    def __init__(self) -> None:
        self._private = X25519PrivateKey.generate()
        self.public = self._private.public_key().public_bytes_raw()

    def agree(self, peer_public: bytes) -> Cipher:
        """What both sides can now encrypt with. Raises Violation for a key with which everybody could."""
        if peer_public == self.public:
            raise Violation(PROTOCOL_ERROR, "the peer sends back what we send: it is an echo, or somebody in between")
        try:
            shared = self._private.exchange(X25519PublicKey.from_public_bytes(peer_public))
        except ValueError:
            raise Violation(PROTOCOL_ERROR, "the peer's public key is unusable: all zero, or of low order") from None
        return Cipher(HKDF(algorithm=SHA256(), length=32, salt=None, info=b"handshake data").derive(shared))


class Cipher:
    """Seals what one side of a connection sends and opens what it receives. Keeps count of both directions.

    The protocol has one key for both directions. So that nobody can give us our own frames back as the peer's, our
    nonces follow from the sequence number and a secret. They look random to all others, and we know them when we see
    them.
    """

    __slots__ = ("_aead", "_nonce_secret", "_received", "_sent")

    def __init__(self, key: bytes) -> None:
        self._aead = ChaCha20Poly1305(key)
        self._nonce_secret = os.urandom(32)
        self._sent = 0
        self._received = -1

    def seal(self, message: bytes) -> tuple[bytes, bytes]:
        """The payload of a data frame in two parts: nonce and sequence number, then the ciphertext with its tag."""
        sequence = self._sent.to_bytes(8, "big")
        self._sent += 1
        nonce = self._nonce(sequence)
        return nonce + sequence, self._aead.encrypt(nonce, message, sequence)

    def open(self, payload: bytes | bytearray | memoryview) -> bytes:
        """The message in the payload of a data frame. Raises Violation.

        Sequence numbers must grow, from whatever a connection begins with (0.6.8 goes on counting when it reconnects).
        What fails changes nothing.
        """
        nonce, sequence = bytes(payload[:NONCE_SIZE]), bytes(payload[NONCE_SIZE:SEQUENCE_END])
        number = int.from_bytes(sequence, "big")
        if number <= self._received:
            raise Violation(PROTOCOL_ERROR, f"message {number} after message {self._received}: replayed or reordered")
        try:
            message = self._aead.decrypt(nonce, payload[SEQUENCE_END:], sequence)
        except InvalidTag:
            raise Violation(PROTOCOL_ERROR, "a message does not decrypt: damaged, forged or of another key") from None
        if nonce == self._nonce(sequence):
            raise Violation(PROTOCOL_ERROR, "a message of ours has come back as the peer's")
        self._received = number
        return message

    def _nonce(self, sequence: bytes) -> bytes:
        return blake2b(sequence, digest_size=NONCE_SIZE, key=self._nonce_secret).digest()
