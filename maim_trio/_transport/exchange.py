"""HTTP on a pipe: reading heads and the bodies of refusals, writing refusals so that they arrive."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING

import trio

from . import heads, tls
from .heads import BadHead, Refuse
from .pipe import LOST, Pipe

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from .heads import Response

__all__ = [
    "LOST_IN_HANDSHAKE",
    "CutShort",
    "explain",
    "read_body",
    "read_head",
    "refusal_of",
    "refuse",
    "tell_why_tls_failed",
]

Check = Callable[[bytearray], None]

LAST_WORDS_TIMEOUT = 2.0
"""Seconds a refusal may take to be written and TCP to end; also how long the client waits for the body of one."""
LOST_IN_HANDSHAKE = "connection lost during the handshake"
MAX_REFUSAL_BODY = 64 * 1024
"""Bytes of a refusal's body the client keeps: enough for any message, and a bound for an endless one."""

_TLS_WANTED = Refuse(400, {"error": "this port speaks TLS: the url must begin with wss://", "code": "tls_required"})

_BAD_VERSION = Refuse(
    426,
    {"error": "WebSocket version 13 is needed here", "code": "unsupported_version"},
    [(b"Upgrade", b"websocket"), (b"Sec-WebSocket-Version", b"13")],
)


class CutShort(BadHead):
    """Whoever waits for the head was told not to."""


async def read_head(
    pipe: Pipe,
    max_head: int,
    timeout: float,
    check: Check = heads.check_start,
    waiting: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> tuple[bytes, bytes]:
    """(the head with its blank line, what came glued to it). Raises BadHead when it is bad, too long or too late.
    `check` raises it as soon as it can be seen that no head will come.

    `waiting` is entered only if it has to be waited for; where that swallows a cancellation, CutShort is raised.
    """
    buffer = bytearray()
    if pipe.direct and (found := pipe.read_nowait(max_head)):  # most requests are there when their connection is
        buffer += found
        check(buffer)
    end = heads.find_end(buffer)
    if end < 0 and len(buffer) <= max_head:
        with waiting():
            end = await _read_on(pipe, buffer, max_head, timeout, check)
        if end < 0 and len(buffer) <= max_head:
            raise CutShort(0, "cut short")
    if not 0 < end <= max_head:
        raise BadHead(431, f"head over {max_head} bytes")
    return bytes(buffer[:end]), bytes(buffer[end:])


async def _read_on(pipe: Pipe, buffer: bytearray, max_head: int, timeout: float, check: Check) -> int:
    """Reads until a head is complete or too long; returns where it ends, -1 when it is too long."""
    end = -1
    with trio.move_on_after(timeout):
        while end < 0 and len(buffer) <= max_head:
            start = max(0, len(buffer) - 2)
            data = await pipe.read(max_head)
            if not data:
                raise BadHead(0, "connection closed during the handshake")
            buffer += data
            check(buffer)
            end = heads.find_end(buffer, start)
        return end
    raise BadHead(408 if buffer else 0, f"no complete head within {timeout:g} s")


async def read_body(pipe: Pipe, response: Response, begun: bytes) -> bytes:
    """The body of a refusal, as far as it comes in time. trio-websocket loses one without length and bounds none."""
    if response.status < 200 or response.status in (204, 304):
        return b""
    chunked = "chunked" in response.headers.get("transfer-encoding", "").lower()
    announced = None if chunked else heads.body_size(response)
    limit = MAX_REFUSAL_BODY if announced is None else min(announced, MAX_REFUSAL_BODY)
    body = bytearray(begun)
    with trio.move_on_after(LAST_WORDS_TIMEOUT), contextlib.suppress(*LOST):
        while len(body) < limit and not (chunked and body.endswith(b"\r\n\r\n") and heads.dechunk(body)[1]):
            data = await pipe.read()
            if not data:
                break
            body += data
    return heads.dechunk(body)[0] if chunked else bytes(body[:limit])


def refusal_of(bad: BadHead) -> Refuse:
    if bad.status == 426:
        return _BAD_VERSION
    return Refuse(bad.status, {"error": bad.reason, "code": "bad_request"})


async def refuse(pipe: Pipe, refusal: Refuse, *, body: bool = True) -> None:
    """Writes the refusal and ends TCP such that it arrives."""
    with trio.move_on_after(LAST_WORDS_TIMEOUT), contextlib.suppress(*LOST):
        await pipe.write_all(refusal.encoded(body=body), LAST_WORDS_TIMEOUT)
        await pipe.finish()
        await pipe.aclose()


async def tell_why_tls_failed(stream: trio.abc.Stream, error: Exception) -> None:
    """Tells the peer of a TLS handshake that failed what is wrong: by OpenSSL's alert, or in plain HTTP if that is what
    it speaks. Does nothing for a stream that broke for another reason."""
    if not isinstance(stream, trio.SSLStream) or not isinstance(error.__cause__, ssl.SSLError):
        return
    pipe, alert = Pipe(stream.transport_stream), tls.unsent_alert(stream)
    if tls.speaks_plain_http(error):
        await refuse(pipe, _TLS_WANTED)
    elif alert:
        with trio.move_on_after(LAST_WORDS_TIMEOUT), contextlib.suppress(*LOST, trio.TooSlowError):
            await pipe.write_all(alert, LAST_WORDS_TIMEOUT)
            await pipe.finish()


def explain(error: Exception) -> str:
    """Why a stream broke during the handshake, in words that show nothing of what was sent."""
    cause = error.__cause__
    return tls.explain(cause) if isinstance(cause, ssl.SSLError) else LOST_IN_HANDSHAKE
