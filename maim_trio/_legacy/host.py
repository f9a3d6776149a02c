"""The legacy server without its methods for users: it listens, admits, serves and ends."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from maim_trio._legacy.accept import Doorway, accept, check_mode
from maim_trio._legacy.connection import LegacyConnection
from maim_trio._legacy.endpoint import LegacyEndpoint
from maim_trio._legacy.lanes import Lanes
from maim_trio._legacy.platforms import RIVALRY_LIMIT, RIVALRY_WINDOW, Platforms
from maim_trio._transport.flusher import Flusher
from maim_trio._transport.tls import TlsListener
from maim_trio._wire import close
from maim_trio._wire.credentials import UNKNOWN_PLATFORM
from maim_trio.errors import ConfigError
from maim_trio.server._config import is_loopback
from maim_trio.server._listen import open_listeners, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from maim_trio._legacy.settings import ServerSettings
    from maim_trio._transport.link import Link

REPLACED = "新的连接已建立"
STOPPING = "服务器关闭"


class Host(LegacyEndpoint):
    """Lets clients in and serves each in tasks of its own."""

    config: ServerSettings

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(settings, "maim_trio.server")
        check_mode(settings.mode)
        self._raise_problem()
        self.path = settings.path
        self.flusher = Flusher()
        self.promised = 0  # handshakes that were let in and are not through yet
        self._tokens: set[str] = set()
        self._platforms: Platforms[LegacyConnection] = Platforms()
        self._lanes = Lanes(settings.inbox_size)
        self._opening: dict[Doorway, trio.CancelScope] = {}
        self._listeners: Sequence[trio.SocketListener | TlsListener] = []
        self._links: trio.Nursery | None = None
        self._connection_tasks = 0
        self._connections_ended = trio.Event()
        self._closing = False  # whoever gets through its handshake now is closed at once

    @property
    def host(self) -> str:
        """The address it listens on."""
        return self.config.host

    @property
    def mode(self) -> str:
        """``"ws"`` or ``"tcp"``."""
        return self.config.mode

    @property
    def port(self) -> int:
        """The port it listens on, also where the arguments say 0; the configured one while it does not run."""
        if self._listeners:
            port: int = self._listeners[0].socket.getsockname()[1]
            return port
        return self.config.port

    def _own_secrets(self) -> tuple[str, ...]:
        return tuple(self._tokens)

    # -- for handshakes

    def is_full(self, platform: str) -> bool:
        """Whether there is no place for another connection. One that replaces another needs none, but for those that
        are being closed there is a limit, too."""
        limit = self.config.max_connections
        if len(self.links) + self.promised >= 2 * limit:
            return True
        return self._platforms.get(platform) is None and len(self._platforms) + self.promised >= limit

    def checks_token(self, token: str) -> bool:
        """Whether somebody with this token may come in; counted."""
        if not self.config.enable_token:
            return True
        self.stats.total_auth_requests += 1
        valid = token in self._tokens
        if valid:
            self.stats.successful_auths += 1
        else:
            self.stats.failed_auths += 1
        return valid

    def handshake_failed(self, reason: str) -> None:
        self.stats.failed_connects += 1
        self.log.connection("a handshake failed: %s", reason)

    # -- life cycle

    def _raise_problem(self) -> None:
        problem = self.config.problem()
        if problem is not None:
            raise ConfigError(problem)

    def _prepare(self) -> None:
        super()._prepare()
        self._raise_problem()
        self._closing = False

    async def _admit(self, links: trio.Nursery, up: Callable[[], None]) -> None:
        self._links = links
        self._listeners = await self.open_listeners()
        try:
            self._say_who_may_come()
            self.log.info("listening on %s, port %d, mode %s", self.config.host, self.port, self.mode)
            up()
            await serve(self._listeners, self._connection, links, self.log.error)
        finally:
            self._listeners = []

    def _say_who_may_come(self) -> None:
        if not self.config.enable_token:
            host = self.config.host
            risk = "" if is_loopback(host) else f": whoever reaches {host} can read and send messages"
            self.log.warning("no tokens are asked for (enable_token is off), so everybody is let in%s", risk)

    def _links_opened(self, links: trio.Nursery) -> None:
        self.flusher = Flusher()
        links.start_soon(self.flusher.run, name="flusher")

    async def open_listeners(self) -> Sequence[trio.SocketListener | TlsListener]:
        """What connections are accepted from."""
        listeners = await open_listeners(self.config.host, self.config.port)
        context = self.config.tls_context()
        return listeners if context is None else [TlsListener(listener, context) for listener in listeners]

    def _stop_begun(self) -> None:
        for doorway, scope in self._opening.items():
            if not doorway.heard:
                scope.cancel()

    async def _close_links(self) -> None:
        self._closing = True
        async with trio.open_nursery() as nursery:
            for connection in self._platforms.all():
                nursery.start_soon(connection.aclose, close.NORMAL, STOPPING)
        while self._connection_tasks:
            await self._connections_ended.wait()
        self._say_dropped()
        self.log.info("stopped")

    # -- one connection

    async def _connection(self, stream: trio.abc.Stream, _address: object) -> None:
        """The task of one connection, from the accepted stream to its end. Whatever happens ends here."""
        with self._counted():
            try:
                await self._handshake_and_serve(stream)
            except Exception as error:  # the fence: one connection
                self.stats.failed("internal error in a connection")
                self.log.exception("a connection ended by an internal error", error=error)
            finally:
                await trio.aclose_forcefully(stream)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """For a task that a stop waits for."""
        self._connection_tasks += 1
        try:
            yield
        finally:
            self._connection_tasks -= 1
            if not self._connection_tasks:
                self._connections_ended.set()
                self._connections_ended = trio.Event()

    async def _handshake_and_serve(self, stream: trio.abc.Stream) -> None:
        if self.stopping:  # it was accepted in the very moment of the stop, which must not wait for its request
            return
        doorway, arrival = Doorway(self, stream), None
        try:
            with trio.CancelScope() as scope:
                self._opening[doorway] = scope
                arrival = await accept(doorway)
        finally:
            del self._opening[doorway]
            doorway.leave()
        if arrival is not None:
            await self._serve_link(*arrival)

    async def _serve_link(self, link: Link, platform: str) -> None:
        lane_name = platform if platform != UNKNOWN_PLATFORM else f"{UNKNOWN_PLATFORM} {link.remote_ip}"
        connection = LegacyConnection(self, link, platform, self._lanes.enter(lane_name))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.run_writer, name="writer")
            self._register(connection)
            try:
                if self._closing:
                    await connection.aclose(close.NORMAL, STOPPING)
                await connection.run(nursery)
            finally:
                self._platforms.remove(connection)
                self._lanes.leave(lane_name)
            nursery.cancel_scope.cancel()
        ended = link.closed
        self.log.connection(
            "disconnected %s: %d %s", str(connection), ended.code if ended else 1006, ended.reason if ended else ""
        )

    def _register(self, connection: LegacyConnection) -> None:
        """From here on the platform's messages go to this connection. Synchronous."""
        platform = connection.platform
        replaced, fight = self._platforms.add(connection, trio.current_time())
        self.stats.successful_connects += 1
        self.stats.total_connections += 1
        self.log.connection("connected %s", str(connection))
        if platform == UNKNOWN_PLATFORM:
            self.log.connection("%s has not said its platform: it receives broadcasts only", connection.link.remote)
        if fight:
            self.log.warning(
                "platform %s was taken over more than %d times within %g s: two clients seem to use the same name",
                platform, RIVALRY_LIMIT, RIVALRY_WINDOW,
            )  # fmt: skip
        if replaced is not None:
            assert self._links is not None
            self._links.start_soon(self._close_replaced, replaced, name="replaced")

    async def _close_replaced(self, replaced: LegacyConnection) -> None:
        with self._counted():
            await replaced.aclose(close.NORMAL, REPLACED)
