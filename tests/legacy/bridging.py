"""A bridge over memory streams, with adapters on one side and an API-Server on the other."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import trio.testing

from maim_trio._legacy.bridge import Bridge, Route
from maim_trio._legacy.bridge_ends import AdapterEnd, ApiEnd
from maim_trio.server import AuthResult
from tests.legacy.memory import URL, MemoryMessageClient, MemoryMessageServer
from tests.memory import MemoryClient, Network

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEYS = {"qq": "key-of-the-qq-adapter", "irc": "key-of-the-irc-adapter"}


class MemoryAdapterEnd(AdapterEnd):
    network: ClassVar[Network]

    port = MemoryMessageServer.port
    open_listeners = MemoryMessageServer.open_listeners


class MemoryApiEnd(ApiEnd):
    network: ClassVar[Network]

    open_stream = MemoryClient.open_stream


class Adapter(MemoryMessageClient):
    """A legacy adapter. `received` has the messages as they came, of both kinds."""

    def __init__(self, network: Network) -> None:
        super().__init__(network, handler_ordering="per_connection")
        self.received: list[dict[str, Any]] = []

    async def process_message(self, message: Any) -> None:
        self.received.append(message)


class World:
    """The networks of both sides, and what runs on them."""

    def __init__(self) -> None:
        self.api, self.legacy = Network(), Network()
        self.at_server: list[tuple[Any, dict[str, Any]]] = []
        """What has arrived at the API-Server: message or payload, and metadata."""

    def bridge(self, *platforms: str, **options: Any) -> Bridge:
        class OverMemory(Bridge):
            adapter_end = type("End", (MemoryAdapterEnd,), {"network": self.legacy})
            api_end = type("End", (MemoryApiEnd,), {"network": self.api})

        routes = [Route(platform, KEYS[platform]) for platform in platforms or KEYS]
        options = {"adapter_options": {"host": "127.0.0.1"}, **options}
        return OverMemory(URL, options.pop("routes", routes), **options)

    def server(self, **config: Any) -> Any:
        """An API-Server whose users are called like their platforms."""
        users = {key: platform for platform, key in KEYS.items()}

        def on_auth(metadata: dict[str, Any]) -> AuthResult:
            user = users.get(metadata["api_key"])
            return AuthResult(user is not None, user)

        def take(content: Any, metadata: dict[str, Any]) -> None:
            self.at_server.append((content, metadata))

        config = {
            "on_auth": on_auth,
            "on_auth_extract_user": lambda metadata: users.get(metadata["api_key"], "nobody"),
            "on_message": take,
            "handler_ordering": "per_connection",
            "custom_handlers": {"status": take},
            **config,
        }
        return self.api.server(**config)

    @asynccontextmanager
    async def adapter(self, platform: str = "qq", *, token: str | None = None) -> AsyncIterator[Adapter]:
        """A connected one."""
        async with Adapter(self.legacy) as adapter:
            assert await adapter.connect(URL, platform, token)
            yield adapter

    @asynccontextmanager
    async def adapter_of(self, bridge: Bridge) -> AsyncIterator[tuple[Bridge, Adapter]]:
        """This bridge, running, and a connected adapter that outlives it."""
        async with Adapter(self.legacy) as adapter, trio.open_nursery() as nursery:
            await nursery.start(bridge.run)
            assert await adapter.connect(URL, "qq")
            yield bridge, adapter
            nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def bridging(self, *platforms: str, **options: Any) -> AsyncIterator[Bridge]:
        """A running bridge, whose connections to the API-Server are there where that is."""
        bridge = self.bridge(*platforms, **options)
        async with trio.open_nursery() as nursery:
            await nursery.start(bridge.run)
            await settle()
            yield bridge
            bridge.stop()


async def settle() -> None:
    """Until everybody waits for somebody or for the clock."""
    await trio.testing.wait_all_tasks_blocked()
