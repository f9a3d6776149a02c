"""Connections come, replace each other, and go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from tests.memory import text_message
from tests.server.peer import KEY, Peer, ack, custom, joined, standard, text_frame, text_of
from tests.transport.raw import CLOSE, CONTINUATION, TEXT, frame, masked

if TYPE_CHECKING:
    from tests.memory import Network

SETTLED = trio.testing.wait_all_tasks_blocked


class Diary:
    """Hooks that write down what they were told."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    async def on_connect(self, uuid: str, metadata: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        assert metadata["uuid"] == uuid
        self.events.append(("connect", uuid, metadata["user_id"], metadata["resumed"]))

    def on_disconnect(self, uuid: str, metadata: dict[str, Any]) -> None:
        assert metadata["uuid"] == uuid
        self.events.append(("disconnect", uuid, metadata["close_code"], metadata["reason"]))

    def on_message(self, _message: Any, metadata: dict[str, Any]) -> None:
        self.events.append(("message", metadata["uuid"]))

    @property
    def hooks(self) -> dict[str, Any]:
        return {"on_connect": self.on_connect, "on_disconnect": self.on_disconnect, "on_message": self.on_message}


def by_key(metadata: dict[str, Any]) -> str:
    return "user of " + metadata["api_key"]


def several_users() -> dict[str, Any]:
    return {"on_auth": lambda _: True, "on_auth_extract_user": by_key}


