"""A server on a real socket, and a good client that chats with itself through it while somebody else misbehaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from maim_trio.client import ClientConfig, WebSocketClient
from maim_trio.server import ServerConfig, WebSocketServer
from tests.memory import text_message
from tests.server.conftest import log
from tests.server.peer import Peer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from maim_trio.message import APIMessageBase

__all__ = ["arena", "log"]

GOOD, BAD, VICTIM = "good_key_00001", "bad_key_00002", "victim_key_00003"
PATIENCE = 20.0
"""Seconds after which a test that waits for an event has failed."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "server_config(**fields): what the arena's server is configured with")


class Arena:
    """The server under attack, and the good client whose chat must never falter."""

    def __init__(self, **config: Any) -> None:
        defaults = {"on_auth": lambda metadata: metadata["api_key"] in (GOOD, BAD, VICTIM), "on_message": self._relay}
        self.server = WebSocketServer(ServerConfig(host="127.0.0.1", port=0, **{**defaults, **config}))
        self.chat: list[int] = []
        self.lost: list[Any] = []
        self._news = trio.Event()
        self._peers: list[Peer] = []

    async def _relay(self, message: APIMessageBase, _metadata: Any) -> None:
        await self.server.send_message(message)

    async def peer(self) -> Peer:
        """A raw peer before its handshake."""
        peer = Peer(await trio.open_tcp_stream("127.0.0.1", self.server.port))
        self._peers.append(peer)
        return peer

    async def joined(self, *headers: bytes, key: str = BAD, uuid: str = "bad") -> Peer:
        """A raw peer that was let in."""
        peer = await self.peer()
        assert (await peer.upgrade(*headers, key=key, uuid=uuid)).status == 101
        return peer

    async def keep_chatting(self, *, task_status: Any) -> None:
        """One message after the other, each when the one before has come back."""
        url = f"ws://127.0.0.1:{self.server.port}/ws"
        config = ClientConfig(url=url, api_key=GOOD, platform="p", on_message=self._heard, on_disconnect=self._lost)
        async with WebSocketClient(config) as client:
            assert await client.connect()
            task_status.started(client)
            number = 0
            while True:
                assert await client.send_message(text_message(number, to=GOOD, platform="p"))
                while len(self.chat) <= number:
                    await self._news.wait()
                number += 1

    def _heard(self, message: APIMessageBase, _metadata: Any) -> None:
        self.chat.append(message.message_segment.data)
        self._news.set()
        self._news = trio.Event()

    def _lost(self, *arguments: Any) -> None:
        self.lost.append(arguments)

    async def good_client_notices_nothing(self) -> None:
        """It goes on chatting, has lost nothing, and is connected as from the beginning."""
        before = len(self.chat)
        while len(self.chat) < before + 5:
            await self._news.wait()
        assert self.chat == [*range(len(self.chat))]
        assert self.lost == []
        assert self.server.get_stats()["last_error"] is None or "internal" not in self.server.get_stats()["last_error"]

    async def until(self, condition: Any) -> None:
        """Waits for what the server does next, tick by tick of the chat."""
        while not condition():
            await self._news.wait()

    async def aclose(self) -> None:
        for peer in self._peers:
            await peer.aclose()


@pytest.fixture
async def arena(request: pytest.FixtureRequest) -> AsyncIterator[Arena]:
    config = {"handshake_timeout": 0.5, "close_timeout": 0.5, "shutdown_timeout": 0.5, "max_message_size": 1024}
    marker = request.node.get_closest_marker("server_config")
    arena = Arena(**{**config, **(marker.kwargs if marker is not None else {})})
    with trio.fail_after(PATIENCE):
        async with arena.server, trio.open_nursery() as nursery:
            await nursery.start(arena.keep_chatting)
            yield arena
            await arena.aclose()
            nursery.cancel_scope.cancel()
