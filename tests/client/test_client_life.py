"""Starting, running and stopping a client, in all forms, and how everything ends."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from maim_trio.client import ClientConfig, WebSocketClient
from maim_trio.errors import ConfigError, NotConnected, NotRunning
from tests.client.checks import KEY, Elapsed
from tests.client.raw import refuses, sends, standard, welcomes
from tests.memory import MemoryClient, Network, text_message

# -- the three forms


async def test_async_with_runs_the_client_and_does_not_connect(network, play):
    peers = await play(welcomes)
    client = network.client()
    assert not client.is_running()
    async with client as same:
        assert same is client
        assert client.is_running()
        await trio.sleep(100)
        assert not client.is_connected()
        assert await client.connect()
        assert client.is_connected()
    assert not client.is_running()
    assert not client.is_connected()
    assert len(peers) == 1
    assert peers[0].code == 1001
    assert not network.open_streams


async def test_start_and_stop_in_a_nursery(network, play):
    peers = await play(welcomes)
    async with trio.open_nursery() as nursery:
        client = network.client()
        await client.start(nursery)
        assert client.is_running()
        await trio.sleep(100)
        assert not network.dials
        assert await client.connect()
        await client.stop()
        assert not client.is_running()
        assert not nursery.child_tasks
    assert peers[0].code == 1001


def test_run_under_trio_run_ends_when_the_client_is_stopped():
    class Stopping(MemoryClient):
        async def open_stream(self, address):
            await self.stop()  # from the inside: it only initiates
            raise ConnectionRefusedError

    client = Stopping(Network(), ClientConfig("ws://memory/ws", KEY))
    trio.run(client.run, clock=trio.testing.MockClock(autojump_threshold=0))
    assert not client.is_running()


async def test_run_started_in_a_nursery_connects(network, play):
    await play(welcomes)
    async with trio.open_nursery() as nursery:
        client = await nursery.start(network.client().run)
        assert isinstance(client, WebSocketClient)
        assert client.is_running()
        await client.wait_connected()
        assert client.is_connected()
        await client.stop()
    assert not network.open_streams


async def test_run_goes_on_while_the_server_is_away(network, play):
    async with trio.open_nursery() as nursery:
        client = await nursery.start(network.client(max_reconnect_attempts=0).run)
        await trio.sleep(100)
        assert not client.is_connected()
        await play(welcomes)
        await client.wait_connected()
        nursery.cancel_scope.cancel()
    assert not client.is_running()
    assert not network.open_streams


async def test_an_incomplete_configuration_is_refused_by_each_form_as_it_is(network):
    client = network.client()
    client.config.api_key = ""
    with pytest.raises(ConfigError, match="api_key"):
        async with client:
            raise AssertionError("never")
    with pytest.raises(ConfigError, match="api_key"):
        await client.run()
    async with trio.open_nursery() as nursery:
        with pytest.raises(ConfigError, match="api_key"):
            await client.start(nursery)
    assert not client.is_running()
    with pytest.raises(ConfigError, match="api_key"):
        WebSocketClient(client.config)


async def test_starting_twice_is_an_error_that_harms_nothing(network, play, nursery):
    await play(welcomes)
    async with network.client() as client:
        assert await client.connect()
        with pytest.raises(NotRunning, match="stop"):
            await client.start(nursery)
        with pytest.raises(NotRunning):
            async with client:
                raise AssertionError("never")
        with pytest.raises(NotRunning):
            await client.run()
        assert client.is_connected()
    assert not client.is_running()


# -- ends


async def test_an_exception_of_the_body_comes_out_as_it_is(network, play):
    await play(welcomes)
    client, error = network.client(), ValueError("mine")

    async def body():
        async with client:
            assert await client.connect()
            raise error

    with pytest.raises(ValueError, match="mine") as caught:
        await body()
    assert caught.value is error
    assert not client.is_running()
    assert not network.open_streams


async def test_an_exception_of_the_body_survives_when_stopping_is_cut_short(network, play):
    await play(sends(standard()))

    async def hang(_message, _metadata):
        await trio.sleep_forever()  # and keeps stop() waiting

    client = network.client(on_message=hang)

    async def body():
        async with client:
            assert await client.connect()
            await trio.testing.wait_all_tasks_blocked()
            raise ValueError("mine")

    with trio.move_on_after(3) as scope, pytest.raises(ValueError, match="mine"):
        await body()
    assert scope.cancel_called
    assert not client.is_running()
    assert not network.open_streams


async def test_cancelling_the_surroundings_cleans_everything(network, play):
    peers = await play(welcomes)
    with trio.move_on_after(5) as scope:
        async with network.client() as client:
            assert await client.connect()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert not client.is_running()
    assert not client.is_connected()
    assert not network.open_streams
    assert peers[0].code == 1001
    assert not await client.connect()


async def test_stop_is_idempotent_and_may_come_from_several_tasks(network, play):
    await play(welcomes)
    client = network.client()
    await client.stop()
    async with client:
        assert await client.connect()
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(client.stop)
        assert not client.is_running()
        await client.stop()
    await client.stop()
    assert not network.open_streams


async def test_a_cancelled_stop_goes_on(network, play):
    async def deaf(peer):
        await peer.accept()
        await trio.sleep_forever()

    await play(deaf)
    async with trio.open_nursery() as nursery:
        client = network.client(close_timeout=4.0)
        await client.start(nursery)
        assert await client.connect()
        with trio.move_on_after(1) as scope:
            await client.stop()
        assert scope.cancelled_caught
        assert client.is_running()
        assert not await client.send_message(text_message())
        await trio.sleep(3.1)
        assert not client.is_running()
    assert not network.open_streams


async def test_a_deaf_server_holds_stop_for_close_timeout_only(network, play):
    async def deaf(peer):
        await peer.accept()
        await trio.sleep_forever()

    await play(deaf)
    async with network.client(close_timeout=4.0) as client:
        assert await client.connect()
        elapsed = Elapsed()
        await client.stop()
        assert elapsed.seconds == pytest.approx(4, abs=0.1)
    assert not network.open_streams


async def test_what_is_queued_leaves_before_stop_closes(network, play):
    got = []

    async def listens(peer):
        await peer.accept()
        while (message := await peer.read()) is not None:
            got.append(message["payload"]["n"])

    await play(listens)
    async with network.client(close_timeout=1.0) as client:
        assert await client.connect()
        for n in range(100):
            assert await client.send_custom_message("n", {"n": n})
        await client.stop()
    assert got == list(range(100))


async def test_a_stopped_client_can_be_started_again(network, play):
    peers = await play(welcomes)
    client = network.client()
    for _ in range(3):
        async with client:
            assert not client.is_connected()
            assert client.get_last_error() is None
            assert await client.connect()
            assert await client.send_message(text_message())
        assert not await client.send_message(text_message())
    assert len({peer.header("x-uuid") for peer in peers}) == 1
    assert len(peers) == 3


async def test_whoever_waits_for_a_connection_is_told_of_the_stop(network):
    told = []

    async def wait():
        with pytest.raises(NotConnected, match="stopped"):
            await client.wait_connected()
        told.append(True)

    async with network.client() as client, trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.sleep(1)
        await client.stop()
    assert told == [True]


async def test_stop_and_start_again_while_it_was_connecting(network, play):
    client = network.client()
    async with client, trio.open_nursery() as nursery:
        nursery.start_soon(client.connect)
        await trio.sleep(2)
        await client.stop()
    await play(welcomes)
    async with client:
        assert await client.connect()


async def test_running_ends_with_an_error_when_the_server_refuses(network, play):
    await play(refuses(401))
    with pytest.raises(NotConnected, match="authentication failed"):
        await network.client().run()
    assert not network.open_streams


async def test_running_goes_on_after_a_disconnect(network, play, nursery):
    await play(welcomes)
    client = await nursery.start(network.client().run)
    await client.wait_connected()
    await client.disconnect()
    await trio.sleep(1000)
    assert client.is_running()
    await client.stop()