class TestHooks:
    async def test_they_are_called_in_order_around_the_messages(self, network: Network) -> None:
        diary = Diary()
        async with network.server(**diary.hooks, **several_users()):
            peer = await joined(network, uuid="u1", key="a")
            await peer.send(text_frame(standard()) * 2)
            await SETTLED()
            await peer.close(4321, "tired")
        assert diary.events == [
            ("connect", "u1", "user of a", False),
            ("message", "u1"),
            ("message", "u1"),
            ("disconnect", "u1", 4321, "tired"),
        ]

    async def test_on_connect_ends_before_the_first_message_is_even_taken(self, network: Network) -> None:
        seen = []

        async def on_connect(*_: Any) -> None:
            await trio.sleep(3)
            seen.append("connected")

        async with network.server(on_connect=on_connect, on_message=lambda *_: seen.append("message")) as server:
            peer = await joined(network)
            await peer.say(standard("m1"))
            await trio.sleep(2.9)
            assert server.get_connection_count() == 1
            assert server.get_stats()["messages_received"] == 0
            assert await peer.hear_acks(1) == ["m1"]
            await SETTLED()
        assert seen == ["connected", "message"]

    async def test_on_connect_may_send_to_the_new_connection(self, network: Network) -> None:
        async def on_connect(uuid: str, _metadata: Any) -> None:
            await server.send_custom_message("welcome", {"you": uuid}, connection_uuid=uuid)

        async with network.server(on_connect=on_connect) as server:
            peer = await joined(network, uuid="u1")
            assert (await peer.hear())["payload"] == {"you": "u1"}

    async def test_on_connect_that_outruns_its_bound_is_cancelled_and_the_connection_lives(
        self, network: Network, log: Any
    ) -> None:
        async def on_connect(*_: Any) -> None:
            await trio.sleep_forever()

        async with network.server(on_connect=on_connect, auth_timeout=4) as server:
            peer = await joined(network)
            await peer.say(standard("m1"))
            assert await peer.hear_acks(1) == ["m1"]
            assert trio.current_time() == 4
            assert server.get_stats()["handler_timeouts"] == 1
        assert len(log.having("on_connect took too long", "ERROR")) == 1

    async def test_on_disconnect_that_outruns_handler_timeout_is_cancelled(self, network: Network, log: Any) -> None:
        async def on_disconnect(*_: Any) -> None:
            await trio.sleep_forever()

        async with network.server(on_disconnect=on_disconnect, handler_timeout=4) as server:
            await (await joined(network)).close()
            await trio.sleep(4.1)
            assert server.get_stats()["handler_timeouts"] == 1
        assert len(log.having("on_disconnect took too long", "ERROR")) == 1

    @pytest.mark.parametrize("hook", ["on_connect", "on_disconnect"])
    async def test_a_hook_that_raises_harms_nobody(self, network: Network, log: Any, hook: str) -> None:
        def fails(*_: Any) -> None:
            raise LookupError("lost")

        async with network.server(**{hook: fails}) as server:
            first, second = await joined(network), await joined(network)
            await first.say(standard("m1"))
            assert await first.hear_acks(1) == ["m1"]
            await first.close()
            await second.say(standard("m2"))
            assert await second.hear_acks(1) == ["m2"]
            assert server.get_connection_count() == 1
        assert log.having(f"{hook} raised LookupError", "ERROR")

    async def test_on_connect_may_send_its_own_connection_away(self, network: Network) -> None:
        diary = Diary()

        async def on_connect(uuid: str, _metadata: Any) -> None:
            assert await server.disconnect(uuid, code=4000, reason="not today")

        hooks = {**diary.hooks, "on_connect": on_connect}
        async with network.server(**hooks, close_timeout=1) as server:
            peer = await joined(network, uuid="u1")
            assert await peer.closed() == (4000, "not today")
            await peer.aclose()
            await SETTLED()
            assert server.get_connection_count() == 0
        assert diary.events == [("disconnect", "u1", 4000, "not today")]

    @pytest.mark.parametrize(
        ("how", "code", "reason"),
        [
            (masked(CLOSE), 1005, ""),
            (masked(CLOSE, b"\x03\xe9bye"), 1001, "bye"),
            (masked(CLOSE, b"\x00"), 1002, "invalid close code"),
            (frame(TEXT, b"not masked"), 1002, "frame is not masked"),
            (masked(CONTINUATION, b"of what?"), 1002, "continuation of nothing"),
            (masked(TEXT, b"\xff"), 1007, "text is not UTF-8"),
            (masked(TEXT, b"x" * 2000), 1009, "message over 1024 bytes"),
        ],
    )
    async def test_on_disconnect_is_told_how_it_ended(
        self, network: Network, how: bytes, code: int, reason: str
    ) -> None:
        diary = Diary()
        async with network.server(**diary.hooks, max_message_size=1024, close_timeout=1):
            peer, good = await joined(network), await joined(network)
            await peer.send(how)
            await peer.until_end()
            await peer.aclose()
            await SETTLED()
            ((_, _, told_code, told_reason),) = [event for event in diary.events if event[0] == "disconnect"]
            await good.say(standard("m1"))
            assert await good.hear_acks(1) == ["m1"]
        assert told_code == code
        assert bool(told_reason) == bool(reason)

    async def test_a_reason_from_outside_forges_no_log_lines(self, network: Network, log: Any) -> None:
        async with network.server():
            await (await joined(network)).close(4000, "x\nERROR everything is lost")
        assert log.having("4000 x ERROR everything is lost")
        assert all(line.isprintable() for line in log.lines())


