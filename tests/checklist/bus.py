"""A server and a client with three named connections to it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from maim_trio.client import MultiClientConfig
from tests.checklist.world import user_is_key
from tests.memory import Hosts, MemoryMultiClient, Network

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from maim_trio.server import WebSocketServer

NAMES = ("wechat", "qq", "telegram")
BUS_URL = "ws://bus:18040/ws"


def entries(*names: str, **fields: Any) -> dict[str, Any]:
    """Connections to the bus, each with a key and a platform after its name."""
    return {name: {"url": BUS_URL, "api_key": f"{name}_key", "platform": name, **fields} for name in names}


@asynccontextmanager
async def bus(
    config: MultiClientConfig | None = None, *, connect: bool = True, **fields: Any
) -> AsyncIterator[tuple[WebSocketServer, MemoryMultiClient]]:
    """A server whose users are their keys, and a multi client with the connections `NAMES`, or with those of `config`.

    `fields` are the server's.
    """
    network = Network()
    server = network.server(on_auth_extract_user=user_is_key, **fields)
    client = MemoryMultiClient(Hosts(bus=network), config or MultiClientConfig(connections=entries(*NAMES)))
    async with server, client:
        if connect:
            assert set((await client.connect()).values()) <= {True}
        yield server, client


def platforms_of(server: WebSocketServer) -> set[str]:
    """The platforms that somebody is connected on."""
    return {info["platform"] for info in server.get_connections().values()}
