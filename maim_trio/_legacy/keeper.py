"""Keeping the connection of one legacy client: dial, serve, back off, for as long as it runs.

One task (`Keeper.pursue`) makes all attempts; `connect` only says where to and waits for what comes of it.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import trio

from maim_trio._legacy.connection import LegacyConnection
from maim_trio._legacy.dial import Dialled, Target, dial
from maim_trio._legacy.lanes import INBOX_BYTES
from maim_trio._legacy.pace import RIVALRY_SAID, Ending, Pace, after_end
from maim_trio._runtime.dispatch import Lane
from maim_trio._runtime.log import without
from maim_trio._transport.interrupts import uninterrupted
from maim_trio._wire import close

if TYPE_CHECKING:
    from maim_trio._legacy.connection import Received
    from maim_trio._legacy.core import ClientCore

EARLY_CLOSE = 0.5
"""Seconds to wait for the close of a server that accepts first and looks at the token later (maim_message's does)."""


class _Served:
    """A link that is being served. It counts as connected once the server is known to have let us in."""

    __slots__ = ("connection", "counts", "ended", "outdated", "started_at", "target")

    def __init__(self, connection: LegacyConnection, target: Target) -> None:
        self.connection = connection
        self.target = target
        self.counts = False
        self.outdated = False  # another server is wanted instead
        self.ended = trio.Event()
        self.started_at = trio.current_time()


@uninterrupted
class Keeper:
    """The state of a client's connection. `target` None: nobody has said where to connect to."""

    def __init__(self, client: ClientCore) -> None:
        self.target: Target | None = None
        self.last_error: str | None = None
        self._client = client
        self._lane: Lane[Received] = Lane(client.config.inbox_size, INBOX_BYTES)
        self._served: _Served | None = None
        self._refusals = 0
        self._said: str | None = None  # the refusal that the log has named
        self._hurried = trio.Event()
        self._pursuit = trio.CancelScope()
        self._changed = trio.Event()

    @property
    def connection(self) -> LegacyConnection | None:
        """The connection, from when it counts as one until it begins to end."""
        served = self._served
        if served is None or not served.counts or served.outdated or served.connection.link.closed is not None:
            return None
        return served.connection

    def aim(self, target: Target) -> LegacyConnection | None:
        """From here on this is the server. Where it is another one, the connection that there is does not count any
        more and is returned: the caller closes it."""
        self._hurried.set()
        if target == self.target:
            return None
        self.target = target
        self._pursuit.cancel()
        self._change()
        if self._served is None:
            return None
        self._served.outdated = True
        return self._served.connection

    async def wait_outcome(self) -> bool:
        """True once connected, False as soon as the server has refused, or cannot be had as things are."""
        refusals = self._refusals
        while self.connection is None and self._refusals == refusals:
            await self._changed.wait()
        return self.connection is not None

    async def close(self) -> None:
        """Closes the link there is; returns when its end is told."""
        served = self._served
        if served is not None:
            await served.connection.aclose(close.NORMAL, "")
            await served.ended.wait()

    def count_now(self) -> None:
        """The client stops: what is to be sent goes out now or never, also to a server that has not let us in yet."""
        if self._served is not None and not self._served.outdated:
            self._count(self._served)

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    # -- the task that makes the attempts

    async def pursue(self, links: trio.Nursery) -> None:
        """Connects as soon as it is known where to, until it is cancelled. Links are served in `links`."""
        while True:
            while self.target is None or self._served is not None:
                await self._changed.wait()
            with trio.CancelScope() as self._pursuit:
                await self._keep_connected(links, self.target)

    async def _keep_connected(self, links: trio.Nursery, target: Target) -> None:
        pace, self._said = Pace(self._client.config), None
        while True:
            ending, lived = await self._attempt(links, target)
            self.last_error = ending.reason
            delay = pace.next_delay(ending, lived, random.random())  # noqa: S311 - jitter, no secret
            self._tell(ending, pace, target)
            self._client.log.debug("next attempt in %.2f s: %s", delay, ending.reason)
            self._refusals += ending.refused or ending.lasting
            self._change()
            await trio.sleep(ending.at_least)
            self._hurried = trio.Event()
            with trio.move_on_after(max(0.0, delay - ending.at_least)):
                await self._hurried.wait()
            self._client.stats.reconnect_attempts += 1

    def _tell(self, ending: Ending, pace: Pace, target: Target) -> None:
        """What a person has to do something about, once."""
        log = self._client.log
        if ending.refused and ending.reason != self._said:
            self._said = ending.reason
            log.error("%s does not let platform %s in: %s; it is tried again now and then",
                target.address.shown, target.platform, ending.reason)  # fmt: skip
        elif ending.lasting and ending.reason != self._said:
            self._said = ending.reason
            log.error("cannot connect to %s as it is: %s; it is tried again", target.address.shown, ending.reason)
        if ending.replaced and pace.replaced == RIVALRY_SAID:
            log.warning(
                "another client keeps connecting to %s as platform %s, and only one can be there:"
                " this one comes back ever more slowly",
                target.address.shown, target.platform,
            )  # fmt: skip

    async def _attempt(self, links: trio.Nursery, target: Target) -> tuple[Ending, float | None]:
        """One attempt; with success it lasts as long as the connection. Returns how long that was, or None."""
        client = self._client
        client.stats.connect_attempts += 1
        result = await dial(target, client.config.limits(), client.open_stream)
        if isinstance(result, Ending):
            return self._failed(result, target), None
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
        except trio.Cancelled:  # not wanted any more in the very moment the handshake was through
            await result.link.aclose(close.NORMAL)
            raise
        return await self._serve(links, target, result)

    def _failed(self, ending: Ending, target: Target) -> Ending:
        client = self._client
        client.stats.failed_connects += 1
        client.stats.failed(ending.reason)
        client.log.connection("could not connect to %s: %s", target.address.shown, ending.reason)
        return ending

    async def _serve(self, links: trio.Nursery, target: Target, dialled: Dialled) -> tuple[Ending, float | None]:
        """Has the link served in a task of its own, which is not cancelled with the attempts: what is queued still
        leaves then."""
        connection = LegacyConnection(self._client, dialled.link, target.platform, self._lane)
        served = self._served = _Served(connection, target)
        links.start_soon(self._run, served, dialled.accepted, name="connection")
        await served.ended.wait()
        ending = _ending(served)
        if served.counts:
            return ending, trio.current_time() - served.started_at
        return self._failed(ending, target), None

    async def _run(self, served: _Served, accepted: bool) -> None:
        connection, client = served.connection, self._client
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(connection.link.run_writer, name="writer")
                nursery.start_soon(self._feed, connection, name="feed")
                if accepted:
                    self._count(served)
                else:
                    nursery.start_soon(self._watch_for_early_close, served, name="early close")
                await connection.run(nursery)
                nursery.cancel_scope.cancel()
        finally:
            self._served = None
            if served.counts:
                client.log.connection("disconnected from %s: %s", served.target.address.shown, _ending(served).reason)
            served.ended.set()
            self._change()
            client.connection_changed()

    async def _watch_for_early_close(self, served: _Served) -> None:
        await trio.sleep(EARLY_CLOSE)
        if not served.outdated:
            self._count(served)

    async def _feed(self, connection: LegacyConnection) -> None:
        """Goes on sending what had to wait for room in the queue of the link."""
        while True:
            size = await self._client.wait_stuck()
            await connection.link.wait_space(size)
            if connection.link.closed is not None:
                return
            self._client.pump()

    def _count(self, served: _Served) -> None:
        """From here on the client is connected."""
        if served.counts or served.connection.link.closed is not None:
            return
        served.counts, self.last_error, self._said = True, None, None
        self._client.stats.successful_connects += 1
        self._client.stats.total_connections += 1
        target = served.target
        self._client.log.connection("connected to %s as %s", target.address.shown, target.platform)
        self._change()
        self._client.connection_changed()
        self._client.pump()


def _ending(served: _Served) -> Ending:
    """Why a link has ended; the server may have repeated the token."""
    closed = served.connection.link.closed
    if closed is not None:
        closed = closed._replace(reason=without(closed.reason, served.target.secrets))
    return after_end(closed, counted=served.counts)
