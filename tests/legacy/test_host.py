"""Legacy connections come, replace each other, misbehave, and go."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.legacy.memory import Heard, LegacyPeer, MemoryMessageServer, joined, text
from tests.transport.raw import BINARY, CLOSE, CONTINUATION, PING, TEXT, frame, masked, request

SETTLED = trio.testing.wait_all_tasks_blocked
REPLACED = (1000, "新的连接已建立")
STOPPING = (1000, "服务器关闭")


# -- one connection per platform


async def test_the_newer_connection_wins_and_the_older_is_told(network):
    async with MemoryMessageServer(network) as server:
        older, newer = await joined(network), await joined(network)
        assert await older.closed() == REPLACED
        await older.aclose()
        await SETTLED()
        assert await server.send_message(text("for the newer"))
        assert await newer.hear_text() == "for the newer"
        assert server.get_stats()["current_connections"] == 1


async def test_what_was_queued_for_the_older_still_leaves(network):
    async with MemoryMessageServer(network) as server:
        older = await joined(network)
        await SETTLED()
        assert await server.send_message(text("before"))
        await joined(network)
        assert await older.hear_text() == "before"
        assert await older.closed() == REPLACED


async def test_the_late_end_of_a_replaced_one_leaves_the_newer_alone(network):
    """It does not answer the close: its end comes when close_timeout is over, by another task than its own."""
    async with MemoryMessageServer(network, close_timeout=3) as server:
        await joined(network)
        newer = await joined(network)
        await trio.sleep(10)
        assert server.get_platforms() == {"qq"}
        assert await server.send_message(text("hi"))
        assert await newer.hear_text() == "hi"


async def test_messages_of_a_replaced_one_do_not_take_the_platform_back(network):
    async with MemoryMessageServer(network) as server:
        older, newer = await joined(network), await joined(network)
        await older.say_text("still talking")
        await SETTLED()
        assert await server.send_message(text("hi"))
        assert await newer.hear_text() == "hi"


async def test_two_that_fight_are_told_once(network, log):
    async with MemoryMessageServer(network):
        for _ in range(20):
            await joined(network)
            await trio.sleep(2)
    assert len(log.having("two clients seem to use the same name", "WARNING")) == 1


async def test_a_restart_of_a_client_is_no_fight(network, log):
    async with MemoryMessageServer(network):
        for _ in range(3):
            await joined(network)
        await SETTLED()
    assert log.having("two clients", "WARNING") == []


async def test_those_without_a_platform_do_not_replace_each_other(network):
    heard = Heard()
    server = MemoryMessageServer(network)
    server.register_message_handler(heard)
    async with server:
        peers = [await joined(network, platform) for platform in ("", "", "unknown")]
        for number, peer in enumerate(peers):
            await peer.say_text(number)
        await SETTLED()
        assert sorted(heard.words) == [0, 1, 2]
        assert server.get_platforms() == set()


# -- bad input


@pytest.mark.parametrize("payload", [b"{", b"not json", b"[]", b'"text"', b"null", b'{"a": NaN}', b""])
async def test_what_is_no_message_is_dropped_and_said_once(network, log, payload):
    heard = Heard()
    server = MemoryMessageServer(network)
    server.register_message_handler(heard)
    async with server:
        peer = await joined(network)
        for _ in range(3):
            await peer.say(payload)
        await peer.say_text("and on")
        await SETTLED()
        assert heard.words == ["and on"]
        assert server.get_stats()["invalid_frames"] == 3
    assert len(log.having("sent what is no message", "WARNING")) == 1


async def test_binary_json_is_taken(network):
    heard = Heard()
    server = MemoryMessageServer(network)
    server.register_message_handler(heard)
    async with server:
        peer = await joined(network)
        await peer.send(masked(BINARY, text("in bytes").to_json()))
        await SETTLED()
    assert heard.words == ["in bytes"]


async def test_too_much_nonsense_ends_the_connection(network, log):
    async with MemoryMessageServer(network, max_invalid_frames=3) as server:
        peer, other = await joined(network), await joined(network, "other")
        for _ in range(4):
            await peer.say(b"nonsense")
        assert await peer.closed() == (1008, "too many invalid frames")
        await SETTLED()
        assert server.get_platforms() == {"other"}
        assert await server.send_message(text("fine", platform="other"))
        assert await other.hear_text() == "fine"
    assert log.having("too many invalid frames", "WARNING")


async def test_nonsense_now_and_then_does_not(network):
    async with MemoryMessageServer(network, max_invalid_frames=1, ping_interval=0) as server:
        peer = await joined(network)
        for _ in range(5):
            await peer.say(b"nonsense")
            await trio.sleep(61)
        assert server.get_platforms() == {"qq"}


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (masked(TEXT, b"x" * 2000), 1009),
        (masked(TEXT, b'{"a": "\xff"}'), 1007),
        (frame(TEXT, b"{}"), 1002),  # not masked
        (masked(CONTINUATION, b"{}"), 1002),
        (masked(3, b"{}"), 1002),
    ],
)
async def test_violations_end_their_own_connection_only(network, data, code):
    async with MemoryMessageServer(network, max_message_size=1024) as server:
        peer, other = await joined(network), await joined(network, "other")
        await peer.send(data)
        assert (await peer.closed())[0] == code
        await SETTLED()
        assert server.get_platforms() == {"other"}
        assert server.get_stats()["invalid_frames"] == 1
        assert await server.send_message(text("fine", platform="other"))
        assert await other.hear_text() == "fine"


@pytest.mark.parametrize("data", [b"nonsense\r\n\r\n", b"\x16\x03\x01", request(target=b"/ws")[:20], b""])
async def test_a_peer_that_is_gone_in_the_middle_of_its_handshake_harms_nobody(network, data):
    async with MemoryMessageServer(network) as server:
        peer = LegacyPeer(network.connect())
        await peer.send(data)
        await peer.aclose()
        await SETTLED()
        await joined(network)
        await SETTLED()
        assert server.get_platforms() == {"qq"}


# -- liveness


async def test_a_client_that_answers_no_ping_is_cut_off(network, log):
    async with MemoryMessageServer(network, ping_interval=20, ping_timeout=10) as server:
        peer = await joined(network)
        await trio.sleep(29)
        assert server.get_platforms() == {"qq"}
        await trio.sleep(2)
        assert server.get_platforms() == set()
        assert (await peer.frame()).opcode == PING
    assert log.having("is dead: no pong within 10 s", "INFO")


async def test_who_answers_stays(network):
    async with MemoryMessageServer(network, ping_interval=20, ping_timeout=10) as server:
        peer = await joined(network)
        with trio.move_on_after(200):
            await peer.hear()
        assert server.get_platforms() == {"qq"}


async def test_a_full_inbox_stops_reading_and_loses_nothing(network):
    heard, gate = Heard(), trio.Event()

    async def slow(message):
        await gate.wait()
        heard(message)

    small = {"inbox_size": 2, "max_concurrent_handlers": 1, "handler_ordering": "per_connection"}
    server = MemoryMessageServer(network, **small, ping_interval=1, ping_timeout=1)
    server.register_message_handler(slow)
    async with server:
        peer = await joined(network)
        for number in range(50):
            await peer.say_text(number)
        await trio.sleep(100)  # we are the slow side: no ping is held against the peer
        assert server.get_platforms() == {"qq"}
        gate.set()
        with trio.move_on_after(10):
            await peer.hear()
    assert heard.words == [*range(50)]


# -- the end


async def test_a_stop_tells_everybody_in_the_words_of_maim_message(network):
    server = MemoryMessageServer(network)
    async with trio.open_nursery() as nursery:
        await server.start(nursery)
        peers = [await joined(network, platform) for platform in ("qq", "wechat", "")]
        await SETTLED()
        nursery.start_soon(server.stop)
        assert [await peer.closed() for peer in peers] == [STOPPING] * 3
    assert not server.is_running()
    await SETTLED()
    assert network.served_streams == set()


async def test_a_stop_waits_for_handlers_and_sends_what_they_answer(network):
    server = MemoryMessageServer(network)

    async def answers(_message):
        await trio.sleep(3)
        assert await server.send_message(text("answer"))

    server.register_message_handler(answers)
    async with trio.open_nursery() as nursery:
        await server.start(nursery)
        peer = await joined(network)
        await peer.say_text("question")
        await SETTLED()
        nursery.start_soon(server.stop)
        assert await peer.hear_text() == "answer"
        assert await peer.closed() == STOPPING


async def test_what_comes_during_a_stop_is_not_handled_and_counted(network, log):
    server = MemoryMessageServer(network, shutdown_timeout=5)

    async def slow(_message):
        await trio.sleep_forever()

    server.register_message_handler(slow)
    async with trio.open_nursery() as nursery:
        await server.start(nursery)
        peer = await joined(network)
        await peer.say_text("one")
        await SETTLED()
        nursery.start_soon(server.stop)
        await SETTLED()
        await peer.say_text("two")
        await peer.say_text("three")
        assert await peer.closed() == STOPPING
    assert log.having("2 messages came while it was stopping", "WARNING")


async def test_a_handler_may_stop_the_server(network):
    server = MemoryMessageServer(network)

    async def stops(_message):
        await server.stop()

    server.register_message_handler(stops)
    async with trio.open_nursery() as nursery:
        await server.start(nursery)
        peer = await joined(network)
        await peer.say_text("stop")
        assert await peer.closed() == STOPPING


async def test_cancelled_from_outside_it_still_says_goodbye(network):
    server = MemoryMessageServer(network)
    async with trio.open_nursery() as nursery:
        await server.start(nursery)
        peer = await joined(network)
        await SETTLED()
        nursery.cancel_scope.cancel()
    assert not server.is_running()
    assert (await peer.frame()).opcode == CLOSE
    await SETTLED()
    assert network.served_streams == set()


async def test_it_can_be_started_again(network):
    heard = Heard()
    server = MemoryMessageServer(network)
    server.register_message_handler(heard)
    for words in ("one", "two"):
        async with server:
            peer = await joined(network)
            await peer.say_text(words)
            await SETTLED()
            assert server.get_platforms() == {"qq"}
        assert server.get_platforms() == set()
    assert heard.words == ["one", "two"]


async def test_who_came_in_the_moment_of_the_stop_is_told(network):
    server = MemoryMessageServer(network)
    async with server:
        peer = LegacyPeer(network.connect())
        await SETTLED()
    await peer.until_end()
    assert network.served_streams == set()
