"""Keeping a connection: what is a reason to come back, when, how often, and when to give up."""

from __future__ import annotations

import itertools
import random

import pytest
import trio

from maim_trio.errors import NotConnected
from tests.client.raw import closes, drops, hangs_up, refuses, sends, standard, welcomes
from tests.memory import text_message

FOR_EVER = {"max_reconnect_attempts": 0}


def gaps(times):
    return [later - earlier for earlier, later in itertools.pairwise(times)]


async def wait_given_up(client):
    try:
        while True:
            await client.wait_connected()
            await trio.sleep(0.01)
    except NotConnected as error:
        return str(error)


# -- what is a reason to come back


@pytest.mark.parametrize("code", [1000, 1001, 1005, 1009, 1011, 1012, 1013, 1014, 3000, 4000, 4002, 4999])
async def test_passing_closes_are_followed_by_a_reconnect(network, play, code):
    peers = await play(closes(code, "" if code == 1005 else "bye", after=1), welcomes)
    async with network.client() as client:
        assert await client.connect()
        uuid = client.get_connection_uuid()
        await trio.sleep(2.5)
        await client.wait_connected()
        assert len(peers) == 2
        assert client.get_connection_uuid() == uuid
        assert [peer.header("x-uuid") for peer in peers] == [uuid, uuid]
        assert await client.send_message(text_message())


async def test_a_lost_connection_is_followed_by_a_reconnect(network, play):
    peers = await play(drops(after=1), welcomes)
    async with network.client() as client:
        assert await client.connect()
        await trio.sleep(2.5)
        await client.wait_connected()
        assert len(peers) == 2


@pytest.mark.parametrize(
    ("code", "words"),
    [(1002, "1002"), (1003, "1003"), (1007, "1007"), (1008, "1008"), (4001, "replaced"), (4003, "revoked")],
)
async def test_final_closes_are_the_end(network, play, code, words):
    peers = await play(closes(code, "because I say so", after=1))
    async with network.client(**FOR_EVER) as client:
        assert await client.connect()
        reason = await wait_given_up(client)
        assert words in reason
        assert "because I say so" in reason
        assert words in client.get_last_error()
        assert not client.is_connected()
        await trio.sleep(1000)
        assert len(peers) == 1


async def test_auto_reconnect_off_means_one_connection(network, play):
    peers = await play(drops(after=1))
    async with network.client(auto_reconnect=False) as client:
        assert await client.connect()
        assert "auto_reconnect" in await wait_given_up(client)
        assert client.get_last_error()
        await trio.sleep(1000)
        assert len(peers) == 1
        assert await client.connect()
        assert len(peers) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_a_refusal_while_reconnecting_is_the_end(network, play, status):
    peers = await play(drops(after=1), refuses(status))
    async with network.client(**FOR_EVER) as client:
        assert await client.connect()
        assert str(status) in await wait_given_up(client)
        await trio.sleep(1000)
        assert len(peers) == 2


@pytest.mark.parametrize("status", [301, 429, 500, 503])
async def test_other_refusals_while_reconnecting_are_not(network, play, status):
    peers = await play(drops(after=1), refuses(status), refuses(status), welcomes)
    async with network.client() as client:
        assert await client.connect()
        await trio.sleep(1.01)
        await client.wait_connected()
        assert len(peers) == 4


async def test_an_old_servers_authentication_failure_while_reconnecting_is_the_end(network, play):
    peers = await play(drops(after=1), closes(1000, "Authentication failed: expired", ours=False))
    async with network.client(**FOR_EVER) as client:
        assert await client.connect()
        reason = await wait_given_up(client)
        assert "authentication failed" in reason
        assert "expired" in reason
        assert len(peers) == 2


async def test_what_the_client_itself_found_wrong_is_not_called_the_servers_complaint(network, play):
    async def violates(peer):
        await peer.accept()
        await peer.say(b"\xff\xff\xff\xff")
        await peer.serve()

    await play(violates)
    async with network.client() as client:
        assert await client.connect()
        reason = await wait_given_up(client)
        assert "1002" in reason
        assert "the server saw" not in reason


