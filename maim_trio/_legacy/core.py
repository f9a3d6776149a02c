"""A legacy client with one connection, without its methods for users."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from maim_trio._legacy.backlog import Backlog
from maim_trio._legacy.dial import Target, open_stream
from maim_trio._legacy.endpoint import LegacyEndpoint
from maim_trio._legacy.keeper import Keeper
from maim_trio._wire import close
from maim_trio.errors import NotRunning

if TYPE_CHECKING:
    from collections.abc import Callable

    from maim_trio._legacy.connection import LegacyConnection
    from maim_trio._legacy.handlers import HandlerTable
    from maim_trio._legacy.settings import ClientSettings


class ClientCore(LegacyEndpoint):
    """Keeps a connection, receives, keeps what is to be sent while there is none, ends."""

    config: ClientSettings

    def __init__(self, config: ClientSettings, table: HandlerTable | None = None) -> None:
        super().__init__(config, "maim_trio.client", table)
        self._keeper = Keeper(self)
        self._backlog = Backlog(config.message_cache_max_size, config.message_cache_max_bytes, config.message_cache_ttl)
        self._changed: trio.Event | None = None  # for those who wait for room, or for another state of the connection
        self._stuck = trio.Event()  # the link had no room for the first of the backlog
        self._full_said = False

    def _own_secrets(self) -> tuple[str, ...]:
        target = self._keeper.target
        return target.secrets if target is not None else ()

    def is_connected(self) -> bool:
        """Whether there is a connection right now."""
        return self._keeper.connection is not None

    def aim(self, target: Target) -> LegacyConnection | None:
        """From here on this is the server. Returns the connection to another one, which the caller closes."""
        before = self._keeper.target
        if target.address.secure and target.ssl_verify is False:
            self.log.warning("ssl_verify is off: whoever is in between can read the token and all messages")
        if target.scheme == "tcps":
            self.log.warning(
                "tcps:// is not TLS but the same as tcp://: whoever can change what is on its way can read it"
            )
        if before is not None and (before.url, before.platform) != (target.url, target.platform):
            self._say_lost(self._backlog.clear(), "were for another server or platform")
        return self._keeper.aim(target)

    async def connect_to(self, target: Target) -> bool:
        """Connects to this server, or waits for the attempt that is under way."""
        await trio.lowlevel.checkpoint()
        outdated = self.aim(target)
        if outdated is not None:
            await outdated.aclose(close.NORMAL, "")
        if not self.is_running() or self.stopping:
            return False
        with trio.move_on_after(self.config.connect_timeout):
            return await self._keeper.wait_outcome()
        if self._keeper.last_error is None:
            self._keeper.last_error = f"no answer within {self.config.connect_timeout:g} s"
        return False

    def _raise_aimless(self) -> Target:
        if self._keeper.target is None:
            raise NotRunning("connect(url, platform) comes first: it says where to")
        return self._keeper.target

    async def _send(self, payload: bytes) -> bool:
        if self._put(payload):
            return True
        with trio.move_on_after(self.config.send_timeout):
            while self.is_connected():
                await self._wait_change()
                if self._put(payload):
                    return True
        if self.is_running():
            self._say_full()
        return False

    def _put(self, payload: bytes) -> bool:
        if not self.is_running() or (self.stopping and not self.is_connected()):
            self._keeper.last_error = self._keeper.last_error or "the client is not running"
            return False
        self._expire()
        if not self._backlog.put(payload, trio.current_time()):
            return False
        self.pump()
        return True

    def _say_full(self) -> None:
        """One WARNING until there is room again."""
        self.stats.failed("no more messages are kept")
        if not self._full_said:
            self._full_said = True
            self.log.warning(
                "%d messages (%d bytes) wait to be sent and no more are kept: sending says False",
                len(self._backlog), self._backlog.bytes,
            )  # fmt: skip

    def _expire(self) -> None:
        self._say_lost(self._backlog.expire(trio.current_time()), "were kept too long")

    def _say_lost(self, count: int, why: str) -> None:
        if count:
            self.stats.messages_undelivered += count
            self.log.warning("%d messages %s and are not sent", count, why)

    # -- for the keeper

    def pump(self) -> None:
        """Hands to the connection what it takes. Synchronous."""
        connection = self._keeper.connection
        if connection is None:
            return
        self._expire()
        while self._backlog:
            sent = connection.send_nowait(self._backlog.first)
            if not sent:
                if sent is False:
                    self._stuck.set()
                return
            self._backlog.pop()
            self._full_said = False
            self.connection_changed()

    def connection_changed(self) -> None:
        """Has whoever waits for room look again."""
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def _wait_change(self) -> None:
        if self._changed is None:
            self._changed = trio.Event()
        await self._changed.wait()

    async def wait_stuck(self) -> int:
        """Until the link had no room for the first message of the backlog; its size."""
        await self._stuck.wait()
        self._stuck = trio.Event()
        return len(self._backlog.first) if self._backlog else 0

    async def open_stream(self, target: Target) -> trio.abc.Stream:
        """The stream under the next connection."""
        return await open_stream(target)

    # -- life cycle

    def _links_opened(self, links: trio.Nursery) -> None:
        """All our tasks belong to a connection."""

    async def _admit(self, links: trio.Nursery, up: Callable[[], None]) -> None:
        up()
        await self._keeper.pursue(links)

    async def _close_links(self) -> None:
        self._keeper.count_now()
        with trio.move_on_after(self.config.close_timeout):
            while self._backlog and self.is_connected():
                await self._wait_change()
        await self._keeper.close()
        self._say_lost(self._backlog.clear(), "had no connection when the client stopped,")
        self._say_dropped()
