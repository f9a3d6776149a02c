"""One live connection: what is answered, acked and refused, flow, keepalive. A server and raw peers in virtual time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from tests.memory import CountedStream
from tests.server.peer import Peer, ack, acked, custom, joined, message_payload, standard, text_frame
from tests.transport.raw import BINARY, PING, PONG, masked

if TYPE_CHECKING:
    from tests.memory import Network

SETTLED = trio.testing.wait_all_tasks_blocked


class Handlers:
    """Handlers that wait until they are let go."""

    def __init__(self) -> None:
        self.begun: list[Any] = []
        self.gate = trio.Semaphore(0)

    async def __call__(self, message: Any, _metadata: Any) -> None:
        self.begun.append(message.message_segment.data)
        await self.gate.acquire()

    async def let_go(self, count: int = 1) -> None:
        for _ in range(count):
            self.gate.release()
        await SETTLED()


async def quiet(peer: Peer) -> None:
    """Nothing has come for this peer."""
    await SETTLED()
    with trio.move_on_after(0.001):
        raise AssertionError(await peer.hear())


class TestAcks:
    async def test_each_message_with_an_id_is_acked_once_and_in_order(self, network: Network) -> None:
        async with network.server() as server:
            peer = await joined(network, uuid="u1")
            await peer.send(
                text_frame(standard("m1")) + text_frame(custom("custom_x", {}, "m2")) + text_frame(standard("m3"))
            )
            first = await peer.hear()
            assert [acked(first), *await peer.hear_acks(2)] == ["m1", "m2", "m3"]
            await quiet(peer)
            assert server.get_stats()["messages_received"] == 3
        assert set(first) == {"ver", "msg_id", "type", "meta", "payload"}
        assert first["ver"] == 1
        assert first["meta"]["uuid"] == "u1"
        assert first["payload"]["status"] == "received"
        assert first["payload"]["server_timestamp"] == first["meta"]["timestamp"] > 1.7e9

    async def test_the_ids_of_acks_differ(self, network: Network) -> None:
        async with network.server():
            peer = await joined(network)
            await peer.send(text_frame(standard("m")) * 20)
            assert len({(await peer.hear())["msg_id"] for _ in range(20)}) == 20

    async def test_any_string_can_be_an_id(self, network: Network) -> None:
        ids = ["", '"\\', "a\nb", "ключ", "\U0001f600", "x" * 256]
        async with network.server():
            peer = await joined(network)
            for msg_id in ids:
                await peer.say(standard(msg_id))
            assert await peer.hear_acks(len(ids)) == ids

    async def test_without_an_id_there_is_no_ack(self, network: Network) -> None:
        async with network.server() as server:
            peer = await joined(network)
            await peer.say(standard())
            await quiet(peer)
            assert server.get_stats()["messages_received"] == 1

    async def test_acks_errors_and_later_system_types_are_never_answered(self, network: Network, log: Any) -> None:
        async with network.server() as server:
            peer = await joined(network)
            for envelope in (ack("m1"), ERROR, {**ack("x"), "type": "sys_later"}, {"type": "sys_", "msg_id": "y"}):
                await peer.say(envelope)
            await quiet(peer)
            stats = server.get_stats()
        assert (stats["messages_acked"], stats["peer_errors"], stats["messages_received"]) == (1, 1, 0)
        assert (stats["invalid_frames"], stats["handler_errors"]) == (0, 0)
        assert len(log.having("could not take message m1: bad (invalid_payload)", "WARNING")) == 1

    async def test_the_ack_is_there_before_a_handler_has_done_anything(self, network: Network) -> None:
        handlers = Handlers()
        async with network.server(on_message=handlers, shutdown_timeout=0) as server:
            peer = await joined(network)
            await peer.say(standard("m1"))
            assert await peer.hear_acks(1) == ["m1"]
            assert server.get_stats()["messages_processed"] == 0

    async def test_a_binary_frame_of_json_is_as_good(self, network: Network) -> None:
        async with network.server():
            peer = await joined(network)
            await peer.send(masked(BINARY, json.dumps(standard("m1")).encode()))
            assert await peer.hear_acks(1) == ["m1"]


ERROR = {"type": "sys_error", "meta": {"failed_msg_id": "m1"}, "payload": {"code": "invalid_payload", "message": "bad"}}


class TestInvalidFrames:
    @pytest.mark.parametrize(
        ("frame", "code", "failed"),
        [
            (b"hello", "invalid_json", None),
            (b"", "invalid_json", None),
            (b"[]", "invalid_envelope", None),
            (b"null", "invalid_envelope", None),
            (b'{"msg_id": "m1"}', "invalid_envelope", "m1"),
            (b'{"msg_id": 5, "type": "sys_std", "payload": {}}', "invalid_envelope", None),
            (b'{"type": "sys_ack", "msg_id": "m1"}', "invalid_envelope", "m1"),
            (b'{"msg_id": "m1", "type": "greeting", "payload": {}}', "unknown_type", "m1"),
            (b'{"msg_id": "m1", "type": "custom_", "payload": {}}', "unknown_type", "m1"),
            (b'{"ver": 2, "msg_id": "m1", "type": "sys_std", "payload": {}}', "unsupported_version", "m1"),
            (b'{"msg_id": "m1", "type": "sys_std", "payload": {}}', "invalid_payload", "m1"),
            (b'{"msg_id": "m1", "type": "sys_std", "payload": {"text": "hi"}}', "invalid_payload", "m1"),
            (b'{"msg_id": "m1", "type": "custom_x", "payload": []}', "invalid_payload", "m1"),
            (b'{"msg_id": "m1", "type": "custom_x", "payload": {"a": NaN}}', "invalid_json", "m1"),
            (b'{"msg_id": "m1", "type": "custom_x", "payload": {"a": "\\ud800"}}', "invalid_json", "m1"),
            (b'{"msg_id": "m1", "type": "custom_x", "payload": ' + b"[" * 10_000, "too_deep", "m1"),
        ],
    )  # fmt: skip
    async def test_each_is_answered_and_the_connection_lives(
        self, network: Network, log: Any, frame: bytes, code: str, failed: str | None
    ) -> None:
        async with network.server() as server:
            peer = await joined(network, uuid="u1")
            await peer.say(frame)
            answer = await peer.hear()
            assert answer["type"] == "sys_error"
            assert "msg_id" not in answer
            assert answer["payload"]["code"] == code
            assert answer["payload"]["message"]
            assert answer["meta"]["uuid"] == "u1"
            assert answer["meta"].get("failed_msg_id") == failed
            await peer.say(standard("m2"))
            assert await peer.hear_acks(1) == ["m2"]
            stats = server.get_stats()
        assert (stats["invalid_frames"], stats["messages_received"]) == (1, 1)
        assert stats["last_error"] == f"invalid frame: {code}"
        assert len(log.having("invalid frame from u1", "WARNING")) == 1

    async def test_more_than_the_limit_within_a_minute_ends_the_connection(self, network: Network, log: Any) -> None:
        async with network.server(max_invalid_frames=3) as server:
            peer, good = await joined(network), await joined(network)
            await peer.send(text_frame(b"x") * 50)
            answers = await peer.hear_all()
            assert len(answers) == 4
            assert await peer.closed() == (1008, "too many invalid frames")
            await peer.until_end()
            await peer.aclose()
            await SETTLED()
            assert server.get_connection_count() == 1
            assert server.get_stats()["invalid_frames"] == 4
            await good.say(standard("m1"))
            assert await good.hear_acks(1) == ["m1"]
        assert len(log.having("invalid frame from", "WARNING")) == 1

    async def test_the_minute_moves_on(self, network: Network) -> None:
        async with network.server(max_invalid_frames=3, ping_interval=0):
            peer = await joined(network)
            for _ in range(10):
                await peer.say(b"x")
                assert (await peer.hear())["type"] == "sys_error"
                await trio.sleep(21)

    async def test_what_the_peer_did_not_understand_does_not_fill_the_log(self, network: Network, log: Any) -> None:
        forged = {**ERROR, "payload": {"code": "x", "message": "a\nERROR everything is lost"}}
        async with network.server() as server:
            peer = await joined(network)
            await peer.send(text_frame(forged) * 100)
            await SETTLED()
            assert server.get_stats()["peer_errors"] == 100
        assert len(log.having("could not take", "WARNING")) == 1
        assert all(line.isprintable() for line in log.lines())


class TestBarePayloads:
    async def test_they_are_taken_as_messages_with_one_line_per_connection(self, network: Network, log: Any) -> None:
        handlers = Handlers()
        async with network.server(on_message=handlers, shutdown_timeout=0):
            for _ in range(2):
                peer = await joined(network)
                for number in range(3):
                    await peer.say(message_payload(number))
                await quiet(peer)
        assert sorted(handlers.begun) == [0, 0, 1, 1, 2, 2]
        assert len(log.having("without an envelope", "INFO")) == 2


class TestFlow:
    """With an inbox of two messages, one of them handled at a time."""

    @pytest.fixture
    def tight(self) -> dict[str, Any]:
        return {"inbox_size": 2, "max_concurrent_handlers": 1, "ping_interval": 0, "shutdown_timeout": 1}

    async def test_what_does_not_fit_waits_unacked_and_is_acked_when_it_moves_up(
        self, network: Network, tight: dict[str, Any]
    ) -> None:
        handlers = Handlers()
        async with network.server(on_message=handlers, **tight):
            peer = await joined(network)
            for number in range(5):
                await peer.say(standard(f"m{number}", number))
            assert await peer.hear_acks(3) == ["m0", "m1", "m2"]
            await quiet(peer)
            await handlers.let_go()
            assert await peer.hear_acks(1) == ["m3"]
            await quiet(peer)
            await handlers.let_go()
            assert await peer.hear_acks(1) == ["m4"]
            await handlers.let_go(3)
            assert handlers.begun == [0, 1, 2, 3, 4]

    async def test_acks_and_errors_get_through_while_the_inbox_is_full(
        self, network: Network, tight: dict[str, Any]
    ) -> None:
        async with network.server(on_message=Handlers(), **tight) as server:
            peer = await joined(network)
            for number in range(5):
                await peer.say(standard(f"m{number}"))
            await peer.hear_acks(3)
            await peer.say(ack("x"))
            await peer.say(b"nonsense")
            assert (await peer.hear())["type"] == "sys_error"
            await peer.send(masked(PING, b"still there?"))
            assert (await peer.frame())[:2] == (PONG, b"still there?")
            assert server.get_stats()["messages_acked"] == 1

    async def test_when_both_buffers_are_full_reading_stops_and_nothing_is_lost(
        self, network: Network, log: Any, tight: dict[str, Any]
    ) -> None:
        handlers = Handlers()
        async with network.server(on_message=handlers, **tight) as server:
            peer = await joined(network)
            for number in range(20):
                await peer.say(standard(f"m{number}", number))
            await SETTLED()
            assert server.get_stats()["messages_received"] == 6
            await handlers.let_go(20)
            assert await peer.hear_acks(20) == [f"m{number}" for number in range(20)]
            assert handlers.begun == [*range(20)]
        assert len(log.having("is full: reading stops", "WARNING")) == 1

    async def test_keepalive_does_not_blame_the_peer_whom_we_do_not_read(
        self, network: Network, tight: dict[str, Any]
    ) -> None:
        handlers = Handlers()
        async with network.server(
            on_message=handlers, **{**tight, "ping_interval": 5.0, "ping_timeout": 5.0}
        ) as server:
            peer = await joined(network)
            for number in range(8):
                await peer.say(standard(f"m{number}", number))
            await trio.sleep(100)
            assert server.get_connection_count() == 1
            await handlers.let_go(20)
            assert await peer.hear_acks(8) == [f"m{number}" for number in range(8)]

    async def test_nor_when_reading_has_begun_again_just_before_its_time_was_up(
        self, network: Network, tight: dict[str, Any]
    ) -> None:
        handlers = Handlers()
        async with network.server(
            on_message=handlers, **{**tight, "ping_interval": 10.0, "ping_timeout": 5.0}
        ) as server:
            peer = await joined(network)
            for number in range(6):
                await peer.say(standard(f"m{number}", number))
            await trio.sleep(14.9)
            await handlers.let_go(6)
            await trio.sleep(1)
            assert server.get_connection_count() == 1
            await peer.hear_acks(6)

    async def test_the_server_stops_in_time_although_everything_is_full(
        self, network: Network, tight: dict[str, Any]
    ) -> None:
        async with network.server(on_message=Handlers(), **tight) as server:
            peer = await joined(network)
            for number in range(20):
                await peer.say(standard(f"m{number}"))
            await SETTLED()
            start = trio.current_time()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(server.stop)
                assert await peer.hear_acks(3) == ["m0", "m1", "m2"]
                assert await peer.hear_all() == []
                assert await peer.closed() == (1001, "server stopping")
                await peer.until_end()
            assert trio.current_time() - start < 3
        assert network.served_streams == set()

    async def test_who_goes_away_while_we_do_not_read_is_noticed_when_we_do(
        self, network: Network, tight: dict[str, Any]
    ) -> None:
        handlers = Handlers()
        async with network.server(on_message=handlers, **tight) as server:
            peer = await joined(network)
            for number in range(9):
                await peer.say(standard(f"m{number}", number))
            await SETTLED()
            await peer.aclose()
            await handlers.let_go(9)
            assert server.get_connection_count() == 0
            assert 5 <= len(handlers.begun) <= 9
            assert handlers.begun == [*range(len(handlers.begun))]


class TestWhileStopping:
    async def test_nothing_is_taken_or_acked_any_more_but_acks_are_read(self, network: Network) -> None:
        handlers = Handlers()
        config = {"on_message": handlers, "inbox_size": 1, "max_concurrent_handlers": 1}
        async with trio.open_nursery() as nursery, network.server(**config) as server:
            peer = await joined(network)
            for number in range(3):
                await peer.say(standard(f"m{number}", number))
            assert await peer.hear_acks(2) == ["m0", "m1"]
            nursery.start_soon(server.stop)
            await SETTLED()
            await peer.say(standard("late", "late"))
            await peer.say(ack("x"))
            await handlers.let_go(5)
            assert await peer.hear_all() == []
            assert await peer.closed() == (1001, "server stopping")
            await peer.aclose()
        assert handlers.begun == [0, 1]
        assert server.get_stats()["messages_acked"] == 1

    async def test_not_even_where_there_is_room_for_it(self, network: Network, nursery: trio.Nursery) -> None:
        handlers = Handlers()
        async with network.server(on_message=handlers) as server:
            peer = await joined(network)
            await peer.say(standard("m1", "early"))
            assert await peer.hear_acks(1) == ["m1"]
            nursery.start_soon(server.stop)
            await SETTLED()
            await peer.say(standard("m2", "late"))
            await quiet(peer)
            await handlers.let_go(2)
            assert await peer.hear_all() == []
            await peer.closed()
            await peer.aclose()
        assert handlers.begun == ["early"]

    async def test_a_reader_that_had_stopped_goes_on_reading_acks(self, network: Network) -> None:
        handlers = Handlers()
        config = {"on_message": handlers, "inbox_size": 1, "max_concurrent_handlers": 2}
        async with trio.open_nursery() as nursery, network.server(**config) as server:
            peer = await joined(network)
            for number in range(6):
                await peer.say(standard(f"m{number}", number))
            await peer.say(ack("x"))
            await SETTLED()
            assert server.get_stats()["messages_acked"] == 0
            nursery.start_soon(server.stop)
            await SETTLED()
            await handlers.let_go()
            assert server.get_stats()["messages_acked"] == 1
            await handlers.let_go(5)
            await peer.aclose()
        assert handlers.begun == [0, 1, 2]


class TestKeepalive:
    async def test_a_dead_peer_is_noticed_within_interval_and_timeout(self, network: Network, log: Any) -> None:
        gone: list[float] = []

        def on_disconnect(_uuid: str, metadata: dict[str, Any]) -> None:
            gone.append(trio.current_time())
            assert (metadata["close_code"], metadata["reason"]) == (1006, "no pong within the ping timeout")

        async with network.server(on_disconnect=on_disconnect, ping_interval=20, ping_timeout=20) as server:
            dead, alive = await joined(network), await joined(network)
            with trio.move_on_after(200):
                while True:
                    await alive.hear()
            assert server.get_connection_count() == 1
            await dead.until_end()
        assert gone[0] <= 40.001
        assert len(log.having("is dead: no pong within 20 s", "INFO")) == 1

    async def test_an_interval_of_zero_means_never(self, network: Network) -> None:
        async with network.server(ping_interval=0) as server:
            peer = await joined(network)
            await trio.sleep(5000)
            assert server.get_connection_count() == 1
            await quiet(peer)

    async def test_a_peer_that_vanishes_without_a_word_is_gone_at_once(self, network: Network) -> None:
        async with network.server() as server:
            peer = await joined(network)
            await peer.aclose()
            await SETTLED()
            assert server.get_connection_count() == 0
            assert network.served_streams == set()


class TestPeersThatDoNotRead:
    async def test_one_that_makes_us_answer_is_cut_off_when_its_queue_is_full(
        self, network: Network, log: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("maim_trio.server._host.EXTRA_QUEUED", 1000)
        async with network.server(message_cache_max_bytes=1000) as server:
            greedy, good = await joined(network, uuid="u1"), await joined(network)
            await greedy.send(text_frame(b"x") * 50)
            await SETTLED()
            assert server.get_connection_count() == 1
            assert server.get_stats()["slow_consumers_closed"] == 1
            await good.say(standard("m1"))
            assert await good.hear_acks(1) == ["m1"]
        assert log.having("u1 does not read its answers", "WARNING")
        assert log.having("disconnected u1: 1006 peer does not read its answers", "INFO")


class Faulty(CountedStream):
    """Raises what no stream raises."""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        raise ZeroDivisionError("no stream does that")


class TestTheFence:
    async def test_what_fails_beside_the_reader_ends_its_connection_and_no_other(
        self, network: Network, log: Any
    ) -> None:
        gone: list[int] = []

        def on_disconnect(_uuid: str, metadata: dict[str, Any]) -> None:
            gone.append(metadata["close_code"])

        async with network.server(on_disconnect=on_disconnect) as server:
            broken = await joined(network, uuid="broken")
            (served,) = network.served_streams
            served.inner = Faulty(served.inner, set())
            other = await joined(network)
            await broken.say(standard("m1"))
            await broken.until_end()
            await SETTLED()
            assert gone == [1006]
            assert server.get_connection_count() == 1
            await other.say(standard("m2"))
            assert await other.hear_acks(1) == ["m2"]
            assert server.get_stats()["last_error"] == "internal error in a connection"
        assert len(log.having("connection broken ended by an internal error", "ERROR")) == 1