async def test_a_message_that_is_too_large_ends_the_connection_and_it_comes_back(network, play):
    peers = await play(sends(standard("x" * 5000)), welcomes)
    errors = []
    client = network.client(max_message_size=1024, on_disconnect=lambda _uuid, error: errors.append(error))
    async with client:
        assert await client.connect()
        await trio.sleep(5)
        assert client.is_connected()
        assert peers[0].code == 1009
        assert "1009" in errors[0]
        assert "this client" in errors[0]


@pytest.mark.parametrize(("code", "words"), [(1009, "too large"), (1012, "restarting"), (1006, "lost")])
async def test_why_a_connection_has_ended_stays_in_the_stats_when_there_is_another(network, play, code, words):
    await play(drops(after=1) if code == 1006 else closes(code, after=1), welcomes)
    async with network.client() as client:
        assert await client.connect()
        await trio.sleep(5)
        assert client.is_connected()
        assert client.get_last_error() is None
        stats = client.get_stats()
        assert words in stats["last_error"]
        assert stats["error_count"] == 1


async def test_what_was_meant_is_no_error(network, play):
    await play(welcomes)
    async with network.client() as client:
        assert await client.connect()
        await client.disconnect()
        assert (client.get_stats()["last_error"], client.get_stats()["error_count"]) == (None, 0)


# -- when


async def test_1013_is_not_answered_before_reconnect_delay(network, play):
    for _ in range(5):
        network.dials.clear()
        await play(closes(1013), welcomes)
        async with network.client(reconnect_delay=3.0) as client:
            assert await client.connect()
            await trio.sleep(5)
            first, second = network.dials
            assert second - first >= 3


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_honoured(network, play, status):
    await play(drops(), refuses(status, {"Retry-After": "100"}), welcomes)
    async with network.client() as client:
        assert await client.connect()
        await trio.sleep(50)
        assert len(network.dials) == 2
        await client.wait_connected()
        assert len(network.dials) == 3
        assert network.dials[2] - network.dials[1] >= 100


async def test_delays_double_up_to_the_maximum_with_full_jitter(network):
    """Drawn from zero to the ceiling, not around it."""
    series = []
    for _ in range(40):
        network.dials.clear()
        async with network.client(connect_timeout=0.001, **FOR_EVER) as client:
            await client.connect()
            await trio.sleep(500)
        series.append(gaps(network.dials)[:10])
    ceilings = [1, 2, 4, 8, 16, 30, 30, 30, 30, 30]
    for delays, ceiling in zip(zip(*series, strict=True), ceilings, strict=True):
        assert max(delays) <= ceiling
        assert max(delays) > 0.7 * ceiling
        assert min(delays) < 0.3 * ceiling


async def test_reconnect_delay_and_its_maximum_can_be_set(network):
    random.seed(5)
    async with network.client(connect_timeout=0.001, reconnect_delay=10.0, max_reconnect_delay=15.0, **FOR_EVER) as c:
        await c.connect()
        await trio.sleep(2000)
    delays = gaps(network.dials)
    assert max(delays) <= 15
    assert delays[0] <= 10
    assert 5 < sum(delays) / len(delays) < 10


async def test_a_flapping_server_is_not_hammered(network, play):
    """It accepts and drops at once, for ever: each time counts as one more failure."""
    random.seed(1)
    peers = await play(drops())
    async with network.client(**FOR_EVER) as client:
        assert await client.connect()
        await trio.sleep(600)
    assert len(peers) < 60
    assert sum(gaps(network.dials)[10:20]) > 60


async def test_a_connection_that_has_lived_starts_the_delays_anew(network, play):
    await play(*[hangs_up] * 8, drops(after=11), *[hangs_up] * 3, welcomes)
    async with network.client(connect_timeout=1000) as client:
        assert await client.connect()
        await trio.sleep(11.01)
        await client.wait_connected()
    delays = gaps(network.dials)
    assert delays[8] <= 11 + 1
    assert delays[9] <= 2
    assert delays[10] <= 4


async def test_a_connection_that_has_not_lived_long_enough_does_not(network, play):
    longest = 0.0
    for _ in range(12):
        network.dials.clear()
        await play(*[hangs_up] * 6, drops(after=9), welcomes)
        async with network.client(connect_timeout=1000) as client:
            assert await client.connect()
            await trio.sleep(9.01)
            await client.wait_connected()
        longest = max(longest, gaps(network.dials)[6] - 9)
    assert longest > 2


