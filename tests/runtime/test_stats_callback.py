"""stats_callback of servers and clients: when it is called, with what, and what its mistakes cost."""

from __future__ import annotations

import json
import math

import pytest
import trio
import trio.testing

from tests.memory import Network, text_message

DOCUMENTED = {
    "total_connections", "active_connections", "total_messages", "successful_connects", "failed_connects",
    "messages_sent", "messages_received", "uptime", "last_activity", "active_handler_tasks", "last_error",
    "error_count",
}  # fmt: skip


class Sides:
    """A server and a client that do not ping, one of them with a stats_callback."""

    def __init__(self, network: Network, side: str) -> None:
        self.network, self.side = network, side

    def make(self, **config):
        ours = {"ping_interval": 0, **config}
        server = self.network.server(**(ours if self.side == "server" else {"ping_interval": 0}))
        client = self.network.client(**(ours if self.side == "client" else {"ping_interval": 0}))
        return server, client, (server if self.side == "server" else client)


@pytest.fixture(params=["server", "client"])
def sides(request, network):
    return Sides(network, request.param)


async def test_it_is_called_every_interval_while_something_changes(sides):
    told = []
    server, client, _ = sides.make(
        stats_callback=lambda stats: told.append((trio.current_time(), stats)), stats_interval=2
    )
    async with server, client:
        await client.connect()
        await trio.sleep(0.5)  # between two calls
        for _ in range(5):
            await client.send_message(text_message())
            await server.broadcast_message(text_message())
            await trio.sleep(1)
        await trio.sleep(20)
        assert [at for at, _ in told] == [2, 4, 6]
        await client.send_message(text_message())
        await trio.sleep(3)
        assert len(told) == 4
    for _, stats in told:
        assert set(stats) >= DOCUMENTED
        assert json.loads(json.dumps(stats)) == stats
        assert "key_of_client" not in json.dumps(stats)
    assert [stats["active_connections"] for _, stats in told] == [1] * 4


async def test_each_call_gets_a_dict_of_its_own(sides):
    told = []

    def callback(stats):
        told.append(stats["total_messages"])
        stats.clear()

    server, client, side = sides.make(stats_callback=callback, stats_interval=1)
    async with server, client:
        await client.connect()
        await trio.sleep(0.5)
        for _ in range(3):
            await client.send_message(text_message())
            await trio.sleep(1)
        assert told == [1, 2, 3]
        assert set(side.get_stats()) >= DOCUMENTED


async def test_it_may_be_assigned_and_taken_away_while_running(sides):
    told = []
    server, client, side = sides.make(stats_interval=1)
    async with server, client:
        await client.connect()
        await trio.sleep(3.5)
        side.config.stats_callback = told.append
        await trio.sleep(1)
        assert len(told) == 1
        side.config.enable_stats = False
        await client.send_message(text_message())
        await trio.sleep(2)
        assert len(told) == 1
        side.config.enable_stats = True
        await trio.sleep(1)
        assert len(told) == 2
        side.config.stats_interval = 5
        await trio.sleep(1)
        side.config.stats_callback = None
        await client.send_message(text_message())
        await trio.sleep(10)
        assert len(told) == 2


async def test_one_that_raises_is_logged_and_called_again(sides, log):
    calls = []

    async def callback(stats):
        calls.append(stats)
        raise ValueError("mine")

    server, client, side = sides.make(stats_callback=callback, stats_interval=1)
    async with server, client:
        await client.connect()
        await trio.sleep(1.5)
        assert log.having("stats_callback raised ValueError", "ERROR")
        await client.send_message(text_message())
        await trio.sleep(1)
        assert len(calls) >= 2
        assert side.get_stats()["handler_errors"] == len(calls)
        assert client.is_connected()


async def test_one_that_hangs_is_bounded_by_handler_timeout_and_delays_nothing(sides, log):
    async def callback(stats):
        await trio.sleep(math.inf)

    server, client, _ = sides.make(stats_callback=callback, stats_interval=1, handler_timeout=3)
    async with server, client:
        await client.connect()
        await trio.sleep(2)
        assert await client.send_message(text_message())
        await trio.sleep(3)
        assert log.having("stats_callback took too long", "ERROR")


async def test_one_that_hangs_does_not_keep_a_stop_waiting_longer_than_shutdown_timeout(sides):
    async def callback(stats):
        await trio.sleep(math.inf)

    server, client, side = sides.make(stats_callback=callback, stats_interval=1, shutdown_timeout=2)
    async with server, client:
        await client.connect()
        await trio.sleep(1.5)
        await side.stop()
        assert trio.current_time() <= 3.5


async def test_it_may_stop_its_owner(sides):
    async def callback(stats):
        await side.stop()

    server, client, side = sides.make(stats_callback=callback, stats_interval=1)
    async with server, client:
        await client.connect()
        await trio.sleep(5)
        assert not side.is_running()