class TestReplacing:
    async def test_the_newer_connection_continues_and_the_older_is_told_4001(self, network: Network) -> None:
        diary = Diary()
        async with network.server(**diary.hooks, **several_users()) as server:
            old = await joined(network, uuid="u1", platform="qq")
            await SETTLED()
            new = Peer(network.connect())
            answer = await new.upgrade(uuid="u1", platform="wx")
            assert answer.headers["x-maim-resumed"] == "1"
            assert await old.closed() == (4001, "replaced by a newer connection")
            await old.aclose()
            await SETTLED()
            assert server.get_connections().keys() == {"u1"}
            assert server.get_connection_info("u1") == {"user_id": "user of " + KEY, "platform": "wx"}
            assert await server.send_message(text_message(to=KEY, platform="wx")) == {"u1": True}
            assert text_of(await new.hear()) == "hello"
        assert diary.events == [
            ("connect", "u1", "user of " + KEY, False),
            ("disconnect", "u1", 4001, "replaced by a newer connection"),
            ("connect", "u1", "user of " + KEY, True),
            ("disconnect", "u1", 1001, "server stopping"),
        ]

    async def test_the_end_of_a_stale_connection_never_unregisters_its_successor(self, network: Network) -> None:
        async with network.server(close_timeout=5) as server:
            await joined(network, uuid="u1")
            new = await joined(network, uuid="u1")
            await trio.sleep(10)
            assert server.get_connections().keys() == {"u1"}
            assert await server.send_custom_message("x", {}, connection_uuid="u1") == {"u1": True}
            assert (await new.hear())["type"] == "custom_x"

    async def test_a_dead_predecessor_delays_nobody(self, network: Network) -> None:
        async with network.server(close_timeout=5):
            stuck = Peer(network.connect(trio.testing.lockstep_stream_pair()))
            await stuck.upgrade(uuid="u1")
            new = await joined(network, uuid="u1")
            await new.say(standard("m1"))
            assert await new.hear_acks(1) == ["m1"]
            assert trio.current_time() == 0

    async def test_a_slow_goodbye_delays_the_successor_no_longer_than_auth_timeout(self, network: Network) -> None:
        ended = []

        async def on_disconnect(*_: Any) -> None:
            try:
                await trio.sleep(100)
            finally:
                ended.append(trio.current_time())

        async with network.server(on_disconnect=on_disconnect, auth_timeout=3, shutdown_timeout=1) as server:
            await joined(network, uuid="u1")
            new = await joined(network, uuid="u1")
            await new.say(standard("m1"))
            assert await new.hear_acks(1) == ["m1"]
            assert trio.current_time() == 3
            await new.aclose()
            await trio.sleep(147)
            assert ended == [100.0, 103.0]
            await server.stop()

    async def test_the_connection_id_of_another_user_gives_a_fresh_one_and_the_victim_notices_nothing(
        self, network: Network, log: Any
    ) -> None:
        diary = Diary()
        async with network.server(**diary.hooks, **several_users()) as server:
            victim = await joined(network, uuid="u1", key="victim")
            mallory = Peer(network.connect())
            answer = await mallory.upgrade(uuid="u1", key="mallory")
            assert answer.status == 101
            assert "x-maim-resumed" not in answer.headers
            await SETTLED()
            (fresh,) = server.get_user_connections("user of mallory")
            assert fresh != "u1"
            assert server.get_user_connections("user of victim") == {"u1"}
            await server.send_custom_message("secret", {}, connection_uuid="u1")
            assert (await victim.hear())["type"] == "custom_secret"
            assert mallory.unread == b""
            await mallory.close()
            assert server.get_user_connections("user of victim") == {"u1"}
            await victim.say(standard("m1"))
            assert await victim.hear_acks(1) == ["m1"]
        assert len(log.having("connection id of another user was asked for", "WARNING")) == 1
        assert [event[:2] for event in diary.events if event[1] == "u1"] == [
            ("connect", "u1"),
            ("message", "u1"),
            ("disconnect", "u1"),
        ]

    async def test_two_that_fight_over_an_id_are_given_one_each(self, network: Network, log: Any) -> None:
        async with network.server(close_timeout=1) as server:
            peers = []
            for _ in range(4):
                peers.append(await joined(network, uuid="u1"))
                for replaced in peers[-2:-1]:
                    assert (await replaced.closed())[0] == 4001
                await trio.sleep(2)
            last = Peer(network.connect())
            answer = await last.upgrade(uuid="u1")
            assert (answer.status, "x-maim-resumed" in answer.headers) == (101, False)
            await trio.sleep(2)
            assert server.get_connection_count() == 2
            assert "u1" in server.get_connections()
        assert len(log.having("replaced more than 3 times", "WARNING")) == 1

    async def test_handshakes_at_the_same_time_with_one_id_leave_one_connection(self, network: Network) -> None:
        diary, statuses = Diary(), []

        async def one() -> None:
            statuses.append((await Peer(network.connect()).upgrade(uuid="u1")).status)

        async with network.server(**diary.hooks, close_timeout=1) as server:
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(one)
            await trio.sleep(3)
            assert statuses == [101] * 3
            assert server.get_connections().keys() == {"u1"}
            assert len(network.served_streams) == 1
            assert server._sessions.pending == 0
            connects = [event for event in diary.events if event[0] == "connect"]
            disconnects = [event for event in diary.events if event[0] == "disconnect"]
            assert (len(connects), len(disconnects)) == (3, 2)

    async def test_messages_in_the_inbox_of_the_replaced_one_are_handled_and_acked_on_the_new_one(
        self, network: Network
    ) -> None:
        gate, seen = trio.Semaphore(0), []

        async def on_message(message: Any, _metadata: Any) -> None:
            await gate.acquire()
            seen.append(message.message_segment.data)

        config = {"inbox_size": 2, "handler_ordering": "per_connection", "ping_interval": 0}
        async with network.server(on_message=on_message, **config):
            old = await joined(network, uuid="u1")
            for number in range(5):
                await old.say(standard(f"m{number}", number))
            assert await old.hear_acks(3) == ["m0", "m1", "m2"]
            new = await joined(network, uuid="u1")
            await old.closed()
            await old.aclose()
            for _ in range(5):
                gate.release()
            assert await new.hear_acks(2) == ["m3", "m4"]
            await SETTLED()
        assert seen == [0, 1, 2, 3, 4]


