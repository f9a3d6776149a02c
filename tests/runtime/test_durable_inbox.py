"""Received messages that outlive the process that has acknowledged them."""

from __future__ import annotations

import json
import shutil
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from maim_trio._runtime import durable_inbox
from maim_trio._runtime.connection import Connection
from maim_trio._runtime.outbox_file import OutboxFile
from tests.cuts import Tally
from tests.memory import text_message
from tests.runtime.test_durable import at_once
from tests.server.peer import ack, acked, custom, joined, standard, text_frame, text_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEY = "key_of_client"
settled = trio.testing.wait_all_tasks_blocked


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "outbox.db")


@pytest.fixture(autouse=True)
def threads_take_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trio.to_thread, "run_sync", at_once)


def killed(path: str) -> str:
    """What a process that is killed now leaves: a copy of the file that another one can open."""
    copy = f"{path}.killed{len(list(Path(path).parent.iterdir()))}"
    shutil.copy(path, copy)
    if Path(path + "-wal").exists():
        shutil.copy(path + "-wal", copy + "-wal")
    return copy


def waiting_in(path: str) -> list[int]:
    """The numbers in the messages of a file that wait for a handler."""
    file = OutboxFile(path)
    try:
        return [json.loads(row.payload)["payload"]["message_segment"]["data"] for row in file.incoming()]
    finally:
        file.close()


