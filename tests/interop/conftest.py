"""What the interop tests share: the peers, and servers and clients of ours that are gone when the test is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

from maim_trio.client import MultiClientConfig, WebSocketClient, WebSocketMultiClient, create_client_config
from maim_trio.server import WebSocketServer, create_server_config
from tests.conftest import needs
from tests.interop.ours import ALICE, PLATFORM, on_auth, on_auth_extract_user
from tests.interop.peer_process import DRIVERS, PeerProcess
from tests.interop.versions import version_id
from tests.peers import MAIM_MESSAGE_VERSIONS, peer_python

if TYPE_CHECKING:
    from pathlib import Path

    import trio

StartPeer = Callable[..., Awaitable[PeerProcess]]


@pytest.fixture(scope="session", params=MAIM_MESSAGE_VERSIONS, ids=version_id)
def maim_message_version(request: pytest.FixtureRequest) -> str:
    """Each version of maim_message in turn, or those that a test names with `only_versions`."""
    return request.param


@pytest.fixture(scope="session")
def maim_message(maim_message_version: str) -> Path:
    """The interpreter that has this version of maim_message."""
    return needs(peer_python, maim_message_version)


@pytest.fixture
async def start_peer(nursery: trio.Nursery) -> AsyncIterator[StartPeer]:
    """Starts a driver, ``await start_peer("name", interpreter, "script.py")``, and ends it after the test."""
    running: list[PeerProcess] = []

    async def start(name: str, interpreter: Path, script: str, *arguments: str) -> PeerProcess:
        peer = await PeerProcess.start(nursery, name, [interpreter, DRIVERS / script, *arguments])
        running.append(peer)
        return peer

    yield start
    for peer in running:
        await peer.aclose()


@pytest.fixture
async def serve(nursery: trio.Nursery) -> AsyncIterator[Callable[..., Awaitable[WebSocketServer]]]:
    """Starts a server of ours that knows the users of `ours`: ``await serve(on_message=…)``; stopped after the test."""
    servers: list[WebSocketServer] = []

    async def start(*, port: int = 0, **settings: Any) -> WebSocketServer:
        settings = {"on_auth": on_auth, "on_auth_extract_user": on_auth_extract_user, **settings}
        server = WebSocketServer(create_server_config(host="127.0.0.1", port=port, **settings))
        await server.start(nursery)
        servers.append(server)
        return server

    yield start
    for server in servers:
        await server.stop()


@pytest.fixture
async def client_of_ours(nursery: trio.Nursery) -> AsyncIterator[Callable[..., Awaitable[WebSocketClient]]]:
    """Starts a client of ours, not yet connected: ``await client_of_ours(url, key, …)``; stopped after the test."""
    clients: list[WebSocketClient] = []

    async def start(url: str, api_key: str = ALICE, **settings: Any) -> WebSocketClient:
        settings = {"platform": PLATFORM, "reconnect_delay": 0.1, "max_reconnect_delay": 0.5, **settings}
        client = WebSocketClient(create_client_config(url, api_key, **settings))
        await client.start(nursery)
        clients.append(client)
        return client

    yield start
    for client in clients:
        await client.stop()


@pytest.fixture
async def multi_client_of_ours(nursery: trio.Nursery) -> AsyncIterator[Callable[..., Awaitable[WebSocketMultiClient]]]:
    """Starts a client of ours with one connection per name, not yet connected: ``await multi_client_of_ours(url, keys,
    …)``. The name of a connection is its platform too; `on_connect` is for all of them. Stopped after the test."""
    clients: list[WebSocketMultiClient] = []

    async def start(url: str, keys: dict[str, str], *, on_connect: Any = None, **settings: Any) -> WebSocketMultiClient:
        config = MultiClientConfig(**settings)
        fields = {"on_connect": on_connect, "reconnect_delay": 0.1, "max_reconnect_delay": 0.5}
        for name, key in keys.items():
            config.register_connection(name, url, key, platform=name, **fields)
        client = WebSocketMultiClient(config)
        await client.start(nursery)
        clients.append(client)
        return client

    yield start
    for client in clients:
        await client.stop()
