"""on_connect and on_disconnect: told of each connection, in order, whatever they do."""

from __future__ import annotations

from itertools import count

import trio
import trio.testing

from tests.client.checks import Calls
from tests.client.raw import drops, sends, standard, welcomes
from tests.memory import text_message

settled = trio.testing.wait_all_tasks_blocked


async def test_hooks_are_told_of_each_connection_in_order(network, play):
    events = []
    await play(drops(after=1), drops(after=1), welcomes)
    client = network.client()
    client.config.on_connect = lambda uuid, config: events.append(("on", uuid, config is client.config))
    client.config.on_disconnect = lambda uuid, error: events.append(("off", uuid, error))
    async with client:
        assert await client.connect()
        await trio.sleep(30)
        await client.disconnect()
        await settled()
        uuid = client.get_connection_uuid()
        assert events == [
            ("on", uuid, True),
            ("off", uuid, "the connection was lost (close 1006): connection lost"),
            ("on", uuid, True),
            ("off", uuid, "the connection was lost (close 1006): connection lost"),
            ("on", uuid, True),
            ("off", uuid, None),
        ]


async def test_stop_tells_on_disconnect_before_it_returns(network, play):
    events = []

    async def slow(_uuid, _error):
        await trio.sleep(3)
        events.append(_error)

    await play(welcomes)
    async with network.client(on_disconnect=slow) as client:
        assert await client.connect()
        await client.stop()
        assert events == [None]


async def test_hooks_that_raise_do_not_keep_it_from_reconnecting(network, play):
    events = []

    def on_connect(_uuid, _config):
        events.append("on")
        raise ValueError("out of the hook")

    async def on_disconnect(_uuid, _error):
        events.append("off")
        raise ValueError("out of the hook")

    peers = await play(drops(after=1), drops(after=1), welcomes)
    async with network.client(on_connect=on_connect, on_disconnect=on_disconnect) as client:
        assert await client.connect()
        await trio.sleep(30)
        assert client.is_connected()
        assert len(peers) == 3
        assert events == ["on", "off", "on", "off", "on"]
        assert client.get_stats()["handler_errors"] == 5


async def test_hooks_that_hang_are_cut_off_and_the_next_is_called(network, play):
    events = []

    async def hangs(_uuid, what):
        events.append("off" if isinstance(what, str) else "on")
        await trio.sleep_forever()

    peers = await play(drops(after=1), drops(after=1), welcomes)
    async with network.client(on_connect=hangs, on_disconnect=hangs, handler_timeout=2.0) as client:
        assert await client.connect()
        await trio.sleep(30)
        assert client.is_connected()
        assert len(peers) == 3
        assert events == ["on", "off", "on", "off", "on"]
        assert client.get_stats()["handler_timeouts"] == 5


async def test_hooks_that_hang_without_any_bound_keep_neither_messages_nor_reconnecting_nor_stop(network, play):
    calls = Calls()

    async def hangs(_uuid, _what):
        await trio.sleep_forever()

    peers = await play(drops(after=1), drops(after=1), sends(standard()))
    async with network.client(on_connect=hangs, on_disconnect=hangs, on_message=calls, shutdown_timeout=5) as client:
        assert await client.connect()
        await trio.sleep(30)
        assert client.is_connected()
        assert len(peers) == 3
        assert len(calls) == 1
        assert await client.send_message(text_message())
        start = trio.current_time()
        await client.stop()
        assert trio.current_time() - start <= 5.1
    assert not network.open_streams


async def test_a_hook_that_hangs_while_the_server_flaps_piles_up_nothing_and_stops_cleanly(network, play):
    async def hangs(_uuid, _what):
        await trio.sleep_forever()

    peers = await play(drops())
    async with network.client(
        on_connect=hangs, on_disconnect=hangs, max_reconnect_attempts=0, shutdown_timeout=5
    ) as client:
        assert await client.connect()
        await trio.sleep(3000)
        assert len(peers) < 10
        assert not client.is_connected()
        start = trio.current_time()
        await client.stop()
        assert trio.current_time() - start <= 5.1


async def test_stop_from_a_hook_initiates_it_and_returns(network, play):
    for name in ("on_connect", "on_disconnect"):
        returned = []

        async def stops(*_):
            await client.stop()  # noqa: B023 - called within this turn of the loop
            returned.append(client.is_running())  # noqa: B023

        await play(drops(after=1))
        async with trio.open_nursery() as nursery:
            client = network.client(**{name: stops})
            await client.start(nursery)
            await client.connect()
        assert returned[0] is True
        assert not client.is_running()
        assert not network.open_streams


async def test_connect_and_disconnect_may_be_called_by_hooks(network, play):
    results = []

    async def on_connect(_uuid, _config):
        if len(results) == 0:
            results.append(await client.disconnect())

    async def on_disconnect(_uuid, _error):
        if len(results) == 1:
            results.append(await client.connect())

    peers = await play(welcomes)
    async with network.client(on_connect=on_connect, on_disconnect=on_disconnect) as client:
        assert await client.connect()
        await trio.sleep(1)
        assert results == [True, True]
        assert client.is_connected()
        assert len(peers) == 2


async def test_hooks_are_read_live(network, play):
    events = []
    await play(drops(after=1), welcomes)
    async with network.client(on_connect=lambda *_: events.append("old")) as client:
        assert await client.connect()
        await settled()
        client.config.on_connect = lambda *_: events.append("new")
        await trio.sleep(3)
    assert events == ["old", "new"]


async def test_what_on_connect_sends_is_accepted(network, play):
    numbers = count(1)

    async def on_connect(_uuid, _config):
        assert await client.send_custom_message("hello", {"n": next(numbers)})

    peers = await play(drops(after=1), welcomes)
    async with network.client(on_connect=on_connect) as client:
        assert await client.connect()
        await trio.sleep(3)
        assert [message["type"] for message in peers[1].heard] == ["custom_hello"] * 2
        assert [message["payload"]["n"] for message in peers[1].heard] == [1, 2]  # nobody has acked the first
        assert client.get_stats()["handler_errors"] == 0
