"""The opening handshake of both sides, performed by trio-websocket through a stream that never touches the socket.

trio-websocket sees a `_Tap`: the bytes we show it, and a place where its answer collects. Reading, writing, limits,
deadlines and the end of TCP are ours. The only module that imports trio_websocket.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import trio

from . import exchange, heads
from .at_once import at_once
from .heads import Accept, BadHead, HandshakeFailed, Refuse, Request
from .interrupts import protected, uninterrupted
from .link import Link
from .pipe import LOST, Pipe, peer_of
from .tls import is_lasting

if TYPE_CHECKING:
    import trio_websocket

    from .flusher import Flusher
    from .limits import Limits

__all__ = ["Accept", "HandshakeFailed", "Refuse", "Request", "accept_link", "load_library", "open_link"]

Decide = Callable[[Request], Awaitable[Accept | Refuse]]
Report = Callable[[str], None]
Waiting = Callable[[], contextlib.AbstractContextManager[object]]

_INTERNAL_ERROR = Refuse(500, {"error": "internal error", "code": "internal_error"})
_NO_UPGRADE = Refuse(
    426, {"error": "a WebSocket is needed here", "code": "upgrade_required"}, [(b"Upgrade", b"websocket")]
)


def load_library() -> None:
    """Loads trio-websocket now, so that the first handshake need not wait for it.

    With what it imports it takes as long to load as all of this package, and importing a client must be quick.
    """
    import trio_websocket  # noqa: F401


class _Tap(trio.abc.Stream):
    """What trio-websocket takes for the connection: it reads what it is shown; what it writes collects in `sent`."""

    def __init__(self, shown: bytes = b"") -> None:
        self.sent = bytearray()
        self.read_all = False
        """It has asked for more than it was shown."""
        self._shown = shown

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        data, self._shown = self._shown, b""
        if not data:
            self.read_all = True
            await trio.sleep_forever()
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += data

    async def wait_send_all_might_not_block(self) -> None:
        """At any time."""

    async def aclose(self) -> None:
        """Nothing to close."""


# -- server


def _silent(_: str) -> None:
    """The default of `report`."""


async def accept_link(
    stream: trio.abc.Stream,
    decide: Decide,
    limits: Limits,
    *,
    flusher: Flusher | None = None,
    report: Report = _silent,
    remote: tuple[str, str] | None = None,
    waiting: Waiting = contextlib.nullcontext,
) -> Link | None:
    """The opening handshake of one server connection, over TCP, TLS or any other stream (RFC 6455 §4.2).

    `decide` is asked for every well-formed request, plain HTTP too (`is_upgrade` is False then), before anything is
    answered; an upgrade that breaks RFC 6455 is refused without asking. How long `decide` takes is bounded by the
    caller; reading the head, and writing the answer, each have `limits.handshake_timeout`. `remote` is `peer_of` the
    stream, where the caller knows it. `waiting` is entered while a request has to be waited for; a scope that is
    cancelled there ends the handshake without a word.

    None: refused or failed, the last words delivered and the stream closed. `report` has then been called with one
    short reason, unless it was `decide` that refused. What `decide` raises propagates after a 500. Cancelled: the
    stream is closed.
    """
    pipe = Pipe(stream)
    remote = peer_of(stream) if remote is None else remote
    link = None
    try:
        try:
            heard = await _hear(pipe, limits, remote, waiting)
        except exchange.CutShort:
            return None
        except _OF_PEER as error:
            report(_reason(error))
            return None
        answer = await _ask(pipe, decide, heard.request)
        try:
            if await _answer(pipe, heard, answer, limits.handshake_timeout):
                pipe.take_over()
                link = Link(pipe, client=False, limits=limits, glued=heard.glued, flusher=flusher, remote=remote)
        except _OF_PEER as error:
            report(_reason(error))
        return link
    finally:
        if link is None:
            await pipe.kill()


_OF_PEER = (BadHead, *LOST, trio.TooSlowError)
"""What a peer can do to a handshake."""


def _reason(error: Exception) -> str:
    if isinstance(error, BadHead):
        return error.reason
    return "peer does not read" if isinstance(error, trio.TooSlowError) else exchange.explain(error)


class _Heard(NamedTuple):
    """A request before its answer; `proposal` is trio-websocket's side of it, None for plain HTTP."""

    request: Request
    proposal: trio_websocket.WebSocketRequest | None
    tap: _Tap | None
    glued: bytes


