"""Delivery between a server and a client of ours over connections that are cut, freeze and come back."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from maim_trio._runtime.courier import OVERHEAD, TOTAL_FACTOR, UNPROVEN_GRACE
from maim_trio.errors import NotConnected, RequestTimeout
from maim_trio.server import AuthResult
from tests.client.raw import Peer as ServerPeer
from tests.client.raw import old_server, serve_scripts, welcomes
from tests.cuts import Cut, CuttingNetwork, Tally, exchange
from tests.memory import text_message
from tests.server.peer import ack, joined, standard, text_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BECAME_ANOTHER = "the client has become another user: its API key or platform has changed"
BYTES_OF_AN_EXCHANGE = 4500
"""Ten messages each way, more or less, with acks and the handshake."""


@asynccontextmanager
async def both(network: Any, *, server: Any = None, client: Any = None) -> AsyncIterator[tuple[Any, Any, Tally, Tally]]:
    """A connected pair, and what becomes of the messages upwards and downwards."""
    up, down = Tally(), Tally()
    order = {"handler_ordering": "per_connection"}
    async with (
        network.server(**{"on_message": up.handle, "on_undelivered": down.give_up, **order, **(server or {})}) as ours,
        network.client(
            **{
                **{"on_message": down.handle, "on_undelivered": up.give_up, "max_reconnect_attempts": 0},
                **order,
                **(client or {}),
            }
        ) as theirs,
    ):
        assert await theirs.connect()
        yield ours, theirs, up, down


async def send_up(client: Any, tally: Tally, *numbers: int) -> None:
    for number in numbers:
        assert await client.send_message(text_message(number))
        tally.accepted.append(number)


async def send_down(server: Any, tally: Tally, *numbers: int) -> None:
    for number in numbers:
        assert list((await server.send_message(text_message(number))).values()) == [True]
        tally.accepted.append(number)


class TestCuts:
    @pytest.mark.parametrize("direction", ["upwards", "downwards"])
    async def test_a_cut_after_any_byte_neither_loses_nor_repeats_nor_reorders(self, network, direction):
        for count in range(1, BYTES_OF_AN_EXCHANGE, 41):
            up, down = await exchange(CuttingNetwork([Cut(**{direction: count})]), 10)
            up.assert_exactly_once_in_order()
            down.assert_exactly_once_in_order()

    async def test_two_cuts_one_after_the_other_neither(self, network):
        for count in range(300, BYTES_OF_AN_EXCHANGE, 137):
            plan = [Cut(upwards=count), Cut(downwards=count)]
            up, down = await exchange(CuttingNetwork(plan), 10, inbox_size=4)
            up.assert_exactly_once_in_order()
            down.assert_exactly_once_in_order()

    async def test_what_was_sent_three_times_in_vain_is_reported(self, network, nursery):
        up = Tally()
        peers: list[ServerPeer] = await nursery.start(serve_scripts, network, [drops_after_reading] * 3 + [welcomes])
        async with network.client(max_reconnect_attempts=0, on_undelivered=up.give_up) as client:
            assert await client.connect()
            await send_up(client, up, 1)
            await trio.sleep(60)
            assert up.undelivered == [(1, "sent three times and never acknowledged")]
            assert client.get_stats()["messages_resent"] == 2
            assert [len(peer.heard) for peer in peers] == [1, 1, 1, 0]
            assert peers[0].heard == peers[1].heard == peers[2].heard


async def drops_after_reading(peer: ServerPeer) -> None:
    await peer.accept()
    await peer.read()


@asynccontextmanager
async def server_that_never_acks(server: Any) -> AsyncIterator[None]:
    """Everything the server reads meanwhile is dropped, as when its process hangs after the kernel has taken it."""
    server.stopping = True
    try:
        yield
    finally:
        server.stopping = False


async def client_is_back(client: Any) -> None:
    await trio.testing.wait_all_tasks_blocked()
    while not client.is_connected():  # noqa: ASYNC110 - in virtual time
        await trio.sleep(0.1)
    await trio.testing.wait_all_tasks_blocked()


cuts = st.builds(
    Cut, st.none() | st.integers(200, BYTES_OF_AN_EXCHANGE), st.none() | st.integers(200, BYTES_OF_AN_EXCHANGE)
)


@given(st.lists(cuts, max_size=6), st.sampled_from([{}, {"inbox_size": 3}, {"message_cache_max_size": 2}]))
@settings(max_examples=40, deadline=None)
def test_no_series_of_cuts_loses_repeats_or_reorders_in_silence(plan: list[Cut], config: dict[str, Any]) -> None:
    async def main() -> None:
        for tally in await exchange(CuttingNetwork(plan), 15, **config):
            assert (tally.lost, tally.duplicated) == ([], [])
            assert tally.in_order
            assert {reason for _, reason in tally.undelivered} <= {"sent three times and never acknowledged"}

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


class TestRetransmission:
    async def test_the_same_bytes_come_before_newer_ones_and_nothing_comes_twice_on_one_connection(self, network):
        async with network.server() as server:
            first = await joined(network, uuid="u1", key="key_of_client")
            for number in range(3):
                await server.send_message(text_message(number, platform="unknown"))
            seen = [await first.hear() for _ in range(3)]
            await first.say(ack(seen[1]["msg_id"]))
            await trio.sleep(100)
            await first.stream.aclose()
            await trio.sleep(1)
            await server.send_message(text_message(3, platform="unknown"))
            second = await joined(network, uuid="u1", key="key_of_client")
            again = [await second.hear() for _ in range(3)]
            assert again[:2] == [seen[0], seen[2]]
            assert text_of(again[2]) == 3
            assert server.get_stats()["messages_resent"] == 2

    async def test_what_is_sent_while_nobody_is_connected_is_kept_and_comes_first(self, cutting):
        async with both(cutting) as (server, client, up, down):
            cutting.cut()
            await trio.testing.wait_all_tasks_blocked()
            await send_down(server, down, *range(5))
            await send_up(client, up, *range(5))
            assert (server.get_stats()["outbox_size"], client.get_stats()["outbox_size"]) == (5, 5)
            await client_is_back(client)
            await send_up(client, up, 5)
            await send_down(server, down, 5)
            await trio.sleep(1)
            up.assert_exactly_once_in_order()
            down.assert_exactly_once_in_order()

    async def test_no_more_than_inbox_size_are_unacked_on_the_wire(self, network):
        async with network.server(inbox_size=4) as server:
            peer = await joined(network, uuid="u1", key="key_of_client")
            for number in range(6):
                await server.send_message(text_message(number, platform="unknown"))
            seen = [await peer.hear() for _ in range(4)]
            await trio.testing.wait_all_tasks_blocked()
            assert server.get_stats()["messages_sent"] == 4
            await peer.say(ack(seen[0]["msg_id"]))
            assert text_of(await peer.hear()) == 4

    async def test_a_half_open_link_is_replaced_at_once_and_nothing_is_lost(self, cutting):
        async with both(cutting, client={"ping_interval": 5, "ping_timeout": 5}) as (server, client, up, down):
            cutting.half_open()
            lost_at = trio.current_time()
            await send_up(client, up, *range(40))
            await send_down(server, down, *range(40))
            while len(up.handled) < 40 or len(down.handled) < 40:  # noqa: ASYNC110 - in virtual time
                await trio.sleep(0.1)
            assert trio.current_time() - lost_at <= 5 + 5 + client.config.reconnect_delay + 0.2
            await trio.sleep(30)
            up.assert_exactly_once_in_order()
            down.assert_exactly_once_in_order()
            assert server.get_connection_count() == 1

    async def test_a_frozen_link_that_thaws_repeats_nothing(self, cutting):
        # The server gives the link up, the client comes back, and then the old bytes arrive after all.
        async with both(cutting, server={"ping_interval": 1, "ping_timeout": 1}) as (server, client, up, down):
            await send_up(client, up, *range(10))
            await send_down(server, down, *range(10))
            cutting.half_open()
            await trio.sleep(3)
            assert server.get_connection_count() == 0
            await send_up(client, up, *range(10, 20))
            await send_down(server, down, *range(10, 20))
            cutting.cut()
            await trio.sleep(30)
            up.assert_exactly_once_in_order()
            down.assert_exactly_once_in_order()

    async def test_a_message_too_large_for_the_queue_leaves_as_soon_as_it_is_empty(self, network):
        async with both(network, client={"message_cache_max_bytes": 1000}) as (_, client, up, _down):
            client._connector._served.connection.link.send_text_nowait(b'{"type": "sys_ignored"}')
            big = "x" * 17 * 1024 * 1024
            assert await client.send_message(text_message(big))
            await trio.sleep(5)
            assert up.handled == [big]


class TestBounds:
    async def test_refuse_says_false_at_once(self, network):
        async with network.server(message_cache_max_size=2) as server:
            await joined(network, uuid="u1", key="key_of_client")
            results = [await server.send_message(text_message(number, platform="unknown")) for number in range(3)]
            assert results == [{"u1": True}, {"u1": True}, {"u1": False}]
            assert trio.current_time() == 0

    async def test_wait_says_true_once_there_is_room(self, network):
        async with network.server(message_cache_max_size=1, when_full="wait") as server:
            peer = await joined(network, uuid="u1", key="key_of_client")
            await server.send_message(text_message(1, platform="unknown"))
            msg_id = (await peer.hear())["msg_id"]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(acks_after, 5, peer, msg_id)
                assert await server.send_message(text_message(2, platform="unknown")) == {"u1": True}
            assert trio.current_time() == 5

    async def test_wait_says_false_after_send_timeout(self, network):
        async with network.server(message_cache_max_size=1, when_full="wait", send_timeout=7) as server:
            await joined(network, uuid="u1", key="key_of_client")
            await server.send_message(text_message(1, platform="unknown"))
            assert await server.send_message(text_message(2, platform="unknown")) == {"u1": False}
            assert trio.current_time() == 7

    async def test_close_ends_the_slow_one_with_1013(self, network):
        async with network.server(message_cache_max_size=1, when_full="close") as server:
            peer = await joined(network, uuid="u1", key="key_of_client")
            await server.send_message(text_message(1, platform="unknown"))
            assert await server.send_message(text_message(2, platform="unknown")) == {"u1": False}
            assert (await peer.closed())[0] == 1013

    async def test_on_the_client_too(self, cutting):
        async with both(cutting, client={"message_cache_max_size": 1, "when_full": "refuse"}) as (_, client, up, _down):
            cutting.cut()
            await trio.testing.wait_all_tasks_blocked()
            await send_up(client, up, 1)
            assert not await client.send_message(text_message(2))
            assert "full" in (client.get_last_error() or "")
            await trio.sleep(5)
            up.assert_exactly_once_in_order()

    async def test_bytes_count_and_one_larger_stands_alone(self, network):
        async with network.server(message_cache_max_bytes=2000) as server:
            await joined(network, uuid="u1", key="key_of_client")
            assert await server.send_message(text_message("x" * 5000, platform="unknown")) == {"u1": True}
            assert await server.send_message(text_message("y", platform="unknown")) == {"u1": False}

    async def test_all_identities_together_are_bounded_the_detached_ones_too(self, network):
        async with network.server(message_cache_max_bytes=20_000) as server:
            for number in range(30):
                peer = await joined(network, uuid=f"u{number}", key="key_of_client")
                await peer.stream.aclose()
            await trio.sleep(1)
            for _ in range(10):
                results = await server.send_message(text_message("x" * 5000, platform="unknown"))
            assert len(results) == 30
            assert not any(results.values())
            assert server.courier.held_bytes <= TOTAL_FACTOR * 20_000
            assert server.get_stats()["outbox_size"] >= 100_000 // (5000 + OVERHEAD)

    async def test_who_waits_for_room_that_others_take_is_woken_by_them(self, network):
        config = {"message_cache_max_bytes": 1000, "when_full": "wait", "send_timeout": 100}
        async with network.server(**config) as server:
            peers = [await joined(network, uuid=f"u{number}", key="key_of_client") for number in range(20)]
            sent = await send_until_someone_waits(server)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(server.send_custom_message, "x", {"text": "x" * 900}, None, None, "u19")
                await trio.sleep(1)
                waited_from = server.get_stats()["messages_sent"]
                for peer in peers[:sent]:
                    await peer.say(ack((await peer.hear())["msg_id"]))
            assert server.get_stats()["messages_sent"] > waited_from
            assert trio.current_time() < 5

    async def test_a_stuck_hook_fills_the_outboxes_and_not_the_memory(self, cutting):
        async def stuck(envelope: Any, reason: str) -> None:
            await trio.sleep_forever()

        config = {
            "on_undelivered": stuck,
            "message_cache_max_bytes": 1000,
            "message_cache_ttl": 1,
            "when_full": "refuse",
        }
        async with network_of_one_detached(cutting, config) as server:
            accepted = 0
            for _ in range(200):
                accepted += (await server.send_custom_message("x", {"text": "x" * 500}, connection_uuid="u1"))["u1"]
                await server.extract_user("nobody")
                server._expire(math.inf)
                revive(server)
            assert accepted * 500 <= TOTAL_FACTOR * 1000


def revive(server: Any) -> None:
    """The identity that `_expire` has just ended waits for its client again."""
    session = server._make_session("sys_default", "u1", "unknown")
    server._sessions.wait_for(session, 0.0)


@asynccontextmanager
async def network_of_one_detached(network: Any, config: Any) -> AsyncIterator[Any]:
    async with network.server(shutdown_timeout=1, **config) as server:
        peer = await joined(network, uuid="u1", key="key_of_client")
        await peer.stream.aclose()
        await trio.sleep(0.1)
        yield server


async def acks_after(seconds: float, peer: Any, msg_id: str) -> None:
    await trio.sleep(seconds)
    await peer.say(ack(msg_id))


async def send_until_someone_waits(server: Any) -> int:
    """Fills all there is with one message each for u0, u1, …; returns how many were taken."""
    for number in range(20):
        with trio.move_on_after(0.1) as scope:
            await server.send_custom_message("x", {"text": "x" * 900}, connection_uuid=f"u{number}")
        if scope.cancelled_caught:
            return number
    raise AssertionError("there is room for everything")


class TestTimeToLive:
    @pytest.mark.parametrize("connected", [True, False])
    async def test_what_nobody_acknowledges_is_reported_also_while_connected(self, network, connected):
        down = Tally()
        config = {"message_cache_ttl": 30, "message_cache_cleanup_interval": 1, "on_undelivered": down.give_up}
        async with network.server(**config) as server:
            peer = await joined(network, uuid="u1", key="key_of_client")
            if not connected:
                await peer.stream.aclose()
                await trio.sleep(1)
            await server.send_message(text_message(1, platform="unknown"))
            async with answering_pings(peer, connected):
                await trio.sleep(32)
            assert [number for number, _ in down.undelivered] == [1]
            assert "message_cache_ttl" in down.undelivered[0][1] or "come back" in down.undelivered[0][1]
            stats = server.get_stats()
            assert (stats["outbox_size"], stats["messages_undelivered"], server.courier.held_bytes) == (0, 1, 0)

    async def test_an_identity_nobody_comes_back_to_ends(self, network):
        down = Tally()
        config = {"message_cache_ttl": 30, "message_cache_cleanup_interval": 1, "on_undelivered": down.give_up}
        async with network.server(**config) as server:
            peer = await joined(network, uuid="u1", key="key_of_client")
            await peer.stream.aclose()
            await trio.sleep(29)
            await server.send_message(text_message(1, platform="unknown"))
            await trio.sleep(3)
            assert down.undelivered == [(1, "the client did not come back within message_cache_ttl")]
            assert server._sessions.all() == []
            assert await server.send_message(text_message(2, platform="unknown")) == {}


@asynccontextmanager
async def answering_pings(peer: Any, really: bool) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        if really:
            nursery.start_soon(_read_for_ever, peer)
        yield
        nursery.cancel_scope.cancel()


async def _read_for_ever(peer: Any) -> None:
    while True:
        await peer.hear()


class TestPeersThatDoNotAck:
    async def test_with_an_id_of_their_own_written_is_done_after_32_messages_and_30_seconds(self, network):
        async with network.server() as server:
            peer = await joined(network, uuid="u1", key="key_of_client")
            async with answering_pings(peer, True):
                for number in range(32):
                    await server.send_message(text_message(number, platform="unknown"))
                await trio.sleep(25)
                assert server.get_stats()["outbox_size"] == 32
                await trio.sleep(40)
                assert server.get_stats()["outbox_size"] == 0
                assert server.get_stats()["messages_undelivered"] == 0
                await server.send_message(text_message(99, platform="unknown"))
                assert server.get_stats()["outbox_size"] == 0

    async def test_a_dead_link_is_not_taken_for_a_peer_that_does_not_ack(self, network):
        async with network.server(ping_interval=20, ping_timeout=20) as server:
            peer = await joined(network, uuid="u1", key="key_of_client")
            for number in range(40):
                await server.send_message(text_message(number, platform="unknown"))
            await trio.sleep(39)
            await server.send_message(text_message(40, platform="unknown"))
            await trio.sleep(50)
            assert server.get_stats()["outbox_size"] == 41
            assert peer is not None

    async def test_without_an_id_of_their_own_written_means_done_at_once(self, network):
        async with network.server() as server:
            peer = await joined(network, key="key_of_client")
            assert list((await server.send_message(text_message(1, platform="unknown"))).values()) == [True]
            assert text_of(await peer.hear()) == 1
            assert server.get_stats()["outbox_size"] == 0


class TestRefusals:
    async def test_a_sys_error_that_names_a_message_ends_it(self, network):
        down = Tally()
        async with network.server(on_undelivered=down.give_up) as server:
            peer = await joined(network, uuid="u1", key="key_of_client")
            await server.send_message(text_message(1, platform="unknown"))
            await peer.say(error_about((await peer.hear())["msg_id"]))
            await trio.testing.wait_all_tasks_blocked()
            assert down.undelivered == [(1, "refused by the other side: too_deep")]
            assert server.get_stats()["outbox_size"] == 0

    @pytest.mark.parametrize("uuid", ["u1", ""])
    async def test_and_whoever_waits_for_its_ack_is_told(self, network, uuid):
        async with network.server() as server:
            peer = await joined(network, uuid=uuid, key="key_of_client")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(refuses_next, peer)
                confirmed = await server.send_and_confirm(text_message(1, platform="unknown"), timeout=50)
            assert list(confirmed.values()) == [False]
            assert trio.current_time() < 1

    async def test_1009_gives_up_the_message_that_was_too_large_on_the_server(self, network):
        down = Tally()
        async with network.server(on_undelivered=down.give_up) as server:
            peer = await joined(network, uuid="u1", key="key_of_client")
            for size in (10, 3000, 20):
                await server.send_message(text_message("x" * size, platform="unknown"))
            await peer.close(1009, "too big")
            assert [(len(text), reason) for text, reason in down.undelivered] == [
                (3000, "too large for the other side (close 1009)")
            ]
            again = await joined(network, uuid="u1", key="key_of_client")
            assert [len(text_of(await again.hear())) for _ in range(2)] == [10, 20]

    async def test_and_on_the_client(self, network):
        async with both(network, server={"max_message_size": 5000}) as (_, client, up, _down):
            for size in (10, 9000, 20):
                assert await client.send_message(text_message("x" * size))
            await trio.sleep(5)
            assert [len(text) for text in up.handled] == [10, 20]
            assert [(len(text), reason) for text, reason in up.undelivered] == [
                (9000, "too large for the other side (close 1009)")
            ]

    async def test_a_1009_of_our_own_is_no_fault_of_our_messages(self, network):
        async with both(network, server={"max_message_size": 5000}) as (server, client, up, down):
            async with server_that_never_acks(client):
                await send_down(server, down, 1)
                await trio.testing.wait_all_tasks_blocked()
                assert await client.send_message(text_message("x" * 9000))
                await trio.testing.wait_all_tasks_blocked()
            await trio.sleep(5)
            down.assert_exactly_once_in_order()
            assert len(up.undelivered) == 1


def error_about(msg_id: str) -> dict[str, Any]:
    return {
        "ver": 1, "type": "sys_error", "meta": {"failed_msg_id": msg_id}, "payload": {"code": "too_deep", "message": ""}
    }  # fmt: skip


async def refuses_next(peer: Any) -> None:
    await peer.say(error_about((await peer.hear())["msg_id"]))


class TestDuplicates:
    async def test_they_are_acked_again_and_handled_once_also_on_a_later_connection(self, network):
        up = Tally()
        async with network.server(on_message=up.handle) as server:
            first = await joined(network, uuid="u1")
            await first.say(standard("m1", 1))
            await first.say(standard("m1", 1))
            assert await first.hear_acks(2) == ["m1", "m1"]
            await first.stream.aclose()
            second = await joined(network, uuid="u1")
            await second.say(standard("m1", 1))
            assert await second.hear_acks(1) == ["m1"]
            assert up.handled == [1]
            assert server.get_stats()["duplicate_messages_ignored"] == 2

    async def test_two_messages_with_one_id_are_two_messages(self, network):
        up = Tally()
        async with network.server(on_message=up.handle):
            peer = await joined(network, uuid="u1")
            await peer.say(standard("m1", 1))
            await peer.say(standard("m1", 2))
            assert await peer.hear_acks(2) == ["m1", "m1"]
            assert up.handled == [1, 2]

    async def test_keys_belong_to_an_identity(self, network):
        up = Tally()
        async with network.server(on_message=up.handle):
            for uuid in ("u1", "u2", "", ""):
                peer = await joined(network, uuid=uuid)
                await peer.say(standard("m1", 1))
                assert await peer.hear_acks(1) == ["m1"]
            assert up.handled == [1, 1, 1, 1]

    async def test_one_whose_original_still_waits_for_room_is_dropped_and_acked_with_it(self, network):
        up, go_on = Tally(), trio.Event()

        async def handle(message: Any, metadata: Any) -> None:
            await go_on.wait()
            await up.handle(message, metadata)

        config = {"on_message": handle, "inbox_size": 1, "handler_ordering": "per_connection"}
        async with network.server(**config) as server:
            peer = await joined(network, uuid="u1")
            for number in range(3):  # one is handled, one is in the inbox, one in the waiting room
                await peer.say(standard(f"m{number}", number))
            await peer.say(standard("m2", 2))
            await peer.say(standard("m3", 3))  # not even the waiting room has a place: reading stops
            assert await peer.hear_acks(2) == ["m0", "m1"]
            await trio.testing.wait_all_tasks_blocked()
            await peer.stream.aclose()
            second = await joined(network, uuid="u1")
            await second.say(standard("m2", 2))
            await second.say(standard("m3", 3))
            await trio.testing.wait_all_tasks_blocked()
            go_on.set()
            assert sorted(await second.hear_acks(2)) == ["m2", "m3"]
            await trio.testing.wait_all_tasks_blocked()
            assert up.handled == [0, 1, 2, 3]
            assert server.get_stats()["duplicate_messages_ignored"] == 2


class TestConfirmation:
    async def test_true_when_the_ack_came(self, network):
        async with both(network) as (server, client, _, _down):
            assert await client.send_and_confirm(text_message(1))
            assert list((await server.send_and_confirm(text_message(2))).values()) == [True]

    async def test_what_was_not_written_in_time_is_taken_back(self, cutting):
        async with both(cutting) as (server, client, up, down):
            cutting.cut()
            await trio.testing.wait_all_tasks_blocked()
            cutting.plan = [Cut(upwards=1)] * 3
            uuid = client.get_connection_uuid()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(not_confirmed, client)
                assert await server.send_and_confirm(text_message(8), timeout=0.2) == {uuid: False}
            assert (server.get_stats()["outbox_size"], client.get_stats()["outbox_size"]) == (0, 0)
            await client_is_back(client)
            await trio.sleep(5)
            assert (up.handled, down.handled, up.undelivered, down.undelivered) == ([], [], [], [])

    async def test_what_was_written_may_still_arrive(self, network):
        async with network.server() as server:
            peer = await joined(network, uuid="u1", key="key_of_client")
            assert await server.send_and_confirm(text_message(1, platform="unknown"), timeout=3) == {"u1": False}
            assert text_of(await peer.hear()) == 1
            assert server.get_stats()["outbox_size"] == 1

    async def test_cancelling_takes_back_too(self, cutting):
        async with both(cutting) as (_, client, up, _down):
            cutting.cut()
            await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(0.01):
                await client.send_and_confirm(text_message(1))
            assert client.get_stats()["outbox_size"] == 0
            await trio.sleep(10)
            assert up.handled == []

    async def test_a_client_that_gives_up_raises(self, cutting):
        async with both(cutting, client={}) as (_, client, up, _down):
            client.config.max_reconnect_attempts = 1
            cutting.plan = [Cut(upwards=1)] * 3
            cutting.cut()
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(NotConnected):
                await client.send_and_confirm(text_message(1), timeout=100)
            with pytest.raises(NotConnected):
                await client.send_and_confirm(text_message(2), timeout=100)
            await trio.testing.wait_all_tasks_blocked()
            assert [number for number, _ in up.undelivered] == [1]

    async def test_it_waits_for_the_ack_of_a_message_that_is_sent_again(self, cutting):
        async with both(cutting) as (_, client, up, _down):
            cutting.cut()
            await trio.testing.wait_all_tasks_blocked()
            assert await client.send_and_confirm(text_message(1))
            assert up.handled == [1]


async def not_confirmed(client: Any) -> None:
    assert not await client.send_and_confirm(text_message(7), timeout=0.2)


class TestWithoutACache:
    OFF: ClassVar = {"enable_message_cache": False}

    async def test_a_client_without_connection_says_false_at_once(self, cutting):
        async with both(cutting, client=self.OFF) as (_, client, up, _down):
            await send_up(client, up, 1)
            await trio.sleep(1)
            cutting.cut()
            await trio.testing.wait_all_tasks_blocked()
            now = trio.current_time()
            assert not await client.send_message(text_message(2))
            assert trio.current_time() == now
            await client_is_back(client)
            await send_up(client, up, 3)
            await trio.sleep(1)
            up.assert_exactly_once_in_order()

    async def test_a_request_waits_for_the_connection_all_the_same(self, cutting):
        async with both(cutting, client=self.OFF, server={"custom_handlers": {"ask": lambda payload: payload}}) as (
            _, client, _up, _down
        ):  # fmt: skip
            cutting.cut()
            await trio.testing.wait_all_tasks_blocked()
            assert await client.request("ask", {"a": 1}) == {"a": 1}

    async def test_a_server_without_still_recognises_what_comes_again(self, network):
        up = Tally()
        async with network.server(on_message=up.handle, **self.OFF) as server:
            first = await joined(network, uuid="u1", key="key_of_client")
            await first.say(standard("m1", 1))
            await first.hear()
            await first.stream.aclose()
            await trio.sleep(1)
            assert await server.send_message(text_message(2, platform="unknown")) == {}
            second = await joined(network, uuid="u1")
            await second.say(standard("m1", 1))
            assert await second.hear_acks(1) == ["m1"]
            assert up.handled == [1]

    async def test_confirmation_works_and_ends_with_the_connection(self, network):
        async with network.server(**self.OFF) as server:
            peer = await joined(network, uuid="u1", key="key_of_client")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hangs_up_after_one, peer)
                confirmed = await server.send_and_confirm(text_message(1, platform="unknown"), timeout=500)
            assert confirmed == {"u1": False}
            assert trio.current_time() < 20


async def hangs_up_after_one(peer: Any) -> None:
    await peer.hear()
    await peer.stream.aclose()


class TestTheEndOfAnIdentity:
    async def test_a_client_that_says_goodbye_ends_it(self, network):
        down = Tally()
        async with network.server(on_undelivered=down.give_up) as server:
            peer = await joined(network, uuid="u1", key="key_of_client")
            await server.send_message(text_message(1, platform="unknown"))
            await peer.close(1000)
            assert down.undelivered == [(1, "the client has said goodbye")]
            assert await server.send_message(text_message(2, platform="unknown")) == {}
            assert server._sessions.all() == []

    @pytest.mark.parametrize("code", [1001, 1011])
    async def test_any_other_end_keeps_it(self, network, code):
        async with network.server() as server:
            peer = await joined(network, uuid="u1", key="key_of_client")
            await peer.close(code)
            assert await server.send_message(text_message(1, platform="unknown")) == {"u1": True}

    async def test_a_revoked_key_ends_what_waits_too(self, network):
        async with network.server() as server:
            for uuid in ("u1", "u2"):
                peer = await joined(network, uuid=uuid, key="key_of_client")
            (first,) = [member for member in server._registry.all() if member.uuid == "u1"]
            first.link.abort()
            await trio.sleep(1)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(peer.closed)
                await server.disconnect_user("sys_default")
            assert await server.send_message(text_message(1, platform="unknown")) == {}

    async def test_only_the_same_user_takes_it_over(self, network):
        async def who(metadata: Any) -> AuthResult:
            return AuthResult(True, metadata["api_key"].partition("_")[0])

        down = Tally()
        async with network.server(on_auth=who, on_auth_extract_user=user_of, on_undelivered=down.give_up) as server:
            first = await joined(network, uuid="u1", key="alice_key")
            await first.stream.aclose()
            await trio.sleep(1)
            assert await server.send_message(text_message(1, to="alice_key", platform="unknown")) == {"u1": True}
            stranger = await joined(network, uuid="u1", key="mallory_key")
            with trio.move_on_after(5):
                raise AssertionError(await stranger.hear())
            second = await joined(network, uuid="u1", key="alice_key")
            assert text_of(await second.hear()) == 1

    async def test_the_answer_of_a_handler_that_outlives_it_is_not_kept_for_ever(self, network):
        go_on = trio.Event()

        async def slow(payload: Any) -> Any:
            await go_on.wait()
            return {}

        async with network.server(custom_handlers={"ask": slow}) as server:
            peer = await joined(network, uuid="u1")
            await peer.say({"ver": 1, "type": "custom_ask", "msg_id": "c1", "meta": {"request_id": "r"}, "payload": {}})
            await peer.hear()
            await peer.close(1000)
            go_on.set()
            await trio.testing.wait_all_tasks_blocked()
            assert (server.courier.held_bytes, server._sessions.all()) == (0, [])

    async def test_another_key_is_another_identity(self, cutting):
        async with both(cutting) as (_, client, up, _down):
            cutting.cut()
            await trio.testing.wait_all_tasks_blocked()
            await send_up(client, up, 1)
            before = client.get_connection_uuid()
            client.update_config(api_key="another_key")
            await client_is_back(client)
            await send_up(client, up, 2)
            await trio.sleep(1)
            assert client.get_connection_uuid() != before
            assert up.undelivered == [(1, BECAME_ANOTHER)]
            assert up.handled == [2]

    async def test_also_when_its_id_is_configured(self, cutting):
        async with both(cutting, client={"connection_uuid": "u1"}) as (_, client, up, _down):
            cutting.cut()
            await trio.testing.wait_all_tasks_blocked()
            await send_up(client, up, 1)
            client.update_config(api_key="another_key")
            await client_is_back(client)
            assert up.undelivered == [(1, BECAME_ANOTHER)]


async def user_of(metadata: Any) -> str:
    return metadata["api_key"].partition("_")[0]


class TestStopping:
    @pytest.mark.parametrize("connected", [True, False])
    async def test_ten_thousand_messages_in_flight_are_delivered_or_reported(self, cutting, connected):
        big = {"message_cache_max_size": 20_000}
        async with both(cutting, client=big) as (_, client, up, _down):
            await send_up(client, up, -1)
            await trio.sleep(1)
            if not connected:
                cutting.cut()
                await trio.testing.wait_all_tasks_blocked()
            await send_up(client, up, *range(10_000))
            await client.stop()
            await trio.sleep(1)  # the server has everything, its handlers go on
            assert up.lost == up.duplicated == []
            assert len(up.handled) == (10_001 if connected else 1)
            assert len(up.undelivered) == (0 if connected else 10_000)

    async def test_the_server_delivers_what_it_has_accepted_before_it_stops(self, network):
        config = {"message_cache_max_size": 20_000}
        async with both(network, server=config) as (server, _client, _up, down):
            await send_down(server, down, *range(10_000))
            await server.stop()
            await trio.sleep(1)
            down.assert_exactly_once_in_order()

    async def test_it_waits_for_the_first_ack_of_a_peer_but_not_long(self, network):
        down = Tally()
        async with network.server(on_undelivered=down.give_up) as server:
            await joined(network, uuid="u1", key="key_of_client")
            await server.send_message(text_message(1, platform="unknown"))
            await server.stop()
            assert UNPROVEN_GRACE <= trio.current_time() <= UNPROVEN_GRACE + server.config.close_timeout
            assert down.undelivered == [(1, "the server has stopped")]

    async def test_one_message_sent_right_before_the_stop_is_not_reported(self, network):
        async with both(network) as (_, client, up, _down):
            await send_up(client, up, 1)
            await client.stop()
            up.assert_exactly_once_in_order()

    async def test_a_link_that_is_cut_meanwhile_does_not_hold_it_up(self, cutting):
        async with both(cutting) as (server, client, up, _down):
            await send_up(client, up, 0)
            await trio.sleep(1)
            async with server_that_never_acks(server):
                await send_up(client, up, 1)
                began = trio.current_time()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(client.stop)
                    await trio.sleep(0.5)
                    cutting.cut()
                assert trio.current_time() - began < 1
            assert up.undelivered == [(1, "the client has stopped")]

    async def test_nothing_is_accepted_once_the_rest_was_reported(self, network):
        down, late = Tally(), []

        async def give_up(envelope: Any, reason: str) -> None:
            down.give_up(envelope, reason)
            late.append(await server.send_message(text_message(9, platform="unknown")))

        async with network.server(on_undelivered=give_up) as server:
            peer = await joined(network, uuid="u1", key="key_of_client")
            await peer.stream.aclose()
            await trio.sleep(1)
            await server.send_message(text_message(1, platform="unknown"))
            await server.stop()
        assert late == [{"u1": False}]

    async def test_disconnect_flushes_first(self, network):
        async with both(network, client={"message_cache_max_size": 5000}) as (_, client, up, _down):
            await send_up(client, up, *range(5000))
            await client.disconnect()
            await trio.sleep(1)
            up.assert_exactly_once_in_order()
            assert client.get_stats()["outbox_size"] == 0

    async def test_and_reports_what_could_not_be_flushed(self, cutting):
        async with both(cutting) as (_, client, up, _down):
            cutting.half_open()
            await send_up(client, up, 1)
            await client.disconnect()
            await trio.testing.wait_all_tasks_blocked()
            assert up.undelivered == [(1, "disconnected")]


class TestRequests:
    async def test_they_survive_a_reconnect(self, cutting):
        async def slow(payload: Any) -> Any:
            await trio.sleep(1)
            return payload

        config = {"custom_handlers": {"ask": slow}}
        async with both(cutting, server=config) as (_, client, _up, _down), trio.open_nursery() as nursery:
            nursery.start_soon(cut_after, 0.5, cutting)
            assert await client.request("ask", {"a": 1}) == {"a": 1}

    async def test_one_to_a_detached_identity_waits_for_it(self, cutting):
        async with both(cutting, client={"custom_handlers": {"ask": lambda payload: payload}}) as (
            server,
            client,
            _,
            _d,
        ):
            cutting.cut()
            await trio.testing.wait_all_tasks_blocked()
            assert await server.request(client.get_connection_uuid(), "ask", {"a": 1}) == {"a": 1}

    async def test_one_to_a_full_outbox_times_out(self, network):
        async with network.server(message_cache_max_size=1) as server:
            await joined(network, uuid="u1", key="key_of_client")
            await server.send_message(text_message(1, platform="unknown"))
            with pytest.raises(RequestTimeout):
                await server.request("u1", "ask", {}, timeout=5)

    async def test_one_that_waits_for_room_ends_with_the_identity(self, network):
        async with network.server(message_cache_max_size=1) as server:
            peer = await joined(network, uuid="u1", key="key_of_client")
            await server.send_message(text_message(1, platform="unknown"))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(closes_after, 1, peer)
                with pytest.raises(NotConnected):
                    await server.request("u1", "ask", {}, timeout=500)
            assert trio.current_time() < 20


async def cut_after(seconds: float, network: Any) -> None:
    await trio.sleep(seconds)
    network.cut()


async def closes_after(seconds: float, peer: Any) -> None:
    await trio.sleep(seconds)
    await peer.close(1000)


async def test_towards_a_server_that_accepts_first_nothing_is_sent_before_it_has_had_time_to_refuse(network, nursery):
    peers: list[ServerPeer] = await nursery.start(serve_scripts, network, [old_server])
    async with network.client() as client:
        client._connector.want()
        assert await client.send_message(text_message(1))
        await trio.sleep(0.4)
        assert peers[0].heard == []
        await trio.sleep(0.2)
        assert len(peers[0].heard) == 1
