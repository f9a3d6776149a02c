"""Keeping a connection to servers that change, authenticate late or die without saying so."""

from __future__ import annotations

import pytest
import trio

from tests.client.raw import closes, drops, old_server, silent, welcomes

# -- who


async def test_a_change_of_key_or_platform_means_a_new_id(network, play):
    peers = await play(welcomes)
    async with network.client() as client:
        for change in ({}, {"api_key": "another_key_1"}, {"platform": "wechat"}, {"headers": {"x-a": "1"}}):
            client.update_config(**change)
            await client.disconnect()
            assert await client.connect()
            assert peers[-1].header("x-uuid") == client.get_connection_uuid()
    same, by_key, by_platform, unchanged = [peer.header("x-uuid") for peer in peers]
    assert len({same, by_key, by_platform}) == 3
    assert unchanged == by_platform
    assert [peer.header("x-apikey") for peer in peers] == ["key_of_client"] + ["another_key_1"] * 3
    assert [peer.header("x-platform") for peer in peers] == ["default"] * 2 + ["wechat"] * 2


async def test_a_change_takes_effect_when_it_reconnects(network, play):
    peers = await play(drops(after=5), welcomes)
    async with network.client() as client:
        assert await client.connect()
        before = client.get_connection_uuid()
        client.update_config(api_key="another_key_1")
        assert client.is_connected()
        await trio.sleep(5.01)
        await client.wait_connected()
        assert peers[1].header("x-apikey") == "another_key_1"
        assert peers[1].header("x-uuid") not in (before, None)


async def test_a_configured_id_is_kept(network, play):
    peers = await play(drops(after=5), welcomes)
    async with network.client(connection_uuid="my-bot") as client:
        assert client.get_connection_uuid() == "my-bot"
        assert await client.connect()
        await trio.sleep(5.01)
        await client.wait_connected()
        assert [peer.header("x-uuid") for peer in peers] == ["my-bot", "my-bot"]


# -- the peer that accepts first and authenticates later


async def test_an_old_server_counts_as_connected_half_a_second_later(network, play):
    await play(old_server)
    async with network.client() as client:
        start = trio.current_time()
        assert await client.connect()
        assert trio.current_time() - start == pytest.approx(0.5)


async def test_an_old_servers_refusal_comes_as_an_early_close(network, play):
    peers = await play(closes(1000, "Authentication failed: wrong key", after=0.3, ours=False))
    async with network.client() as client:
        start = trio.current_time()
        assert not await client.connect()
        assert trio.current_time() - start == pytest.approx(0.3, abs=0.01)
        assert "authentication failed" in client.get_last_error()
        assert "wrong key" in client.get_last_error()
        stats = client.get_stats()
        assert (stats["successful_connects"], stats["failed_connects"]) == (0, 1)
        await trio.sleep(1000)
        assert len(peers) == 1


async def test_another_early_close_of_an_old_server_is_one_failed_attempt(network, play):
    peers = await play(closes(1000, "restarting", after=0.3, ours=False), old_server)
    async with network.client() as client:
        assert await client.connect()
        assert len(peers) == 2


async def test_no_hook_is_called_for_a_connection_that_never_counted(network, play):
    called = []
    await play(closes(1000, "Authentication failed", after=0.3, ours=False))
    async with network.client(
        on_connect=lambda *args: called.append(args), on_disconnect=lambda *args: called.append(args)
    ) as client:
        assert not await client.connect()
    assert not called


# -- a server that has died without saying so


@pytest.mark.parametrize("interval", [20.0, 3.0])
async def test_a_dead_server_is_found_out_within_interval_and_timeout(network, play, interval):
    async def dies(peer):
        await peer.accept()
        await trio.sleep_forever()

    await play(dies, welcomes)
    lost = []
    async with network.client(ping_interval=interval, ping_timeout=7.0, close_timeout=1.0) as client:
        client.config.on_disconnect = lambda uuid, error: lost.append((trio.current_time(), error))
        assert await client.connect()
        start = trio.current_time()
        await trio.sleep(interval + 7 + 2)
        ((when, error),) = lost
        assert when - start <= interval + 7 + 1
        assert "pong" in error
        await client.wait_connected()


async def test_a_living_but_silent_server_is_kept(network, play):
    peers = await play(welcomes)
    async with network.client(ping_interval=5.0, ping_timeout=2.0) as client:
        assert await client.connect()
        await trio.sleep(501)
        assert len(peers) == 1
        assert peers[0].pings == 100


async def test_no_interval_means_no_pings(network, play):
    peers = await play(welcomes)
    async with network.client(ping_interval=0) as client:
        assert await client.connect()
        await trio.sleep(500)
        assert peers[0].pings == 0
        assert client.is_connected()


async def test_a_server_that_is_silent_from_the_beginning_is_left_and_tried_again(network, play):
    peers = await play(drops(), silent, silent, welcomes)
    async with network.client() as client:
        assert await client.connect()
        await trio.sleep(0.01)
        await client.wait_connected()
        assert len(peers) == 4
        assert len(network.open_streams) == 1