async def test_reconnect_reset_after_can_be_set(network, play):
    await play(*[hangs_up] * 8, drops(after=3), welcomes)
    async with network.client(connect_timeout=1000, reconnect_reset_after=2.0) as client:
        assert await client.connect()
        await trio.sleep(3.01)
        await client.wait_connected()
    assert gaps(network.dials)[8] <= 3 + 1


async def test_an_explicit_connect_does_not_wait_for_the_backoff(network, play):
    async with network.client(connect_timeout=100, reconnect_delay=10.0, **FOR_EVER) as client:
        with trio.move_on_after(100):
            await client.connect()
        await trio.sleep(100)  # by now the delays are long
        await play(welcomes)
        start = trio.current_time()
        assert await client.connect()
        assert trio.current_time() == start


async def test_an_explicit_connect_does_wait_for_what_the_server_asked_for(network, play):
    peers = await play(refuses(503, {"Retry-After": "100"}), welcomes)
    async with network.client() as client:
        assert not await client.connect()
        assert not await client.connect()
        assert len(peers) == 1
        assert "503" in client.get_last_error()
        await client.wait_connected()
        assert len(peers) == 2


# -- how often


@pytest.mark.parametrize("limit", [1, 2, 5])
async def test_after_a_loss_there_are_so_many_attempts(network, play, limit):
    await play(drops(after=1), hangs_up)
    async with network.client(max_reconnect_attempts=limit) as client:
        assert await client.connect()
        reason = await wait_given_up(client)
        assert f"{limit} attempts" in reason
        assert client.get_last_error()
        await trio.sleep(1000)
        assert len(network.dials) == 1 + limit


@pytest.mark.parametrize("limit", [1, 5])
async def test_a_flapping_server_uses_them_up_too(network, play, limit):
    peers = await play(drops())
    async with network.client(max_reconnect_attempts=limit) as client:
        assert await client.connect()
        await wait_given_up(client)
        await trio.sleep(1000)
        assert len(peers) == 1 + limit


async def test_a_connection_that_has_lived_gives_them_back(network, play):
    lived = [*[hangs_up] * 4, drops(after=11)]
    peers = await play(drops(after=11), *lived, *lived, *lived, hangs_up)
    async with network.client(max_reconnect_attempts=5) as client:
        assert await client.connect()
        await wait_given_up(client)
        assert len(peers) == 1 + 3 * 5 + 5


async def test_without_a_limit_it_never_gives_up(network):
    async with network.client(connect_timeout=1, **FOR_EVER) as client:
        assert not await client.connect()
        with trio.move_on_after(3000) as scope:
            await client.wait_connected()
        assert scope.cancelled_caught
        assert len(network.dials) > 100


async def test_waiting_for_a_connection_does_not_keep_the_attempts_going(network, play, nursery):
    """A loop around wait_connected() is to hear that the client has given up."""
    await play(drops(after=1), hangs_up)
    async with network.client(max_reconnect_attempts=2) as client:
        assert await client.connect()
        await trio.sleep(1.0001)
        with pytest.raises(NotConnected):
            await client.wait_connected()
        assert len(network.dials) == 3


async def test_connect_after_giving_up_starts_anew(network, play):
    await play(drops(), hangs_up, hangs_up, *[hangs_up] * 3, welcomes)
    async with network.client(max_reconnect_attempts=2) as client:
        uuid = client.get_connection_uuid()
        assert await client.connect()
        await wait_given_up(client)
        assert not await client.send_message(text_message())
        assert await client.connect()
        await client.wait_connected()
        assert client.get_connection_uuid() == uuid
        assert client.get_last_error() is None


async def test_messages_raises_once_the_client_has_given_up_while_reconnecting(network, play):
    await play(drops(after=1), hangs_up)
    async with network.client(max_reconnect_attempts=2) as client:
        messages = client.messages()
        assert await client.connect()
        with pytest.raises(NotConnected, match="2 attempts"):
            await anext(messages)
