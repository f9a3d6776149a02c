"""How a client connects, keeps its connection and loses it."""

from __future__ import annotations

import pytest
import trio

from maim_trio.errors import NotConnected
from tests.checklist.world import KEY, Recorder, linked, scripted, settle
from tests.client.raw import Peer, refuses, silent
from tests.memory import URL, Network


async def connecting_is_true_once_accepted() -> None:
    authenticated = Recorder(answer=True)
    async with linked({"on_auth": authenticated}) as (_server, client):
        assert client.is_connected()
        assert len(authenticated.calls) == 1
        assert client.get_last_error() is None


async def connecting_is_false_once_refused() -> None:
    for status in (400, 401, 403, 404):
        network = Network()
        async with scripted(network, refuses(status)), network.client() as client:
            began = trio.current_time()
            assert not await client.connect()
            assert trio.current_time() == began, "at once"
            assert str(status) in (client.get_last_error() or "")
            await trio.sleep(300)
            assert len(network.dials) == 1, "no further attempts"


async def connecting_tries_for_connect_timeout() -> None:
    network = Network()
    async with network.client(connect_timeout=4.0) as client:
        began = trio.current_time()
        assert not await client.connect()
        assert trio.current_time() == began + 4.0
        assert len(network.dials) > 1, "it tries again while the server is not there"
        async with network.server():
            await client.wait_connected()
            assert client.is_connected(), "it goes on in the background"
    async with scripted(network, silent), network.client(connect_timeout=3.0) as client:
        with trio.fail_after(3.1):
            assert not await client.connect()


async def concurrent_connects_share_one_attempt() -> None:
    network, results = Network(), []

    async def connect() -> None:
        results.append(await client.connect())

    async with network.server() as server, network.client() as client:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(connect)
        assert results == [True] * 3
        assert (len(network.dials), server.get_connection_count()) == (1, 1)


async def disconnecting_is_clean_and_final() -> None:
    gone = Recorder()
    async with linked({"on_disconnect": gone}) as (server, client):
        assert await client.disconnect()
        _, metadata = await gone.wait()
        assert metadata["close_code"] == 1000
        await trio.sleep(300)
        assert (client.is_connected(), server.get_connection_count()) == (False, 0)
        assert await client.connect(), "but it connects when told to"


async def a_client_says_whether_it_is_connected() -> None:
    network = Network()
    client = network.client()
    assert not client.is_connected()
    async with network.server(), client:
        assert not client.is_connected()
        await client.connect()
        assert client.is_connected()
    assert not client.is_connected()


async def waiting_ends_with_the_connection() -> None:
    network = Network()
    async with network.client(connect_timeout=0.5, max_reconnect_attempts=0) as client, trio.open_nursery() as nursery:
        nursery.start_soon(client.connect)
        with trio.move_on_after(5) as scope:
            await client.wait_connected()
        assert scope.cancelled_caught
        async with network.server():
            await client.wait_connected()
            assert client.is_connected()


async def a_client_that_gave_up_says_so() -> None:
    network = Network()
    async with scripted(network, refuses(401)), network.client() as client:
        await client.connect()
        with pytest.raises(NotConnected, match="401"):
            await client.wait_connected()
        with pytest.raises(NotConnected, match="401"):
            await client.request("ping", {})


async def the_last_error_says_why() -> None:
    network = Network()
    async with network.client(connect_timeout=0.5) as client:
        assert client.get_last_error() is None
        assert not await client.connect()
        assert "nobody listens" in (client.get_last_error() or "")
        async with network.server():
            await client.wait_connected()
            assert client.get_last_error() is None


# -- what it says of itself


async def a_client_introduces_itself() -> None:
    came = Recorder()
    fields = {"url": "ws://memory/ws", "platform": "wechat", "connection_uuid": "my-own-id"}
    async with linked({"on_connect": came}, {"api_key": "my_own_key", **fields}) as (_server, client):
        uuid, metadata = came.calls[0]
        assert (uuid, metadata["uuid"]) == ("my-own-id", "my-own-id")
        assert (metadata["api_key"], metadata["platform"]) == ("my_own_key", "wechat")
        assert client.get_connection_uuid() == "my-own-id"
    async with linked({"on_connect": came}) as (_server, client):
        assert came.calls[1][1]["platform"] == "default"
        assert came.calls[1][0] == client.get_connection_uuid(), "made by the client when not given"


async def a_client_sends_its_headers() -> None:
    came = Recorder()
    async with linked({"on_connect": came}, {"headers": {"X-Bot": "maim", "User-Agent": "maim/1"}}):
        _, metadata = came.calls[0]
    assert (metadata["headers"]["x-bot"], metadata["user_agent"]) == ("maim", "maim/1")


async def a_client_knows_how_it_connects() -> None:
    client = Network().client(connection_uuid="my-own-id", platform="wechat")
    assert client.get_cached_connection_info() == {
        "url": URL, "api_key": KEY, "platform": "wechat", "connection_uuid": "my-own-id",
    }  # fmt: skip


async def a_client_update_applies_at_the_next_connect() -> None:
    came = Recorder()
    async with linked({"on_connect": came}) as (_server, client):
        client.update_config(platform="qq", api_key="another_key")
        await settle()
        assert len(came.calls) == 1
        await client.disconnect()
        assert await client.connect()
        _, metadata = came.calls[1]
        assert (metadata["platform"], metadata["api_key"]) == ("qq", "another_key")


async def a_client_waits_close_timeout_for_a_goodbye() -> None:
    async def never_answers(peer: Peer) -> None:
        await peer.accept()
        await trio.sleep_forever()

    network = Network()
    async with scripted(network, never_answers), network.client(close_timeout=4.0) as client:
        await client.connect()
        began = trio.current_time()
        assert await client.disconnect()
        assert trio.current_time() == began + 4.0
