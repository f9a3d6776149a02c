"""A client with many connections is stopped: from anywhere, in every situation."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.client.multi import fields
from tests.client.raw import drops, silent, welcomes
from tests.memory import text_message


async def test_stop_from_a_callback_returns_at_once_and_ends_it(bots, nursery):
    stopped = trio.Event()

    async def on_message(message, metadata):
        await client.stop()
        assert client.is_running()
        stopped.set()

    async with bots["a"].server() as server:
        client = bots.client(connections={"a": fields("a")}, on_message=on_message, auto_connect_on_start=True)
        await client.start(nursery)
        await server.broadcast_message(text_message())
        await stopped.wait()
        await client.stop()
        assert not client.is_running()
        assert server.get_connection_count() == 0


async def test_stop_from_the_stats_callback(bots, nursery):
    client = bots.client(stats_callback=lambda stats: client.stop(), stats_interval=1)
    await client.start(nursery)
    await trio.sleep(2)
    assert not client.is_running()


async def test_stop_gives_handlers_their_time_on_every_connection_at_once(bots, nursery):
    done = []

    async def on_message(message, metadata):
        await trio.sleep(5)
        assert await client.send_custom_message(metadata["connection_name"], "goodbye", {})
        done.append(metadata["connection_name"])

    async with bots["a"].server() as a, bots["b"].server() as b:
        connections = {name: fields(name) for name in "ab"}
        client = bots.client(connections=connections, on_message=on_message, auto_connect_on_start=True)
        await client.start(nursery)
        for server in (a, b):
            await server.broadcast_message(text_message())
        await trio.testing.wait_all_tasks_blocked()
        await client.stop()
        assert trio.current_time() == 5
        assert sorted(done) == ["a", "b"]


async def _append(results, function):
    results.append(await function())


async def test_stop_while_connections_are_being_made_lost_and_waited_for(bots, nursery):
    await bots.play("silent", silent)
    await bots.play("flapping", drops(after=0.1))
    connections = {name: fields(name) for name in ("silent", "flapping", "nowhere")}
    client = bots.client(connections=connections)
    await client.start(nursery)
    results = []
    nursery.start_soon(_append, results, client.connect)
    await trio.sleep(2)
    await client.stop()
    assert trio.current_time() <= 2.1  # the flapping one may be saying goodbye
    await trio.testing.wait_all_tasks_blocked()
    assert results == [dict.fromkeys(connections, False) | {"flapping": results[0]["flapping"]}]
    assert all(network.open_streams == set() for network in bots.values())


async def test_cancelled_from_outside_it_says_goodbye_and_ends(bots):
    peers = await bots.play("a", welcomes)
    client = bots.client(connections={"a": fields("a")})
    with trio.CancelScope() as scope:
        async with client:
            await client.connect()
            scope.cancel()
            await trio.sleep_forever()
    assert not client.is_running()
    await trio.testing.wait_all_tasks_blocked()
    assert peers[0].code == 1001
    assert bots["a"].open_streams == set()


async def test_an_exception_of_the_body_leaves_it_as_it_is(bots):
    with pytest.raises(ValueError, match="mine"):
        async with bots.client():
            raise ValueError("mine")


async def test_stop_is_idempotent_and_may_come_from_many_tasks(bots, nursery):
    await bots.play("a", welcomes)
    client = bots.client(connections={"a": fields("a")}, auto_connect_on_start=True)
    await client.stop()
    await client.start(nursery)
    async with trio.open_nursery() as stoppers:
        for _ in range(3):
            stoppers.start_soon(client.stop)
    assert not client.is_running()
    await client.stop()


async def test_a_stop_ends_a_start_that_is_connecting(bots, nursery):
    await bots.play("a", silent)
    client = bots.client(connections={"a": fields("a")}, auto_connect_on_start=True)
    nursery.start_soon(client.start, nursery)
    await trio.sleep(1)
    await client.stop()
    assert trio.current_time() == 1
    assert not client.is_running()
    assert bots["a"].open_streams == set()


async def test_a_start_that_is_cancelled_while_connecting_leaves_nothing(bots):
    await bots.play("a", silent)
    client = bots.client(connections={"a": fields("a")}, auto_connect_on_start=True)
    async with trio.open_nursery() as nursery:
        with trio.move_on_after(1):
            await client.start(nursery)
    assert trio.current_time() == 1
    assert not client.is_running()
    assert bots["a"].open_streams == set()