async def _hear(pipe: Pipe, limits: Limits, remote: tuple[str, str], waiting: Waiting) -> _Heard:
    try:
        head, glued = await exchange.read_head(pipe, limits.max_head, limits.handshake_timeout, waiting=waiting)
        request = heads.parse_request(head, *remote)
        if not request.is_upgrade:
            return _Heard(request, None, None, glued)
        return _Heard(request, *await _propose(request), glued)
    except BadHead as bad:
        if bad.status:
            await exchange.refuse(pipe, exchange.refusal_of(bad))
        raise
    except LOST as error:
        await exchange.tell_why_tls_failed(pipe.stream, error)
        raise


async def _ask(pipe: Pipe, decide: Decide, request: Request) -> Accept | Refuse:
    try:
        return await decide(request)
    except Exception:
        await exchange.refuse(pipe, _INTERNAL_ERROR)
        raise


async def _answer(pipe: Pipe, heard: _Heard, answer: Accept | Refuse, timeout: float) -> bool:
    """Whether the connection has become a WebSocket."""
    if isinstance(answer, Accept) and heard.proposal is not None and heard.tap is not None:
        await at_once(heard.proposal.accept(extra_headers=[*answer.headers]))
        await pipe.write_all(bytes(heard.tap.sent), timeout)
        return True
    refusal = _NO_UPGRADE if isinstance(answer, Accept) else answer
    await exchange.refuse(pipe, refusal, body=heard.request.method != "HEAD")
    return False


async def _propose(request: Request) -> tuple[trio_websocket.WebSocketRequest, _Tap]:
    """Has trio-websocket take the request, without answering it yet. Raises BadHead."""
    import trio_websocket

    heads.check_upgrade(request)
    head = heads.handshake_head(request)
    tap = _Tap(head)
    try:
        return await at_once(trio_websocket.wrap_server_stream(cast("trio.Nursery", _NoNursery(tap)), tap)), tap
    except _NeedsNursery:
        return await _propose_in_nursery(head)


class _NeedsNursery(Exception):
    """trio-websocket's reader has to wait for something."""


class _NoNursery:
    """What trio-websocket takes for a nursery: its reader runs here and now, until it waits for the first time.

    With a proper request before it, that is when it has taken that and wants more; it has done all it is needed for
    then. A task for it would cost more than all the rest of the handshake.
    """

    def __init__(self, tap: _Tap) -> None:
        self._tap = tap

    def start_soon(self, reader: Callable[[], Coroutine[Any, None, None]]) -> None:
        reading = reader()
        with contextlib.suppress(StopIteration):
            reading.send(None)
        try:
            reading.close()
        except RuntimeError:  # its clean-up waits, too
            reading.close()
        if not self._tap.read_all:
            raise _NeedsNursery


async def _propose_in_nursery(head: bytes) -> tuple[trio_websocket.WebSocketRequest, _Tap]:
    """The same for a request that trio-websocket refuses, or fails at: it finds the words, and waits meanwhile.

    Its reader raises whatever a bad header makes its libraries raise, and would never return from a request that it has
    refused.
    """
    import trio_websocket

    proposal: trio_websocket.WebSocketRequest | None = None
    reason = "malformed WebSocket handshake"
    try:
        async with trio.open_nursery() as nursery:
            tap = _GuardedTap(head, nursery.cancel_scope)
            proposal = await trio_websocket.wrap_server_stream(nursery, tap)
            nursery.cancel_scope.cancel()
    except* Exception as group:
        proposal = None
        reason += f" ({type(group.exceptions[0]).__name__})"  # its text could hold what was sent
    if proposal is None:
        if tap.sent[9:12] == b"426":
            raise BadHead(426, "unsupported WebSocket version")
        raise BadHead(400, reason)
    return proposal, tap


class _GuardedTap(_Tap):
    """Giving up ends the nursery that trio-websocket runs in."""

    def __init__(self, shown: bytes, scope: trio.CancelScope) -> None:
        super().__init__(shown)
        self._scope = scope

    async def aclose(self) -> None:
        self._scope.cancel()


