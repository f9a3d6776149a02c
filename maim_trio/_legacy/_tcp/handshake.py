"""How a connection of the TCP mode begins: both public keys, then the client's registration. Nothing answers that.

The counterpart of `maim_trio._transport.handshake`.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio

from maim_trio._legacy._tcp.crypto import Cipher, KeyPair
from maim_trio._legacy._tcp.framing import (
    DATA,
    HEAD_SIZE,
    data_head,
    handshake_frame,
    parse_handshake_head,
    parse_head,
)
from maim_trio._legacy._tcp.link import IDLE_TIMEOUT, TcpLink
from maim_trio._legacy._tcp.registration import Registration, decode_registration, encode_registration
from maim_trio._transport.frames import PROTOCOL_ERROR, Violation
from maim_trio._transport.handshake import HandshakeFailed
from maim_trio._transport.pipe import LOST, Pipe, peer_of

if TYPE_CHECKING:
    from maim_trio._transport.flusher import Flusher
    from maim_trio._transport.limits import Limits

__all__ = ["HandshakeFailed", "Registration", "RegistrationRefused", "accept_tcp", "open_tcp"]

Decide = Callable[[Registration], Awaitable[bool]]
Report = Callable[[str], None]

PARTING_TIMEOUT = 2.0
"""Seconds that TCP may take to end after a handshake that came to nothing."""
REFUSAL_WAIT = 0.5
"""Seconds in which the server of 0.6.8, which has no word for it either, ends the connection of whom it refuses."""


class RegistrationRefused(HandshakeFailed):
    """The server has ended the connection when it had seen platform and token."""


def _silent(_: str) -> None:
    """The default of `report`."""


async def accept_tcp(
    stream: trio.abc.Stream,
    decide: Decide,
    limits: Limits,
    *,
    flusher: Flusher | None = None,
    idle_timeout: float = IDLE_TIMEOUT,
    report: Report = _silent,
) -> TcpLink | None:
    """The server's link over a stream, once `decide` has let the client's registration in.

    Keys and registration together have `limits.handshake_timeout` seconds, and the registration `limits.max_head`
    bytes; how long `decide` takes is bounded by the caller.

    None: refused or failed, and the stream is closed; nobody is told why, for the protocol has no words for that.
    `report` has then been called with one short reason, unless it was `decide` that refused. What `decide` raises
    propagates. Cancelled: the stream is closed.
    """
    pipe = Pipe(stream)
    hearing = _Hearing(pipe, limits, peer_of(stream))
    link = None
    try:
        failure = await hearing.hear()
        if failure:
            report(failure)
        elif hearing.cipher is not None and await decide(hearing.registration):
            link = TcpLink(
                pipe,
                hearing.cipher,
                client=False,
                limits=limits,
                glued=hearing.glued,
                flusher=flusher,
                remote=hearing.remote,
                idle_timeout=idle_timeout,
            )
            link.greet()
        if link is None:
            await _part(pipe)
    finally:
        if link is None:
            await pipe.kill()
    return link


async def open_tcp(
    stream: trio.abc.Stream,
    platform: str,
    token: str | None,
    limits: Limits,
    *,
    flusher: Flusher | None = None,
    idle_timeout: float = IDLE_TIMEOUT,
) -> TcpLink:
    """The client's link over a connected stream.

    A server that refuses the registration just ends the connection. One that does not has either said something since,
    as ours does at once, or is still there after half a second. Takes at most `limits.handshake_timeout` seconds.
    Raises RegistrationRefused or another HandshakeFailed; `ValueError` for a platform or token that cannot be written.
    When it fails or is cancelled the stream is closed.
    """
    pipe, remote = Pipe(stream), peer_of(stream)
    link = None
    try:
        registration = encode_registration(platform, token)
        cipher, glued = await _introduce(pipe, registration, limits.handshake_timeout)
        link = TcpLink(
            pipe,
            cipher,
            client=True,
            limits=limits,
            glued=glued,
            flusher=flusher,
            remote=remote,
            idle_timeout=idle_timeout,
        )
        return link
    finally:
        if link is None:
            await pipe.kill()


class _Hearing:
    """What a server hears of a client before it decides."""

    def __init__(self, pipe: Pipe, limits: Limits, remote: tuple[str, str]) -> None:
        self.remote = remote
        self.registration = Registration("")
        self.cipher: Cipher | None = None
        self._frames = _FirstFrames(pipe)
        self._limits = limits

    @property
    def glued(self) -> bytes:
        """What came in one segment with the registration."""
        return bytes(self._frames.buffer)

    async def hear(self) -> str:
        """Why there is nothing to decide; "" when there is."""
        with trio.move_on_after(self._limits.handshake_timeout):
            try:
                await self._hear()
            except Violation as violation:
                return violation.reason
            except LOST:
                return "connection lost during the handshake"
            return ""
        return f"no complete handshake within {self._limits.handshake_timeout:g} s"

    async def _hear(self) -> None:
        keys = KeyPair()
        cipher = keys.agree(await self._frames.public_key())
        await self._frames.pipe.write_all(handshake_frame(keys.public), math.inf)
        message = cipher.open(await self._frames.data(self._limits.max_head))
        self.registration = decode_registration(message, self.remote)
        self.cipher = cipher


async def _introduce(pipe: Pipe, registration: bytes, timeout: float) -> tuple[Cipher, bytes]:
    """(what to encrypt with, what the server has said since). Raises HandshakeFailed."""
    with trio.move_on_after(timeout):
        try:
            keys, frames = KeyPair(), _FirstFrames(pipe)
            await pipe.write_all(handshake_frame(keys.public), math.inf)
            cipher = keys.agree(await frames.public_key())
            await pipe.write_all(data_head(len(registration)) + b"".join(cipher.seal(registration)), math.inf)
            return cipher, await frames.first_words()
        except Violation as violation:
            raise HandshakeFailed(0, violation.reason) from None
        except LOST:
            raise HandshakeFailed(0, "connection lost during the handshake") from None
    raise HandshakeFailed(0, f"no answer within {timeout:g} s")


class _FirstFrames:
    """The first frames of a connection, one by one, each of them of the kind that is due. Raises Violation."""

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self.buffer = bytearray()

    async def public_key(self) -> bytes:
        await self._read(HEAD_SIZE)
        return await self._payload(parse_handshake_head(self.buffer))

    async def data(self, max_message: int) -> bytes:
        await self._read(HEAD_SIZE)
        length, kind = parse_head(self.buffer, 0, max_message)
        if kind != DATA:
            raise Violation(PROTOCOL_ERROR, "a heartbeat instead of the registration")
        return await self._payload(length)

    async def first_words(self) -> bytes:
        """What the server says to a client that it has let in; it may be silent. Raises RegistrationRefused."""
        with trio.move_on_after(REFUSAL_WAIT):
            while not self.buffer:
                data = await self.pipe.read()
                if not data:
                    raise RegistrationRefused(0, "")
                self.buffer += data
        return bytes(self.buffer)

    async def _payload(self, length: int) -> bytes:
        await self._read(length)
        payload = bytes(self.buffer[HEAD_SIZE:length])
        del self.buffer[:length]
        return payload

    async def _read(self, size: int) -> None:
        """Until so many bytes are there."""
        while len(self.buffer) < size:
            data = await self.pipe.read()
            if not data:
                raise Violation(PROTOCOL_ERROR, "connection closed during the handshake")
            self.buffer += data


async def _part(pipe: Pipe) -> None:
    """Ends TCP such that the peer sees an end and no reset."""
    with trio.move_on_after(PARTING_TIMEOUT), contextlib.suppress(*LOST):
        await pipe.finish()
        await pipe.aclose()
