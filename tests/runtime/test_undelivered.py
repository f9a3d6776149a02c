"""The report of what was given up: every reason, and hooks that raise, take long or are missing."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from tests.cuts import Tally
from tests.memory import text_message
from tests.server.peer import joined


async def given_up(server: Any, network: Any, count: int) -> None:
    """Has `count` messages given up by the server."""
    peer = await joined(network, uuid="u1", key="key_of_client")
    for number in range(count):
        assert await server.send_message(text_message(number, platform="unknown")) == {"u1": True}
    await peer.close(1000)


async def test_the_hook_gets_the_envelope_as_it_was_sent(network):
    told: list[tuple[Any, str]] = []
    async with network.server(on_undelivered=lambda envelope, reason: told.append((envelope, reason))) as server:
        peer = await joined(network, uuid="u1", key="key_of_client")
        await server.send_message(text_message(1, platform="unknown"))
        seen = await peer.hear()
        await peer.close(1000)
    assert told == [(seen, "the client has said goodbye")]


async def test_they_are_reported_one_after_the_other_in_order(network):
    down, running = Tally(), 0

    async def slow(envelope: Any, reason: str) -> None:
        nonlocal running
        running += 1
        assert running == 1
        await trio.sleep(1)
        running -= 1
        down.give_up(envelope, reason)

    async with network.server(on_undelivered=slow) as server:
        await given_up(server, network, 5)
        await trio.sleep(6)
        assert [number for number, _ in down.undelivered] == list(range(5))


async def test_one_that_raises_is_logged_and_the_rest_is_reported(network, log):
    down = Tally()

    def raising(envelope: Any, reason: str) -> None:
        down.give_up(envelope, reason)
        raise ValueError("no")

    async with network.server(on_undelivered=raising) as server:
        await given_up(server, network, 3)
        assert len(down.undelivered) == 3
        assert server.get_stats()["handler_errors"] == 3
        assert server.courier.held_bytes == 0
    assert log.having("on_undelivered raised ValueError", "ERROR")


async def test_one_that_takes_longer_than_handler_timeout_is_ended(network):
    down = Tally()

    async def sometimes_stuck(envelope: Any, reason: str) -> None:
        down.give_up(envelope, reason)
        if len(down.undelivered) == 1:
            await trio.sleep_forever()

    async with network.server(on_undelivered=sometimes_stuck, handler_timeout=2) as server:
        await given_up(server, network, 3)
        await trio.sleep(3)
        assert len(down.undelivered) == 3
        assert server.get_stats()["handler_timeouts"] == 1


async def test_a_stop_waits_for_the_reports(network):
    down = Tally()

    async def slow(envelope: Any, reason: str) -> None:
        await trio.sleep(0.1)
        down.give_up(envelope, reason)

    async with network.server(on_undelivered=slow) as server:
        await given_up(server, network, 20)
    assert len(down.undelivered) == 20


@pytest.mark.parametrize("ending", ["stop", "cancel"])
async def test_but_not_for_ever_and_says_what_it_could_not_report(network, log, ending):
    async def stuck(envelope: Any, reason: str) -> None:
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        server = network.server(on_undelivered=stuck, shutdown_timeout=1, close_timeout=1)
        await server.start(nursery)
        await given_up(server, network, 900)
        begun = trio.current_time()
        if ending == "stop":
            await server.stop()
        else:
            nursery.cancel_scope.cancel()
    assert trio.current_time() - begun < 10
    assert len(log.having("no time left to call on_undelivered", "ERROR")) == 1
    assert len(log.lines("ERROR")) < 10
    assert server.courier.held_bytes == 0


async def test_a_stop_that_is_cut_short_says_what_was_not_delivered(network, log):
    """The peer does not answer the close, so all of `close_timeout` is used up."""
    server = network.server(close_timeout=1, on_undelivered=lambda *_: None)
    with trio.CancelScope() as scope:
        async with server:
            await joined(network, uuid="u1", key="key_of_client")
            for number in range(3):
                assert await server.send_message(text_message(number, platform="unknown")) == {"u1": True}
            scope.cancel()
    assert server.get_stats()["messages_undelivered"] == 3
    assert log.having("messages for u1 were given up (3)", "WARNING")
    assert log.having("no time left to call on_undelivered for 3 messages", "ERROR")
    assert server.courier.held_bytes == 0


async def test_after_such_a_stop_it_can_run_again(network):
    told = []
    server = network.server(close_timeout=1, on_undelivered=lambda _, reason: told.append(reason))
    for _ in range(2):
        with trio.CancelScope() as scope:
            async with server:
                await joined(network, uuid="u1", key="key_of_client")
                assert await server.send_message(text_message(1, platform="unknown")) == {"u1": True}
                scope.cancel()
    async with server:
        await given_up(server, network, 1)
    assert told == ["the client has said goodbye"]


async def test_without_a_hook_they_are_counted_and_logged(network, log):
    async with network.server() as server:
        await given_up(server, network, 3)
        assert server.get_stats()["messages_undelivered"] == 3
        assert server.courier.held_bytes == 0
    assert log.having("messages for u1 were given up (3): the client has said goodbye", "WARNING")


async def test_a_hook_may_send(network):
    """What could not be delivered goes another way: the application's answer to the report."""
    async with network.server() as server:

        async def forward(envelope: Any, reason: str) -> None:
            results = await server.send_custom_message("lost", {"id": envelope["msg_id"]}, connection_uuid="u2")
            assert results == {"u2": True}

        server.config.on_undelivered = forward
        other = await joined(network, uuid="u2", key="other")
        peer = await joined(network, uuid="u1", key="key_of_client")
        await server.send_custom_message("x", {}, connection_uuid="u1")
        msg_id = (await peer.hear())["msg_id"]
        await peer.close(1000)
        assert (await other.hear())["payload"] == {"id": msg_id}