# -- client


async def open_link(
    stream: trio.abc.Stream,
    *,
    host: str,
    target: str,
    headers: Sequence[tuple[bytes, bytes]] = (),
    limits: Limits,
    flusher: Flusher | None = None,
) -> Link:
    """The client's link over a connected stream: TCP, TLS or any other (RFC 6455 §4.1).

    `host` is what the Host header says (with the port, where it is not the usual one), `target` path and query,
    `headers` further headers. Takes at most `limits.handshake_timeout`, and 2 seconds more for the body of a refusal.
    Raises HandshakeFailed; `ValueError` for a host, target or header that cannot be written. When it fails or is
    cancelled the stream is closed.
    """
    pipe = Pipe(stream)
    remote = peer_of(stream)
    link = None
    try:
        heads.check_target(target)
        heads.check_headers(headers)
        host.encode("idna")
        dialogue = _Dialogue(pipe, limits)
        await dialogue.perform(host, target, headers)
        pipe.take_over()
        link = Link(
            pipe,
            client=True,
            limits=limits,
            glued=dialogue.glued,
            flusher=flusher,
            remote=remote,
            response_headers=dialogue.response_headers,
        )
        return link
    finally:
        if link is None:
            await pipe.kill()


@uninterrupted
class _Dialogue(_Tap):
    """The client's request and the server's answer: on the wire ours, in memory trio-websocket's.

    Its reader has the request written and waits for the answer; that is the exchange on the wire.
    """

    def __init__(self, pipe: Pipe, limits: Limits) -> None:
        super().__init__()
        self.glued = b""
        self.response_headers: dict[str, str] = {}
        self._pipe = pipe
        self._limits = limits
        self._failure: HandshakeFailed | None = None

    async def perform(self, host: str, target: str, headers: Sequence[tuple[bytes, bytes]]) -> None:
        import trio_websocket

        opened = False
        tap = cast("trio.SocketStream", self)  # typed too narrowly: any stream will do
        tasks = cast("trio.Nursery", self)
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                await trio_websocket.wrap_client_stream(tasks, tap, host, target, extra_headers=[*headers])
                opened = True
                nursery.cancel_scope.cancel()  # its reader has done its work
        except* Exception:  # whatever its libraries raise for a wrong accept token or an extension nobody asked for
            opened = False
        if self._failure is not None:
            raise self._failure
        if not opened:
            raise HandshakeFailed(0, "the answer is not a valid WebSocket handshake")

    def start_soon(self, reader: Callable[[], Coroutine[Any, None, None]]) -> None:
        """trio-websocket's reader is begun."""
        self._nursery.start_soon(_read, reader)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if not self.read_all:
            self.read_all = True
            try:
                return await self._converse()
            except HandshakeFailed as failure:
                self._failure = failure
            except BadHead as bad:
                self._failure = HandshakeFailed(0, bad.reason, no_http=True)
            except LOST as error:
                lasting = is_lasting(error.__cause__)
                self._failure = HandshakeFailed(0, exchange.explain(error), no_http=True, lasting=lasting)
                await exchange.tell_why_tls_failed(self._pipe.stream, error)
            self._nursery.cancel_scope.cancel()
        await trio.sleep_forever()
        raise AssertionError

    async def _converse(self) -> bytes:
        """The head of the answer, a 101."""
        timeout = self._limits.handshake_timeout
        head = b""
        with trio.move_on_after(timeout):
            await self._pipe.write_all(bytes(self.sent), timeout=math.inf)
            head, self.glued = await exchange.read_head(self._pipe, self._limits.max_head, math.inf, heads.check_answer)
        if not head:
            raise HandshakeFailed(0, f"no answer within {timeout:g} s")
        response = heads.parse_response(head)
        if response.status != 101:
            body = await exchange.read_body(self._pipe, response, self.glued)
            raise HandshakeFailed(
                response.status, f"refused with HTTP status {response.status}", body, response.headers
            )
        self.response_headers = response.headers
        return head

    async def aclose(self) -> None:
        self._nursery.cancel_scope.cancel()


@protected
async def _read(reader: Callable[[], Coroutine[Any, None, None]]) -> None:
    await reader()
