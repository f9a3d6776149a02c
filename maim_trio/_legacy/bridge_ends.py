"""The two ends of a bridge: a legacy server for adapters, and a client of the API-Server for each platform.

Both hand over whatever they receive to one function, message by message in the order of arrival.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import trio

from maim_trio._legacy.server import MessageServer
from maim_trio._runtime.requests import REQUEST_ID
from maim_trio._wire.codec import Custom
from maim_trio.client import WebSocketClient, create_client_config

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

    from maim_trio._delivery.outbox import Entry, Settled
    from maim_trio._legacy.connection import LegacyConnection, Received
    from maim_trio._runtime.hooks import Handler
    from maim_trio._runtime.letters import Letter
    from maim_trio._wire.codec import Standard
    from maim_trio.client import ClientConfig

__all__ = ["AdapterEnd", "ApiEnd", "LastWords", "Route"]

TakeFromAdapter = Callable[[str, dict[str, Any]], Awaitable[None]]
"""Takes the platform of an adapter's connection, and a message as it came."""
TakeFromApi = Callable[["ApiEnd", Any, dict[str, Any]], Awaitable[None]]
"""Takes the client, a message or the payload of a custom one, and its metadata."""

LOGGER: Final = "maim_trio.bridge"
IN_ORDER: Final = "per_connection"


@dataclass(frozen=True, slots=True)
class Route:
    """How one legacy platform is connected to the API-Server.

    `to_key` and `to_platform` are whom its messages are for (`message_dim`); None means the own ones, by which a bot
    behind the server knows where to answer. `outbox_path`: the file of a durable outbox.
    """

    platform: str
    api_key: str = field(repr=False)
    to_key: str | None = field(default=None, repr=False)
    to_platform: str | None = None
    outbox_path: str | None = None


class _WithPlatform(logging.LoggerAdapter[logging.Logger]):
    """Says of which platform a line is."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return f"platform {self.extra['platform'] if self.extra else ''}: {msg}", kwargs


class LastWords:
    """Where the ends of a bridge that stops wait for each other: none may close while another has something for it."""

    def __init__(self, ends: int) -> None:
        self._ends = ends
        self._all_quiet = trio.Event()

    async def wait_all_quiet(self) -> None:
        """Says that this end has nothing more to pass on; returns when no end has."""
        self._ends -= 1
        if not self._ends:
            self._all_quiet.set()
        await self._all_quiet.wait()


class AdapterEnd(MessageServer):
    """Listens for legacy adapters."""

    last_words: LastWords | None = None

    def __init__(self, take: TakeFromAdapter, **options: Any) -> None:
        super().__init__(**options, handler_ordering=IN_ORDER)
        self._take = take
        self._arrivals: dict[str, trio.Event] = {}

    def next_arrival(self, platform: str) -> trio.Event:
        """Is set when an adapter of the platform connects, or when `wake` is called."""
        return self._arrivals.setdefault(platform, trio.Event())

    def wake(self) -> None:
        """Has all who wait for an adapter look up."""
        for platform in list(self._arrivals):
            self._arrivals.pop(platform).set()

    def _register(self, connection: LegacyConnection) -> None:
        super()._register(connection)
        arrival = self._arrivals.pop(connection.platform, None)
        if arrival is not None:
            arrival.set()

    async def _drain(self) -> None:
        await super()._drain()
        if self.last_words is not None:
            await self.last_words.wait_all_quiet()

    async def _handle(self, received: Received) -> None:
        async def take(message: dict[str, Any]) -> None:
            await self._take(received.platform, message)

        await self._guarded(received.name, take, received.message)


class ApiEnd(WebSocketClient):
    """The connection of one platform to the API-Server.

    A request, which no legacy program could answer, is refused with ``no_handler``.
    """

    last_words: LastWords | None = None

    def __init__(self, route: Route, take: TakeFromApi, url: str, **options: Any) -> None:
        super().__init__(_config(route, url, options))
        self.connection_name = route.platform
        self.route = route
        self._take_message = take

    @property
    def ever_connected(self) -> bool:
        """Whether the server has accepted its key once."""
        return self.stats.successful_connects > 0

    def _handler_of(self, envelope: Standard | Custom) -> Handler | None:
        asked = isinstance(envelope, Custom) and REQUEST_ID in envelope.meta
        return None if asked else self._take

    async def _drain(self) -> None:
        if self.last_words is not None and self._dispatcher is not None:
            await self._dispatcher.wait_idle()
            await self.last_words.wait_all_quiet()
        await super()._drain()

    async def _when_full(self, letter: Letter, settled: Settled | None) -> Entry | None:
        """Without a connection nobody makes room, and an adapter that is kept waiting is soon not read any more."""
        return await super()._when_full(letter, settled) if self.is_connected() else None

    async def _take(self, content: Any, metadata: dict[str, Any]) -> None:
        await self._take_message(self, content, metadata)


def _config(route: Route, url: str, options: Mapping[str, Any]) -> ClientConfig:
    logger = _WithPlatform(logging.getLogger(LOGGER), {"platform": route.platform})
    return create_client_config(
        url,
        route.api_key,
        platform=route.platform,
        outbox_path=route.outbox_path,
        max_reconnect_attempts=0,
        handler_ordering=IN_ORDER,
        custom_logger=logger,
        **options,
    )
