"""How a client loses its connection, finds it again, and when it gives up."""

from __future__ import annotations

import pytest
import trio

from maim_trio.errors import NotConnected
from tests.checklist.world import Recorder, scripted
from tests.client.raw import Peer, closes, drops, refuses, welcomes
from tests.memory import Network


async def the_id_is_stable_across_reconnects() -> None:
    network = Network()
    async with scripted(network, drops(after=1.0), welcomes) as peers, network.client() as client:
        assert await client.connect()
        uuid = client.get_connection_uuid()
        await trio.sleep(60)
        assert len(peers) == 2
        assert client.get_connection_uuid() == uuid == peers[0].header("x-uuid") == peers[1].header("x-uuid")


async def a_lost_connection_comes_back() -> None:
    for script in (drops(after=1.0), closes(1000, after=1.0), closes(1001, after=1.0), closes(1011, after=1.0)):
        network = Network()
        async with scripted(network, script, welcomes), network.client() as client:
            assert await client.connect()
            await trio.sleep(60)
            assert client.is_connected()
            assert len(network.dials) == 2


async def without_auto_reconnect_a_lost_connection_stays_lost() -> None:
    network = Network()
    async with scripted(network, drops(after=1.0), welcomes), network.client(auto_reconnect=False) as client:
        assert await client.connect()
        await trio.sleep(600)
        assert not client.is_connected()
        assert len(network.dials) == 1


async def attempts_to_reconnect_are_counted() -> None:
    network = Network()
    async with scripted(network, drops(after=60.0), refuses(503)), network.client(max_reconnect_attempts=3) as client:
        assert await client.connect()
        await trio.sleep(10_000)
        assert len(network.dials) == 1 + 3
        with pytest.raises(NotConnected, match="3 attempts"):
            await client.wait_connected()


async def no_limit_of_attempts_is_0() -> None:
    network = Network()
    async with scripted(network, drops(after=60.0), refuses(503)), network.client(max_reconnect_attempts=0) as client:
        assert await client.connect()
        await trio.sleep(10_000)
        assert len(network.dials) > 100
        assert client.wants_connection()


async def delays_grow_up_to_their_limit() -> None:
    network = Network()
    fields = {"reconnect_delay": 2.0, "max_reconnect_delay": 8.0, "max_reconnect_attempts": 0}
    async with scripted(network, drops(after=60.0), refuses(503)), network.client(**fields) as client:
        assert await client.connect()
        await trio.sleep(2000)
    waits = [later - earlier for earlier, later in zip(network.dials[1:], network.dials[2:], strict=False)]
    assert network.dials[1] - network.dials[0] - 60.0 <= 2.0
    assert waits[0] <= 4.0
    assert max(waits) <= 8.0
    assert max(waits) > 4.0, "they have grown"


async def a_connection_that_lived_begins_the_delays_anew() -> None:
    network = Network()
    scripts = [drops(), drops(), drops(), drops(), drops(), drops(after=20.0), welcomes]
    fields = {"reconnect_delay": 0.5, "reconnect_reset_after": 10.0, "max_reconnect_attempts": 0}
    async with scripted(network, *scripts), network.client(**fields) as client:
        await client.connect()
        await trio.sleep(300)
    assert network.dials[6] - network.dials[5] - 20.0 <= 0.5


async def a_client_notices_a_dead_server() -> None:
    async def freezes(peer: Peer) -> None:
        await peer.accept()
        await trio.sleep_forever()

    lost = Recorder()
    network = Network()
    fields = {"ping_interval": 7.0, "ping_timeout": 3.0, "on_disconnect": lost, "auto_reconnect": False}
    async with scripted(network, freezes), network.client(**fields) as client:
        await client.connect()
        began = trio.current_time()
        await lost.wait()
        assert trio.current_time() == began + 10.0
        assert not client.is_connected()