class Handler:
    """Handles numbers, each as soon as its turn has come and `go` says so; then it is done."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.done: list[int] = []
        self.metadata: list[dict[str, Any]] = []
        self.go = trio.Event()

    async def __call__(self, message: Any, metadata: Any) -> None:
        self.begun.append(message.message_segment.data)
        self.metadata.append(metadata)
        await self.go.wait()
        self.done.append(message.message_segment.data)


@asynccontextmanager
async def serving(network: Any, path: str, handler: Any, **config: Any) -> AsyncIterator[Any]:
    fields = {"handler_ordering": "per_connection", "shutdown_timeout": 0.1, **config}
    async with network.server(outbox_path=path, on_message=handler, **fields) as server:
        yield server


async def say(peer: Any, *numbers: int) -> None:
    for number in numbers:
        await peer.say(standard(f"m{number}", number))


class TestAServerThatIsKilled:
    async def test_has_in_the_file_what_it_has_acknowledged_and_not_handled(self, network, path):
        handler = Handler()
        async with serving(network, path, handler):
            peer = await joined(network, uuid="u1", key=KEY)
            await say(peer, 1, 2, 3)
            assert await peer.hear_acks(3) == ["m1", "m2", "m3"]
            await settled()
            assert handler.begun == [1]
            assert waiting_in(killed(path)) == [1, 2, 3]
            handler.go.set()
            await settled()
            assert waiting_in(killed(path)) == []

    async def test_handles_it_after_the_restart_in_order_and_before_what_is_new(self, network, path):
        first, second = Handler(), Handler()
        async with serving(network, path, first):
            peer = await joined(network, uuid="u1", key=KEY)
            await say(peer, *range(5))
            await peer.hear_acks(5)
            left = killed(path)
        async with serving(network, left, second):
            assert second.begun == [0]
            peer = await joined(network, uuid="u1", key=KEY)
            await say(peer, 5)
            second.go.set()
            assert await peer.hear_acks(1) == ["m5"]
            await settled()
            assert second.done == [0, 1, 2, 3, 4, 5]

    async def test_tells_handlers_what_it_knew_of_each_connection(self, network, path):
        first, second = Handler(), Handler()
        async with serving(network, path, first):
            peer = await joined(network, b"User-Agent: one", uuid="u1", key=KEY, platform="qq")
            await say(peer, 1)
            await peer.hear_acks(1)
            await peer.stream.aclose()
            peer = await joined(network, b"User-Agent: two", uuid="u1", key=KEY, platform="qq")
            await say(peer, 2)
            await peer.hear_acks(1)
            first.go.set()
            await settled()
            told = first.metadata
            left = killed(path)
            await say(peer, 3)
            await peer.hear_acks(1)
        assert waiting_in(left) == []
        first = Handler()
        async with serving(network, path, first):
            for agent, number in (("one", 11), ("two", 12)):
                peer = await joined(network, b"User-Agent: " + agent.encode(), uuid="u1", key=KEY, platform="qq")
                await say(peer, number)
                await peer.hear_acks(1)
                await peer.stream.aclose()
            left = killed(path)
        second.go.set()
        async with serving(network, left, second):
            await settled()
            assert second.done == [11, 12]
            for agent, metadata in zip(("one", "two"), second.metadata, strict=True):
                assert {key for key in told[0]} <= {key for key in metadata}
                assert metadata["user_agent"] == agent
                assert metadata["headers"]["user-agent"] == agent
                assert (metadata["api_key"], metadata["platform"], metadata["uuid"]) == (KEY, "qq", "u1")
                assert metadata["restored"] is True
                assert metadata["msg_id"] in ("m11", "m12")
            assert [metadata["resumed"] for metadata in second.metadata] == [True, True]
        assert all("restored" not in metadata for metadata in told)

    async def test_recognises_what_comes_again(self, network, path):
        first, second = Handler(), Handler()
        first.go.set()
        async with serving(network, path, first):
            peer = await joined(network, uuid="u1", key=KEY)
            await say(peer, 1, 2)
            await peer.hear_acks(2)
            await settled()
            left = killed(path)
        second.go.set()
        async with serving(network, left, second) as server:
            peer = await joined(network, uuid="u1", key=KEY)
            await say(peer, 1, 2, 3)
            assert await peer.hear_acks(3) == ["m1", "m2", "m3"]
            await settled()
            assert second.done == [3]
            assert server.get_stats()["duplicate_messages_ignored"] == 2

    async def test_does_not_take_the_message_of_another_user_for_a_repetition(self, network, path):
        async def user(metadata: Any) -> str:
            return metadata["api_key"]

        first, second = Handler(), Handler()
        for handler in (first, second):
            handler.go.set()
        async with serving(network, path, first, on_auth_extract_user=user):
            peer = await joined(network, uuid="u1", key="alice")
            await say(peer, 1)
            await peer.hear_acks(1)
            await settled()
            left = killed(path)
        async with serving(network, left, second, on_auth_extract_user=user):
            peer = await joined(network, uuid="u1", key="mallory")
            await say(peer, 1)
            await peer.hear_acks(1)
            await settled()
            assert second.done == [1]

    @pytest.mark.parametrize("ordering", ["per_connection", "concurrent"])
    async def test_repeats_at_most_what_had_a_handler_slot(self, network, path, ordering):
        """Killed after each commit there is."""
        done: list[int] = []
        lefts: list[tuple[str, int]] = []

        def handle(message: Any, metadata: Any) -> None:
            done.append(message.message_segment.data)

        slots = {"max_concurrent_handlers_per_connection": 3, "handler_ordering": ordering}
        async with serving(network, path, handle, **slots) as server:
            store, apply = server.courier.store, server.courier.store.file.apply

            def applying(batch: Any) -> None:
                lefts.append((killed(path), len(done)))
                apply(batch)

            store.file.apply = applying
            peer = await joined(network, uuid="u1", key=KEY)
            await say(peer, *range(20))
            await peer.hear_acks(20)
            await settled()
            lefts.append((killed(path), len(done)))
        assert sorted(done) == list(range(20))
        most = 0
        for left, count in lefts:
            again = [number for number in waiting_in(left) if number in done[:count]]
            most = max(most, len(again))
        assert 1 <= most <= (1 if ordering == "per_connection" else 3)

    async def test_with_the_next_messages_of_others_repeats_none_of_them(self, network, path):
        handler = Handler()
        async with serving(network, path, handler, handler_ordering="concurrent") as server:
            peers = [await joined(network, uuid=f"u{number}", key=KEY) for number in range(10)]
            for number, peer in enumerate(peers):
                await say(peer, number)
                await peer.hear_acks(1)
            left = killed(path)
            assert server.get_connection_count() == 10
        second = Handler()
        second.go.set()
        async with serving(network, left, second) as server:
            await settled()
            assert sorted(second.done) == list(range(10))
            assert server.get_connection_count() == 0
            for number in range(10):
                peer = await joined(network, uuid=f"u{number}", key=KEY)
                await say(peer, number)
                await peer.hear_acks(1)
            assert sorted(second.done) == list(range(10))


class TestWhoComesBack:
    async def test_an_identity_goes_on_where_it_was(self, network, path):
        connected: list[bool] = []
        handler = Handler()
        handler.go.set()
        async with serving(network, path, handler):
            peer = await joined(network, uuid="u1", key=KEY)
            await say(peer, 1)
            await peer.hear_acks(1)
            await settled()
            left = killed(path)

        def note(uuid: str, metadata: Any) -> None:
            connected.append(metadata["resumed"])

        async with serving(network, left, handler, on_connect=note) as server:
            assert await server.send_message(text_message(7, platform="unknown")) == {"u1": True}
            peer = await joined(network, uuid="u1", key=KEY)
            assert text_of(await peer.hear()) == 7
            assert connected == [True]

    async def test_one_that_had_said_goodbye_is_not_waited_for_and_what_it_has_sent_is_handled(self, network, path):
        first, second = Handler(), Handler()
        async with serving(network, path, first):
            peer = await joined(network, uuid="u1", key=KEY)
            await say(peer, 1)
            await peer.hear_acks(1)
            await peer.close(1000)
            await settled()
            left = killed(path)
        async with serving(network, left, second) as server:
            await settled()
            assert second.begun == [1]
            assert await server.send_message(text_message(7, platform="unknown")) == {}
            second.go.set()
            await settled()
            assert second.done == [1]
            assert server._all_sessions() == []

    async def test_so_is_what_came_from_one_without_an_id_of_its_own(self, network, path):
        first, second = Handler(), Handler()
        second.go.set()
        async with serving(network, path, first):
            peer = await joined(network, key=KEY)
            await say(peer, 1)
            await peer.hear_acks(1)
            left = killed(path)
        async with serving(network, left, second) as server:
            await settled()
            assert second.done == [1]
            assert server._all_sessions() == []

    async def test_a_message_without_an_id_is_kept_as_well(self, network, path):
        first, second = Handler(), Handler()
        second.go.set()
        async with serving(network, path, first):
            peer = await joined(network, uuid="u1", key=KEY)
            await peer.say(standard(None, 1))
            await settled()
            left = killed(path)
        async with serving(network, left, second):
            await settled()
            assert second.done == [1]

    async def test_a_request_is_answered_after_the_restart(self, network, path):
        go = trio.Event()

        async def slow(payload: Any) -> Any:
            await go.wait()
            return {"sum": payload["a"] + 1}

        async with network.server(outbox_path=path, custom_handlers={"add": slow}, shutdown_timeout=0.1):
            peer = await joined(network, uuid="u1", key=KEY)
            await peer.say(custom("custom_add", {"a": 1}, "m1", request_id="r1"))
            await peer.hear_acks(1)
            left = killed(path)
        go.set()
        async with network.server(outbox_path=left, custom_handlers={"add": slow}):
            peer = await joined(network, uuid="u1", key=KEY)
            answer = await peer.hear()
            assert (answer["payload"], answer["meta"]["reply_to"]) == ({"sum": 2}, "r1")

    async def test_an_answer_is_given_at_once_and_needs_no_file(self, network, path):
        async with network.server(outbox_path=path) as server, trio.open_nursery() as nursery:
            peer = await joined(network, uuid="u1", key=KEY)
            answers: list[Any] = []

            async def ask() -> None:
                answers.append(await server.request("u1", "add", {}))

            nursery.start_soon(ask)
            question = await peer.hear()
            await peer.say(ack(question["msg_id"]))
            meta = {"reply_to": question["meta"]["request_id"], "status": "ok"}
            await peer.say(custom("custom_add", {"sum": 2}, "m1", **meta))
            assert await peer.hear_acks(1) == ["m1"]
            await settled()
            assert answers == [{"sum": 2}]
            file = OutboxFile(killed(path))
            assert file.left(600) == []
            file.close()

    async def test_the_identities_it_remembers_are_bounded_by_max_connections(self, network, path):
        handler = Handler()
        handler.go.set()
        async with serving(network, path, handler):
            for number in range(6):
                peer = await joined(network, uuid=f"u{number}", key=KEY)
                await say(peer, number)
                await peer.hear_acks(1)
                await peer.stream.aclose()
            await settled()
            left = killed(path)
        async with serving(network, left, handler, max_connections=4) as server:
            assert {session.uuid for session in server._all_sessions()} == {"u2", "u3", "u4", "u5"}


class TestHowAHandlerEnds:
    @pytest.mark.parametrize("how", ["returns", "raises", "times out", "is missing"])
    async def test_ended_is_ended_whatever_came_of_it(self, network, path, how):
        async def handle(message: Any, metadata: Any) -> None:
            if how == "raises":
                raise ValueError("no")
            if how == "times out":
                await trio.sleep_forever()

        handler = None if how == "is missing" else handle
        async with serving(network, path, handler, handler_timeout=1):
            peer = await joined(network, uuid="u1", key=KEY)
            await say(peer, 1)
            await peer.hear_acks(1)
            await trio.sleep(2)
            assert waiting_in(killed(path)) == []

    async def test_what_a_stop_cancels_is_handled_after_the_restart(self, network, path, log):
        first, second = Handler(), Handler()
        async with serving(network, path, first):
            peer = await joined(network, uuid="u1", key=KEY)
            await say(peer, 1, 2)
            await peer.hear_acks(2)
        assert (first.begun, first.done) == ([1], [])
        assert log.having("1 received messages were not handled within shutdown_timeout: they stay in the file")
        assert waiting_in(path) == [1, 2]
        second.go.set()
        async with serving(network, path, second):
            await settled()
            assert second.done == [1, 2]

    async def test_so_is_what_is_cancelled_with_its_surroundings(self, network, path):
        first = Handler()
        with trio.CancelScope() as scope:
            async with serving(network, path, first):
                peer = await joined(network, uuid="u1", key=KEY)
                await say(peer, 1, 2)
                await peer.hear_acks(2)
                scope.cancel()
                await trio.sleep_forever()
        assert waiting_in(path) == [1, 2]

    async def test_a_damaged_message_is_told_and_stops_nothing(self, network, path, log):
        first, second = Handler(), Handler()
        second.go.set()
        async with serving(network, path, first):
            peer = await joined(network, uuid="u1", key=KEY)
            await say(peer, 1, 2)
            await peer.hear_acks(2)
            left = killed(path)
        file = OutboxFile(left)
        file._db.execute("UPDATE received SET frame = x'ff00' WHERE id = (SELECT MIN(id) FROM received)")
        file.close()
        async with serving(network, left, second):
            await settled()
            assert second.done == [2]
            assert log.having("damaged", "ERROR")
            file = OutboxFile(killed(left))
            assert file.incoming() == []
            file.close()


class TestADiskThatRefuses:
    """`full` makes it do so until `free`: what is received stays its sender's, and is taken when there is room."""

    @staticmethod
    def full(server: Any) -> None:
        db = server.courier.store.file._db
        db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")

    @staticmethod
    def free(server: Any) -> None:
        server.courier.store.file._db.execute("PRAGMA max_page_count = 1000000")

    @staticmethod
    async def say_large(peer: Any, *numbers: int) -> None:
        for number in numbers:
            await peer.say({**standard(f"m{number}", number), "meta": {"filler": "x" * 9000}})

    async def test_acknowledges_and_handles_nothing_until_it_works_again(self, network, path, log):
        handler = Handler()
        handler.go.set()
        async with serving(network, path, handler) as server:
            peer = await joined(network, uuid="u1", key=KEY)
            self.full(server)
            await self.say_large(peer, *range(5))
            await trio.sleep(3)
            assert handler.begun == []
            with trio.move_on_after(1):
                raise AssertionError(await peer.hear())
            assert len(log.having("messages are refused", "ERROR")) == 1
            self.free(server)
            assert await peer.hear_acks(5) == [f"m{number}" for number in range(5)]
            await settled()
            assert handler.done == list(range(5))
            assert log.having("accepted again", "WARNING")

    async def test_what_comes_again_meanwhile_is_recognised_and_acknowledged_later(self, network, path):
        handler = Handler()
        handler.go.set()
        async with serving(network, path, handler) as server:
            peer = await joined(network, uuid="u1", key=KEY)
            self.full(server)
            await self.say_large(peer, 1, 2)
            await trio.sleep(3)
            await peer.stream.aclose()
            peer = await joined(network, uuid="u1", key=KEY)
            await self.say_large(peer, 1, 2, 3)
            await trio.sleep(3)
            self.free(server)
            assert sorted(await peer.hear_acks(3)) == ["m1", "m2", "m3"]
            await settled()
            assert handler.done == [1, 2, 3]

    async def test_reading_stops_when_all_places_are_taken_and_goes_on_afterwards(self, network, path):
        handler = Handler()
        handler.go.set()
        async with serving(network, path, handler, inbox_size=2) as server:
            peer = await joined(network, uuid="u1", key=KEY)
            self.full(server)
            await self.say_large(peer, *range(8))
            await trio.sleep(5)
            self.free(server)
            assert await peer.hear_acks(8) == [f"m{number}" for number in range(8)]
            await settled()
            assert handler.done == list(range(8))

    async def test_a_stop_meanwhile_leaves_them_to_their_sender(self, network, path):
        handler = Handler()
        async with serving(network, path, handler) as server:
            peer = await joined(network, uuid="u1", key=KEY)
            self.full(server)
            await self.say_large(peer, 1)
            await trio.sleep(3)
            await server.stop()
        assert handler.begun == []
        assert await peer.hear_all() == []
        assert waiting_in(path) == []

    async def test_the_end_of_a_handler_makes_the_room_that_the_next_message_needs(self, network, path):
        handler = Handler()
        async with serving(network, path, handler) as server:
            peer = await joined(network, uuid="u1", key=KEY)
            await self.say_large(peer, 1)
            assert await peer.hear_acks(1) == ["m1"]
            self.full(server)
            await self.say_large(peer, 2)
            await trio.sleep(3)
            handler.go.set()
            assert await peer.hear_acks(1) == ["m2"]
            await settled()
            assert handler.done == [1, 2]

    async def test_what_is_sent_is_refused_and_does_not_wait_behind_it(self, network, path):
        async with serving(network, path, Handler()) as server:
            peer = await joined(network, uuid="u1", key=KEY)
            self.full(server)
            await self.say_large(peer, 1)
            with trio.fail_after(5):
                sent = await server.send_message(text_message("x" * 9000, platform="unknown"))
            assert sent == {"u1": False}


