"""TLS between a socket and a pipe without waiting. trio has made the handshake; from then on its OpenSSL object is used
here, on the descriptor, like a plain socket."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .pipe import Part

__all__ = ["TlsEngine"]

RECORDS = 128 * 1024
"""Bytes that are encrypted before the socket is tried again, and decrypted at one go: twice that, at most, waits as
ciphertext, and a little more than that is what OpenSSL keeps for each direction once a large message has passed."""
MAX_UNSENT = 8 * RECORDS
"""Bytes of ciphertext, with the answers of TLS itself, beyond which a peer that does not read is cut off."""
DECRYPT = 64 * 1024
"""Bytes asked of OpenSSL at a time; a record holds 16 KiB at most."""
RECORD = 16 * 1024 + 2048 + 5
"""Bytes of the longest record as ciphertext (RFC 5246, section 6.2.3): OpenSSL may hold the better part of one."""


class TlsEngine:
    """One TLS connection after its handshake. Errors are `OSError`, which `ssl.SSLError` is; `BlockingIOError`: the
    socket is not ready, and nothing has happened."""

    __slots__ = ("_ended", "_incoming", "_left", "_outgoing", "_session", "_unsent")

    def __init__(self, session: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
        self._session = session
        self._incoming = incoming
        self._outgoing = outgoing
        self._unsent: bytes | memoryview = b""
        self._ended = False
        self._left = True  # the handshake may have read more than it needed

    @property
    def unsent(self) -> bool:
        """Whether ciphertext waits for the socket; the next `write`, of nothing too, tries again."""
        return bool(self._unsent)

    def read(self, descriptor: int, size: int) -> tuple[bytes | bytearray | None, bool]:
        """What has come, b"" at the end, None for a part of a record or what concerns TLS alone; and whether that was
        all there is. About `size` bytes are read, once: a peer that sends nothing but records of TLS starves nobody."""
        chunks: list[bytes | bytearray] = []
        dry = False
        if self._left:
            self._left = False
            self._decrypt(chunks)
        if not chunks and not self._ended:
            data = os.read(descriptor, size)
            dry = len(data) < size
            if len(data) > RECORDS:
                chunks.append(self._decrypt_large(data))
            else:
                self._take(data, chunks)
        plain = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        if self._outgoing.pending:  # what TLS itself has to say, such as a new key
            self._answer(descriptor)
        return plain if plain or self._ended else None, dry and not self._ended

    def _answer(self, descriptor: int) -> None:
        if not self._flush(descriptor) and len(self._unsent) > MAX_UNSENT:
            raise OSError("the peer has TLS answer and does not read")

    def write(self, descriptor: int, parts: Sequence[Part]) -> int:
        """Encrypts and writes as long as the socket takes it; returns how many bytes of `parts` are done with. While
        ciphertext of an earlier call waits, nothing is taken."""
        if self._unsent and not self._flush(descriptor):
            return 0
        done = 0
        for part in parts:
            view = memoryview(part)
            for start in range(0, len(view), RECORDS):
                if len(self._unsent) >= RECORDS and not self._flush(descriptor):
                    return done
                done += self._encrypt(view[start : start + RECORDS])
        self._flush(descriptor)
        return done

    def _encrypt(self, view: memoryview) -> int:
        size = len(view)
        while view:
            view = view[self._session.write(view) :]
        self._collect()
        return size

    def _collect(self) -> None:
        if self._outgoing.pending:
            fresh = self._outgoing.read()
            self._unsent = b"".join((self._unsent, fresh)) if self._unsent else fresh

    def _take(self, data: bytes, chunks: list[bytes | bytearray]) -> None:
        """Decrypts what was read, b"" at the end."""
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        self._decrypt(chunks)

    def _decrypt(self, chunks: list[bytes | bytearray]) -> None:
        try:
            while True:
                chunk = self._session.read(DECRYPT)
                if not chunk:
                    self._ended = True
                    break
                chunks.append(chunk)
                if not self._incoming.pending and not self._session.pending():
                    break
        except ssl.SSLWantReadError:
            pass  # the rest of a record is still to come
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            self._ended = True

    def _decrypt_large(self, data: bytes) -> bytearray:
        """Decrypts many records into one buffer, so that they need not be joined. OpenSSL gets them in pieces, because
        its own buffer never shrinks again."""
        plain, filled = bytearray(len(data) + RECORD), 0
        with memoryview(data) as source, memoryview(plain) as target:
            for start in range(0, len(data), RECORDS):
                self._incoming.write(source[start : start + RECORDS])
                least = RECORD if start + RECORDS < len(data) else 1  # half a record costs an exception
                filled += self._decrypt_into(target[filled:], least)
        del plain[filled:]
        return plain

    def _decrypt_into(self, target: memoryview, least: int) -> int:
        """Decrypts as long as there are `least` bytes of ciphertext."""
        filled = 0
        try:
            while self._incoming.pending >= least and not self._ended:
                count = cast("int", self._session.read(DECRYPT, target[filled:]))
                filled += count
                self._ended = not count
        except ssl.SSLWantReadError:
            pass  # the rest of a record is still to come
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            self._ended = True
        return filled

    def _flush(self, descriptor: int) -> bool:
        """Writes what is encrypted; False when the socket does not take all of it."""
        self._collect()
        if self._unsent:
            try:
                written = os.write(descriptor, self._unsent)
            except BlockingIOError:
                return False
            self._unsent = memoryview(self._unsent)[written:] if written < len(self._unsent) else b""
        return not self._unsent
