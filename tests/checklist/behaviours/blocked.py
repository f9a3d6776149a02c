"""Peers that take nothing: streams on which a byte is sent only when it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio
import trio.testing

from maim_trio.client import ClientConfig
from maim_trio.server import ServerConfig
from tests.checklist.world import KEY, Recorder, settle
from tests.client.raw import Peer
from tests.memory import URL, MemoryClient, MemoryListener, MemoryServer, Network, text_message
from tests.server.peer import joined

if TYPE_CHECKING:
    from maim_trio.client._url import Address
    from tests.checklist.rows import Row


class LockstepListener(MemoryListener):
    def connect(self, ends: tuple[Any, Any] | None = None) -> trio.abc.Stream:
        return super().connect(ends or trio.testing.lockstep_stream_pair())


class LockstepServer(MemoryServer):
    async def open_listeners(self) -> Any:
        await trio.lowlevel.checkpoint()
        self.network.listener = LockstepListener()
        return [self.network.listener]


class LockstepClient(MemoryClient):
    """Its server accepts the connection and reads nothing from then on."""

    def __init__(self, nursery: trio.Nursery, **fields: Any) -> None:
        super().__init__(Network(), ClientConfig(URL, KEY, **fields))
        self._servers = nursery

    async def open_stream(self, address: Address) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        ours, theirs = trio.testing.lockstep_stream_pair()
        self._servers.start_soon(Peer(theirs).accept)
        return ours


async def a_peer_that_takes_nothing_is_cut_off(row: Row) -> None:
    if row.of == "ServerConfig":
        went, network = Recorder(), Network()
        async with LockstepServer(network, ServerConfig(send_timeout=4.0, on_disconnect=went)) as server:
            await joined(network)
            await settle()
            began = trio.current_time()
            await server.broadcast_message(text_message("x" * 1000))
            await went.wait()
            assert trio.current_time() == began + 4.0
        return
    async with trio.open_nursery() as nursery:
        went = Recorder()
        fields = {"send_timeout": 4.0, "auto_reconnect": False, "on_disconnect": went}
        async with LockstepClient(nursery, **fields) as client:
            assert await client.connect()
            began = trio.current_time()
            assert await client.send_message(text_message("x" * 1000))
            await went.wait()
            assert trio.current_time() == began + 4.0