class TestAClient:
    """It is told to connect when its handlers are in place; until then what an earlier process has left waits."""

    async def left_by(self, network: Any, path: str, *numbers: int) -> str:
        """The file of a client that was killed while it handled the first of these numbers."""
        handler = Handler()
        async with (
            network.server() as server,
            network.client(KEY, outbox_path=path, on_message=handler, shutdown_timeout=0.1) as client,
        ):
            assert await client.connect()
            for number in numbers:
                assert list((await server.send_message(text_message(number))).values()) == [True]
            await trio.sleep(1)
            assert server.get_stats()["messages_acked"] == len(numbers)
            return killed(path)

    async def test_handles_what_is_left_as_soon_as_it_is_told_to_connect(self, network, path):
        left, down = await self.left_by(network, path, 1, 2, 3), Handler()
        down.go.set()
        async with network.client(KEY, outbox_path=left, max_reconnect_attempts=0) as client:
            await trio.sleep(1)
            client.config.on_message = down
            assert down.done == []
            client._connector.want()
            await trio.sleep(1)
            assert sorted(down.done) == [1, 2, 3]
            assert {metadata["connection_uuid"] for metadata in down.metadata} == {client.get_connection_uuid()}
            assert {metadata["sender_user"] for metadata in down.metadata} == {"server"}
            assert {metadata["restored"] for metadata in down.metadata} == {True}
        assert waiting_in(left) == []

    async def test_keeps_it_when_it_never_connects(self, network, path):
        left = await self.left_by(network, path, 1, 2)
        for _ in range(2):
            async with network.client(KEY, outbox_path=left, on_message=Handler()):
                await trio.sleep(1)
        assert waiting_in(left) == [1, 2]

    async def test_recognises_what_the_server_sends_again(self, network, path, monkeypatch):
        down = Tally()
        async with network.server() as server:
            with monkeypatch.context() as patch:
                patch.setattr(
                    Connection, "acknowledge", lambda connection, msg_id: None
                )  # killed before it came through
                async with network.client(KEY, outbox_path=path, on_message=down.handle) as client:
                    assert await client.connect()
                    await server.send_message(text_message(1))
                    await trio.sleep(1)
            assert server.get_stats()["outbox_size"] == 1
            async with network.client(KEY, outbox_path=path, on_message=down.handle) as client:
                assert await client.connect()
                await trio.sleep(1)
                assert client.get_stats()["duplicate_messages_ignored"] == 1
            assert server.get_stats()["outbox_size"] == 0
        assert down.handled == [1]

    async def test_with_another_key_leaves_it_to_whom_it_belongs(self, network, path):
        left, other, own = await self.left_by(network, path, 1), Handler(), Handler()
        own.go.set()
        async with network.server():
            async with network.client("another_key", outbox_path=left, on_message=other) as client:
                assert await client.connect()
            async with network.client(KEY, outbox_path=left, on_message=own) as client:
                assert await client.connect()
                await settled()
        assert (other.begun, own.done) == ([], [1])

    async def test_the_same_object_may_be_started_again(self, network, path):
        handler = Handler()
        client = network.client(KEY, outbox_path=path, on_message=handler, shutdown_timeout=0.1)
        async with network.server() as server:
            async with client:
                assert await client.connect()
                for number in range(3):
                    await server.send_message(text_message(number))
                await trio.sleep(1)
            handler.go.set()
            async with client:
                assert await client.connect()
                await trio.sleep(1)
            assert sorted(handler.done) == [0, 1, 2]
        assert waiting_in(path) == []

    async def test_one_that_was_not_durable_before_keeps_what_it_has(self, network, path):
        handler = Handler()
        client = network.client(KEY, on_message=handler, shutdown_timeout=0.1, handler_ordering="per_connection")
        async with network.server() as server:
            async with client:
                assert await client.connect()
                for number in range(3):
                    await server.send_message(text_message(number))
                await trio.sleep(1)
            client.config.outbox_path = path
            handler.go.set()
            async with client:
                assert await client.connect()
                await server.send_message(text_message(3))
                await trio.sleep(1)
            assert handler.done == [1, 2, 3]  # the one that was cancelled is gone, as it was without the file


