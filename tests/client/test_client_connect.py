"""connect() and disconnect(): what they return, when, and what is left afterwards."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from maim_trio.errors import NotConnected, NotRunning
from tests.client.checks import Elapsed, assert_sentence
from tests.client.raw import hangs_up, old_server, refuses, says, silent, welcomes
from tests.memory import text_message

# -- connect(): the truth table


async def test_true_once_our_kind_of_server_has_accepted(network, play):
    await play(welcomes)
    async with network.client() as client:
        elapsed = Elapsed()
        assert await client.connect() is True
        assert elapsed.seconds == 0
        assert client.is_connected()
        assert client.get_last_error() is None
        await client.wait_connected()


async def test_connect_on_a_connected_client_is_true_at_once(network, play):
    await play(welcomes)
    async with network.client() as client:
        assert await client.connect()
        assert await client.connect()
        assert len(network.dials) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_false_at_once_when_refused_and_no_further_attempts(network, play, status):
    peers = await play(refuses(status, body=b'{"error": "so it is", "code": "x"}'))
    async with network.client(max_reconnect_attempts=0) as client:
        elapsed = Elapsed()
        assert await client.connect() is False
        assert elapsed.seconds == 0
        assert_sentence(client, str(status), "so it is")
        with pytest.raises(NotConnected, match=str(status)):
            await client.wait_connected()
        await trio.sleep(1000)
        assert len(peers) == 1
        assert not client.is_connected()
    assert not network.open_streams


async def test_true_when_the_server_comes_within_connect_timeout(network, play, nursery):
    async def come():
        await trio.sleep(3)
        await play(welcomes)

    async with network.client(max_reconnect_delay=1.0) as client:
        nursery.start_soon(come)
        elapsed = Elapsed()
        assert await client.connect() is True
        assert 3 <= elapsed.seconds <= 4.1
        assert len(network.dials) > 3


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (None, ("could not be reached", "nobody listens")),
        (hangs_up, ("could not be reached",)),
        (silent, ("s",)),
        (says(b"SSH-2.0-OpenSSH\r\n\r\n"), ("HTTP",)),
        (says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"), ("200",)),
        (refuses(301, {"Location": "ws://elsewhere/ws"}), ("301",)),
        (refuses(429), ("429",)),
        (refuses(500), ("500",)),
        (refuses(503, {"Retry-After": "5"}), ("503",)),
        (refuses(503, {"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}), ("503",)),
    ],
    ids=["nobody", "hangs up", "silent", "ssh", "200", "301", "429", "500", "503", "503 long ago"],
)
async def test_false_by_timeout_then_it_goes_on_in_the_background(network, play, script, words):
    if script is not None:
        await play(script)
    async with network.client() as client:
        elapsed = Elapsed()
        assert await client.connect() is False
        assert elapsed.seconds == pytest.approx(10, abs=0.01)
        assert not client.is_connected()
        assert_sentence(client, *words)
        await play(welcomes)
        await client.wait_connected()
        assert client.get_last_error() is None
        assert elapsed.seconds < 50
    assert not network.open_streams


async def test_without_auto_reconnect_false_by_timeout_is_the_end(network, play):
    async with network.client(auto_reconnect=False) as client:
        elapsed = Elapsed()
        assert await client.connect() is False
        assert elapsed.seconds == pytest.approx(10, abs=0.01)
        assert len(network.dials) > 1
        assert_sentence(client, "nobody listens")
        await play(welcomes)
        attempts = len(network.dials)
        with pytest.raises(NotConnected):
            await client.wait_connected()
        await trio.sleep(1000)
        assert len(network.dials) == attempts
        assert await client.connect()


async def test_without_auto_reconnect_a_link_that_did_not_count_in_time_is_closed(network, play):
    called = []
    peers = await play(old_server)
    async with network.client(auto_reconnect=False, on_connect=lambda *_: called.append(True)) as client:
        client.config.connect_timeout = 0.25
        assert not await client.connect()
        assert_sentence(client)
        await trio.sleep(1)
        assert not client.is_connected()
        assert not network.open_streams
        assert not called
        assert peers[0].code == 1001
        client.config.connect_timeout = 1.0
        assert await client.connect()


async def test_connect_timeout_can_be_set(network):
    async with network.client(connect_timeout=2.5) as client:
        elapsed = Elapsed()
        assert not await client.connect()
        assert elapsed.seconds == pytest.approx(2.5, abs=0.01)


async def test_a_silent_server_costs_one_attempt_per_timeout(network, play):
    await play(silent)
    async with network.client(connect_timeout=5.0, max_reconnect_attempts=0) as client:
        assert not await client.connect()
        assert_sentence(client, "5 s")
        await trio.sleep(200)
        assert 6 <= len(network.dials) <= 42
        assert len(network.open_streams) <= 1
    assert not network.open_streams


async def test_two_connects_at_once_share_one_attempt(network, play):
    async def hesitates(peer):
        await trio.sleep(1)
        await welcomes(peer)

    peers = await play(hesitates)
    results = []

    async def connect():
        results.append(await client.connect())

    async with network.client() as client, trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(connect)
        await trio.sleep(2)
        assert results == [True] * 5
        assert len(peers) == len(network.dials) == 1
        nursery.cancel_scope.cancel()


async def test_two_connects_at_once_share_one_refusal(network, play):
    async def refuses_slowly(peer):
        await trio.sleep(1)
        await peer.refuse(401)

    peers = await play(refuses_slowly)
    results = []

    async def connect():
        results.append(await client.connect())

    async with network.client() as client:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(connect)
        assert results == [False] * 5
        assert len(peers) == 1


async def test_connect_before_start_is_false_and_says_so(network, play):
    await play(welcomes)
    client = network.client()
    assert await client.connect() is False
    assert_sentence(client, "start()")
    assert await client.disconnect() is False
    with pytest.raises(NotRunning, match="start"):
        await client.wait_connected()
    assert not network.dials


async def test_connect_after_stop_is_false_and_says_so(network, play):
    await play(welcomes)
    async with network.client() as client:
        assert await client.connect()
    assert await client.connect() is False
    assert_sentence(client, "start()")
    with pytest.raises(NotRunning):
        await client.wait_connected()


async def test_stop_while_connecting_makes_connect_false(network, play):
    for script in (None, silent, refuses(503, {"Retry-After": "60"}), old_server):
        if script is not None:
            await play(script)
        results = []

        async def connect():
            results.append(await client.connect())  # noqa: B023 - called within this turn of the loop

        async with network.client() as client, trio.open_nursery() as nursery:
            nursery.start_soon(connect)
            await trio.sleep(0.25)
            elapsed = Elapsed()
            await client.stop()
            assert elapsed.seconds <= 1.1  # the goodbye of a link that was half a second short of counting
            await trio.testing.wait_all_tasks_blocked()
            assert results == [False]
            assert_sentence(client, "")
        assert not network.open_streams


@pytest.mark.parametrize("url", ["", "http://memory/ws", "ws://", "nonsense", "ws://a..b/ws", "ws://[::1/ws?api_key=1"])
async def test_a_url_that_was_spoilt_on_a_running_client_is_an_error_not_a_crash(network, play, url):
    await play(welcomes)
    async with network.client() as client:
        client.config.url = url
        assert await client.connect() is False
        assert_sentence(client, "url")
        assert client.get_stats()["connected"] is False
        client.config.url = "ws://memory/ws"
        assert await client.connect()


# -- disconnect()


async def test_disconnect_closes_with_1000_and_stays_away(network, play):
    peers = await play(welcomes)
    async with network.client() as client:
        assert await client.connect()
        assert await client.disconnect() is True
        assert not client.is_connected()
        assert not network.open_streams
        assert peers[0].code == 1000
        assert not await client.send_message(text_message())
        with pytest.raises(NotConnected, match="disconnected"):
            await client.wait_connected()
        await trio.sleep(1000)
        assert len(peers) == 1
        assert client.is_running()
        assert await client.disconnect() is True


async def test_disconnect_then_connect_again(network, play):
    peers = await play(welcomes)
    async with network.client() as client:
        for _ in range(3):
            assert await client.connect()
            assert await client.send_message(text_message())
            assert await client.disconnect()
        assert [peer.code for peer in peers] == [1000] * 3


async def test_disconnect_during_a_reconnect_wait_ends_the_attempts(network, play):
    await play(hangs_up)
    async with network.client(max_reconnect_attempts=0, connect_timeout=3) as client:
        assert not await client.connect()
        await trio.sleep(60)
        attempts = len(network.dials)
        assert await client.disconnect() is True
        await trio.sleep(1000)
        assert len(network.dials) == attempts


@pytest.mark.parametrize("script", [silent, old_server])
async def test_disconnect_while_dialling_ends_the_attempt(network, play, script):
    await play(script)
    results = []

    async def connect():
        results.append(await client.connect())

    async with network.client() as client, trio.open_nursery() as nursery:
        nursery.start_soon(connect)
        await trio.sleep(0.25)
        assert await client.disconnect() is True
        await trio.testing.wait_all_tasks_blocked()
        assert results == [False]
        assert not network.open_streams
        await trio.sleep(1000)
        assert len(network.dials) == 1
        assert not client.is_connected()
        nursery.cancel_scope.cancel()


async def test_connect_while_disconnect_is_under_way_gives_a_new_connection(network, play):
    async def closes_slowly(peer):
        await peer.accept()
        while await peer.read() is not None:
            continue
        await trio.sleep(2)

    peers = await play(closes_slowly, welcomes)
    events = []
    async with network.client(
        on_connect=lambda *_: events.append("on"), on_disconnect=lambda *_: events.append("off")
    ) as client:
        assert await client.connect()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.disconnect)
            await trio.sleep(1)
            assert not client.is_connected()
            assert not await client.send_message(text_message())
            assert await client.connect()
            assert client.is_connected()
        assert len(peers) == 2
        assert await client.send_message(text_message())
        await trio.testing.wait_all_tasks_blocked()
        assert events == ["on", "off", "on"]


async def test_a_deaf_server_holds_disconnect_for_close_timeout_only(network, play):
    async def deaf(peer):
        await peer.accept()
        await trio.sleep_forever()

    await play(deaf)
    async with network.client(close_timeout=4.0) as client:
        assert await client.connect()
        elapsed = Elapsed()
        assert await client.disconnect()
        assert elapsed.seconds == pytest.approx(4, abs=0.1)
        assert not network.open_streams


async def test_while_a_server_says_goodbye_the_client_is_not_connected(network, play):
    async def leaves_slowly(peer):
        await peer.accept()
        await peer.close(1001, "going")
        await trio.sleep(3)

    await play(leaves_slowly, welcomes)
    async with network.client() as client:
        assert await client.connect()
        await trio.testing.wait_all_tasks_blocked()
        assert not client.is_connected()
        assert await client.connect()
        assert client.is_connected()
        assert await client.send_message(text_message())