class TestTheLog:
    async def test_there_is_one_line_per_connection_event_and_none_per_message(
        self, network: Network, log: Any
    ) -> None:
        async with network.server(**several_users(), on_message=lambda *_: None) as server:
            log.clear()
            peer = await joined(network, uuid="u1", platform="qq")
            for number in range(20):
                await peer.say(standard(f"m{number}"))
                await server.send_custom_message("x", {}, connection_uuid="u1")
            for message in [await peer.hear() for _ in range(40)]:
                if message["type"] == "custom_x":
                    await peer.say(ack(message["msg_id"]))
            await SETTLED()
            await peer.close()
            await Peer(network.connect()).upgrade(b"Origin: x", key="bad\x01")
            gone = network.connect()
            await trio.aclose_forcefully(gone)
            await SETTLED()
            lines = log.lines()
        assert len(lines) == 4
        assert lines[0].startswith("connected u1: user user of key_")
        assert lines[1].startswith("disconnected u1: 1000")
        assert "400" in lines[2]
        assert "handshake failed" in lines[3]

    async def test_the_connection_log_can_be_switched_off(self, network: Network, log: Any) -> None:
        async with network.server(**several_users(), enable_connection_log=False):
            log.clear()
            await (await joined(network)).close()
            await Peer(network.connect()).upgrade(key="bad\x01")
            assert log.lines() == []

    @pytest.mark.parametrize("wanted", [True, False])
    async def test_debug_tells_ids_types_and_sizes_but_no_content(
        self, network: Network, log: Any, wanted: bool
    ) -> None:
        async with network.server(**several_users(), log_level="DEBUG", enable_message_log=wanted):
            peer = await joined(network, uuid="u1")
            await peer.say(standard("m1", "what nobody else may read"))
            await peer.say(custom("custom_x", {"a": "what nobody else may read"}, "m2"))
            await peer.hear_acks(2)
        assert len(log.having("received sys_std m1 on u1", "DEBUG")) == wanted
        assert len(log.having("received custom_x m2 on u1", "DEBUG")) == wanted
        assert "nobody else" not in log.text

    async def test_a_server_open_to_everybody_says_so(self, network: Network, log: Any) -> None:
        async with network.server():
            assert len(log.having("everybody is let in as user 'sys_default'", "WARNING")) == 1
        log.clear()
        server = network.server()
        server.config.host = "0.0.0.0"
        async with server:
            assert log.having("whoever reaches 0.0.0.0 can read and send messages", "WARNING")
        log.clear()
        async with network.server(on_auth=lambda _: True):
            assert log.lines("WARNING") == []