class TestTheIterator:
    @asynccontextmanager
    async def drawing(self, network: Any, path: str, count: int) -> AsyncIterator[Any]:
        """A client and, in a list that alone holds it, its iterator, which has `count` messages to draw."""
        async with network.server() as server, network.client(KEY, outbox_path=path) as client:
            messages = [client.messages()]
            assert await client.connect()
            for number in range(count):
                await server.send_message(text_message(number))
            await trio.sleep(1)
            yield client, messages

    async def test_taking_the_next_one_ends_the_one_before(self, network, path):
        async with self.drawing(network, path, 3) as (_client, messages):
            for number in range(3):
                assert waiting_in(killed(path)) == list(range(max(number - 1, 0), 3))
                message, _ = await anext(messages[0])
                assert message.message_segment.data == number

    @pytest.mark.parametrize("how", ["break", "raise", "aclose", "stop"])
    async def test_leaving_the_loop_ends_the_last_one(self, network, path, how):
        async with self.drawing(network, path, 2) as (client, messages):
            try:
                async for _ in messages[0] if how in ("aclose", "stop") else messages.pop():
                    if how == "aclose":
                        await messages[0].aclose()
                    if how == "raise":
                        raise ValueError("enough")
                    break
            except ValueError:
                pass
            await client.stop()
        assert waiting_in(path) == [1]

    async def test_a_stop_by_somebody_else_does_not_end_what_the_loop_is_at(self, network, path):
        async with self.drawing(network, path, 2) as (client, messages), trio.open_nursery() as nursery:
            async for _ in messages[0]:
                nursery.start_soon(client.stop)
                await trio.sleep(1)
        assert waiting_in(path) == [0, 1]

    async def test_a_loop_that_is_cancelled_has_not_done_with_its_message(self, network, path):
        async with self.drawing(network, path, 2) as (client, messages):
            with trio.CancelScope() as scope:
                async for _ in messages.pop():
                    scope.cancel()
                    await trio.sleep_forever()
            await client.stop()
        assert waiting_in(path) == [0, 1]

    async def test_what_was_not_drawn_is_there_after_the_restart(self, network, path):
        async with self.drawing(network, path, 5) as (client, messages):
            await anext(messages[0])
            await anext(messages[0])
            await client.stop()
            assert [one async for one in messages[0]] == []
        assert waiting_in(path) == [2, 3, 4]
        async with network.server(), network.client(KEY, outbox_path=path) as client:
            again = client.messages()
            assert await client.connect()
            for number in range(2, 5):
                message, metadata = await anext(again)
                assert (message.message_segment.data, metadata["restored"]) == (number, True)
            await again.aclose()
        assert waiting_in(path) == []

    async def test_on_message_gets_what_an_iterator_has_left_behind_once_it_is_on_disk(self, network, path):
        down = Tally()
        async with self.drawing(network, path, 3) as (client, messages):
            await anext(messages[0])
            await messages[0].aclose()
            client.config.on_message = down.handle
            client._hand_over()
            await trio.sleep(1)
        assert sorted(down.handled) == [1, 2]
        assert waiting_in(path) == []


