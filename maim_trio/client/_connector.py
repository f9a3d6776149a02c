"""Keeping one connection to a server: dial, serve, back off, give up.

One task (`Connector.pursue`) makes all attempts; `connect`, `disconnect` and `wait_connected` only say what is wanted
and wait for what comes of it.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import msgspec
import trio

from maim_trio._delivery.backoff import Backoff
from maim_trio._transport.interrupts import uninterrupted
from maim_trio._wire import close
from maim_trio._wire.close import Verdict, after_close
from maim_trio.client._dial import dial, without_key
from maim_trio.errors import NotConnected

if TYPE_CHECKING:
    from collections.abc import Callable

    from maim_trio._runtime.connection import Connection
    from maim_trio._transport.limits import Closed, Limits
    from maim_trio._transport.link import Link
    from maim_trio.client._core import ClientCore

EARLY_CLOSE = 0.5
"""Seconds to wait for the close of a server that accepts first and authenticates later (maim_message's does)."""


class _Served:
    """A link that is being served. It counts as connected once the server is known to have accepted the key."""

    __slots__ = ("connection", "counts", "ended", "outdated")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.counts = False
        self.outdated = False  # another one, or none, is wanted instead of it
        self.ended = trio.Event()


@uninterrupted
class Connector:
    """The state of a client's connection. `given_up` says why there will be none any more, None while there may be."""

    def __init__(self, client: ClientCore) -> None:
        self._served: _Served | None = None
        self.given_up: str | None = None
        self.last_error: str | None = None
        self.last_error_at = 0.0
        self._client = client
        self._wanted = False
        self._meant = False  # the user has disconnected or stopped it
        self._waiting = 0  # calls of connect() that wait for an outcome
        self._changed = trio.Event()
        self._hurried = trio.Event()
        self._pursuit = trio.CancelScope()
        self._unwaited_failures = 0
        self._failed_attempts = 0
        self._lasting_failures = 0

    # -- what callers want

    def want(self) -> None:
        """From here on a connection is wanted; an earlier giving up is forgotten."""
        if not self._wanted:
            self._wanted, self.given_up = True, None
            self._client.wanted()
            self.change()

    def hurry(self) -> None:
        """The next attempt is made now, unless the server has asked for time or somebody waits for it already."""
        if not self._waiting:
            self._hurried.set()

    def unwant(self, reason: str, *, meant: bool = False) -> None:
        """No attempt is made any more, whatever is under way. `meant`: because the user has said so."""
        self._wanted, self.given_up, self._meant = False, reason, meant
        self._pursuit.cancel()
        if self._served is not None and not self._served.counts:
            self._served.outdated = True
        self._client.gave_up(reason)
        self.change()

    def renew(self) -> Connection | None:
        """Where a connection is wanted, it is made anew, by what the configuration says now. The one there is does not
        count from here on and is returned: the caller closes it."""
        if not self._wanted:
            return None
        self._pursuit.cancel()
        self.change()
        if self._served is None:
            return None
        self._served.outdated = True
        return self._served.connection

    @property
    def idle(self) -> bool:
        """Neither connected nor trying to be."""
        return not self._wanted

    @property
    def connection(self) -> Connection | None:
        """The connection, from when it counts as one until it begins to end."""
        served = self._served
        if served is None or not served.counts or served.outdated or served.connection.link.closed is not None:
            return None
        return served.connection

    def note(self, error: str) -> None:
        """Remembers what went wrong. `error` must not hold a secret."""
        self.last_error = error
        self.last_error_at = trio.current_time()

    async def wait_outcome(self) -> bool:
        """True once connected, False once given up."""
        while self.connection is None and self.given_up is None:
            await self._changed.wait()
        return self.connection is not None

    async def wait_stopped(self) -> None:
        """Returns when the client begins to stop; raises NotConnected when it has given up by itself."""
        while not self._client.stopping:
            if self.given_up is not None and not self._meant:
                raise NotConnected(f"the client has given up: {self.given_up}")
            await self._changed.wait()

    async def try_on(self) -> bool:
        """Like `wait_outcome`, and as long as somebody waits here passing trouble is no reason to give up. False also
        when an attempt has failed for what will not pass by itself."""
        self._waiting += 1
        failures = self._lasting_failures
        try:
            while self.connection is None and self.given_up is None and self._lasting_failures == failures:
                await self._changed.wait()
            return self.connection is not None
        finally:
            self._waiting -= 1

    async def wait_attempt(self) -> bool:
        """True once connected, False as soon as an attempt has failed or there will be none."""
        failed = self._failed_attempts
        while self.connection is None and self.given_up is None and self._failed_attempts == failed:
            await self._changed.wait()
        return self.connection is not None

    async def close(self, code: int, reason: str) -> None:
        """Closes the link there is, also one that does not count as connected yet; returns when its end is told."""
        served = self._served
        if served is not None:
            await served.connection.aclose(code, reason)
            await served.ended.wait()

    def close_slow(self) -> None:
        """Ends a link whose other side does not keep up; a new one is tried."""
        if self._served is not None:
            self._served.connection.link.abort("the server does not keep up")

    def change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    # -- the task that makes the attempts

    async def pursue(self, links: trio.Nursery, limits: Callable[[], Limits]) -> None:
        """Connects whenever a connection is wanted, until it is cancelled. Links are served in `links`."""
        while True:
            while not self._wanted or self._served is not None:
                await self._changed.wait()
            with trio.CancelScope() as self._pursuit:
                await self._keep_connected(links, limits)

    async def _keep_connected(self, links: trio.Nursery, limits: Callable[[], Limits]) -> None:
        config = self._client.config
        backoff = Backoff(config.reconnect_delay, config.max_reconnect_delay, reset_after=config.reconnect_reset_after)
        self._unwaited_failures = 0
        while self._wanted:
            waited = self._waiting > 0
            verdict, connected_for = await self._attempt(links, limits())
            if connected_for is not None and backoff.lived(connected_for):
                self._unwaited_failures = 0
            elif not waited:
                self._unwaited_failures += 1
            self.note(verdict.reason)
            self._failed_attempts += 1
            self._lasting_failures += verdict.lasting
            self.change()
            reason = self._reason_to_give_up(verdict)
            if reason is not None:
                self._client.log.connection("giving up: %s", reason)
                self.unwant(reason)
                return
            at_least = max(verdict.at_least, config.reconnect_delay if verdict.whole_delay else 0.0)
            delay = backoff.next_delay(random.random(), at_least=at_least)  # noqa: S311 - jitter, no secret
            self._client.log.debug("next attempt in %.2f s: %s", delay, verdict.reason)
            await self._pause(delay, at_least)
            self._client.stats.reconnect_attempts += 1

    async def _pause(self, delay: float, at_least: float) -> None:
        await trio.sleep(at_least)
        self._hurried = trio.Event()
        with trio.move_on_after(delay - at_least):
            await self._hurried.wait()

    def _reason_to_give_up(self, verdict: Verdict) -> str | None:
        config = self._client.config
        if not verdict.reconnect:
            return verdict.reason
        if self._waiting:
            return None  # connect() tries on until its own timeout
        if not config.auto_reconnect:
            return f"{verdict.reason}; auto_reconnect is off"
        limit = config.max_reconnect_attempts
        if limit and self._unwaited_failures >= limit:
            return f"{verdict.reason}; given up after {limit} attempts to reconnect"
        return None

    async def _attempt(self, links: trio.Nursery, limits: Limits) -> tuple[Verdict, float | None]:
        """One attempt; with success it lasts as long as the connection. Returns how long that was, or None."""
        client = self._client
        await client.hooks_called()
        client.stats.connect_attempts += 1
        result = await dial(client.config, client.claim_uuid(), limits, client.open_stream)
        if isinstance(result, Verdict):
            return self._failed(result), None
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
        except trio.Cancelled:  # given up in the very moment the handshake was through
            await result.aclose(close.GOING_AWAY)
            raise
        return await self._serve(links, result)

    def _failed(self, verdict: Verdict) -> Verdict:
        client = self._client
        client.stats.failed_connects += 1
        client.stats.failed(verdict.reason)
        client.log.connection("could not connect to %s: %s", client.shown_url, verdict.reason)
        return verdict

    async def _serve(self, links: trio.Nursery, link: Link) -> tuple[Verdict, float | None]:
        """Has the link served in a task of its own, which is not cancelled with the attempts: what is queued still
        leaves then."""
        started = trio.current_time()
        served = self._served = _Served(self._client.make_connection(link))
        links.start_soon(self._run, served, name="connection")
        await served.ended.wait()
        verdict = self._verdict(link.closed)
        if served.counts:
            return verdict, trio.current_time() - started
        return self._failed(verdict), None

    def _verdict(self, closed: Closed | None) -> Verdict:
        if closed is None:
            return after_close(close.ABNORMAL)
        verdict = after_close(closed.code, without_key(closed.reason, self._client.config))
        if closed.by_peer or closed.code == close.ABNORMAL:
            return verdict
        return msgspec.structs.replace(
            verdict, reason=f"this client closed the connection (close {closed.code}): {closed.reason}"
        )

    async def _run(self, served: _Served) -> None:
        connection = served.connection
        try:
            async with trio.open_nursery() as nursery:
                connection.start(nursery)
                if "x-maim-protocol" in connection.link.response_headers:
                    self._count(served)
                else:
                    nursery.start_soon(self._watch_for_early_close, served, name="early close")
                await connection.run()
                nursery.cancel_scope.cancel()
        finally:
            self._served = None
            self._client.link_lost(connection)
            if served.counts:
                verdict, closed = self._verdict(connection.link.closed), connection.link.closed
                if closed is None or closed.by_peer or closed.code == close.ABNORMAL:
                    self._client.stats.failed(verdict.reason)  # where this side has found something, that is counted
                meant = closed is not None and not closed.by_peer and closed.code in (close.NORMAL, close.GOING_AWAY)
                self._client.on_lost(connection, None if meant else verdict.reason)
            served.ended.set()
            self.change()

    async def _watch_for_early_close(self, served: _Served) -> None:
        await trio.sleep(EARLY_CLOSE)
        if served.outdated:
            await served.connection.aclose(close.GOING_AWAY, "not wanted any more")
        elif served.connection.link.closed is None:
            self._count(served)

    def _count(self, served: _Served) -> None:
        """From here on the client is connected."""
        served.counts, self.last_error = True, None
        self._client.stats.successful_connects += 1
        self._client.stats.total_connections += 1
        self.change()
        self._client.on_connected(served.connection)