class TestForgetting:
    def rows(self, path: str) -> tuple[int, int]:
        """How many messages and connections a file holds."""
        file = OutboxFile(killed(path))
        try:
            count = "SELECT COUNT(*) FROM "
            return tuple(file._db.execute(count + table).fetchone()[0] for table in ("received", "connections"))  # type: ignore[return-value]
        finally:
            file.close()

    async def exchange(self, network: Any, count: int, uuid: str = "u1") -> None:
        peer = await joined(network, uuid=uuid, key=KEY)
        await say(peer, *range(count))
        await peer.hear_acks(count)
        await peer.stream.aclose()
        await settled()

    async def test_what_is_too_old_goes_with_the_connection_it_came_on(self, network, path, monkeypatch):
        now = 1_000_000.0
        monkeypatch.setattr("time.time", lambda: now)
        config = {"message_cache_cleanup_interval": 60, "message_cache_ttl": 5000}
        async with serving(network, path, Tally().handle, **config) as server:
            await self.exchange(network, 5)
            await trio.sleep(61)
            assert self.rows(path) == (5, 1)
            await self.exchange(network, 1)  # a second connection, and nothing new
            now += 6000
            await trio.sleep(61)
            assert self.rows(path)[0] == 0
            for _ in range(2):
                server._expire(1e9)
                await settled()
            assert self.rows(path) == (0, 0)

    async def test_no_more_are_remembered_than_the_bound_says(self, network, path, monkeypatch):
        monkeypatch.setattr(durable_inbox, "MAX_REMEMBERED", 100)
        monkeypatch.setattr(durable_inbox, "STEP", 20)
        async with serving(network, path, Tally().handle, message_cache_cleanup_interval=60):
            await self.exchange(network, 500)
            await trio.sleep(61)
            assert self.rows(path)[0] <= 120

    async def test_what_waits_for_a_handler_is_never_forgotten(self, network, path, monkeypatch):
        monkeypatch.setattr(durable_inbox, "MAX_REMEMBERED", 10)
        monkeypatch.setattr(durable_inbox, "STEP", 5)
        handler = Handler()
        async with serving(network, path, handler):
            await self.exchange(network, 50)
            assert waiting_in(killed(path)) == list(range(50))


async def test_acks_come_in_the_order_of_the_messages_and_share_commits(network, path):
    commits = 0
    handler = Handler()
    async with serving(network, path, handler) as server:
        apply = server.courier.store.file.apply

        def counting(batch: Any) -> None:
            nonlocal commits
            commits += 1
            apply(batch)

        server.courier.store.file.apply = counting
        peer = await joined(network, uuid="u1", key=KEY)
        await peer.send(b"".join(text_frame(standard(f"m{number}", number)) for number in range(200)))
        assert [acked(await peer.hear()) for _ in range(200)] == [f"m{number}" for number in range(200)]
        assert commits <= 10
