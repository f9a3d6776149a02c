"""Messages that outlive the process that has accepted them."""

from __future__ import annotations

import itertools
import json
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import trio
import trio.testing

from maim_trio._runtime.durable import REMOVAL_DELAY
from maim_trio._runtime.outbox_file import Batch, OutboxFile, Row
from maim_trio.client import WebSocketClient, create_client_config
from maim_trio.errors import ConfigError
from maim_trio.server import WebSocketServer, create_server_config
from tests.cuts import Tally
from tests.memory import text_message
from tests.server.peer import ack, joined, standard, text_frame, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

KILLS = 100
MOST_OPEN = 100
"""Messages on their way to the process that is killed; it does not live long enough for more."""
SENDER = Path(__file__).parent / "outbox_sender.py"


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "outbox.db")


@pytest.fixture(autouse=True)
def threads_take_no_time(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """In virtual time: the clock jumps while all tasks wait, and it does not see that one waits for a thread."""
    if "network" in request.fixturenames:
        monkeypatch.setattr(trio.to_thread, "run_sync", at_once)


async def at_once(function: Callable[..., T], *arguments: Any, **_: Any) -> T:
    await trio.lowlevel.checkpoint()
    return function(*arguments)


def in_file(path: str, *, dead: bool | None = None) -> list[Any]:
    """The texts of the messages in a file."""
    file = OutboxFile(path)
    try:
        return [json.loads(row.payload)["payload"]["message_segment"]["data"] for row in file.rows(dead=dead)]
    finally:
        file.close()


class TestAClient:
    async def test_restarted_it_is_the_same_and_sends_what_was_accepted_in_order(self, network, path):
        up, uuids = Tally(), set()
        async with network.client(max_reconnect_attempts=0, outbox_path=path) as client:
            client._connector.want()
            for number in range(20):
                assert await client.send_message(text_message(number))
            uuids.add(client.get_connection_uuid())
        assert in_file(path) == list(range(20))
        async with network.server(on_message=up.handle, handler_ordering="per_connection"):
            async with network.client(outbox_path=path) as client:
                assert client.get_stats()["outbox_size"] == 20
                assert await client.connect()
                assert await client.send_message(text_message(20))
                uuids.add(client.get_connection_uuid())
                await trio.sleep(1)
            assert up.handled == list(range(21))
        assert len(uuids) == 1
        assert in_file(path) == []

    async def test_the_same_object_may_be_started_again(self, network, path):
        up = Tally()
        client = network.client(max_reconnect_attempts=0, outbox_path=path)
        async with client:
            client._connector.want()
            assert await client.send_message(text_message(1))
        async with network.server(on_message=up.handle), client:
            assert client.get_stats()["outbox_size"] == 1
            assert await client.connect()
            await trio.sleep(1)
            assert up.handled == [1]
            assert client.courier.held_bytes == 0

    async def test_what_was_acknowledged_is_gone_from_the_file(self, network, path):
        async with network.server(), network.client(outbox_path=path) as client:
            assert await client.connect()
            for number in range(5):
                assert await client.send_and_confirm(text_message(number))
        assert in_file(path) == []

    async def test_what_outlived_its_time_while_nothing_ran_is_reported_and_kept_for_the_operator(self, network, path):
        up = Tally()
        async with network.client(outbox_path=path, message_cache_ttl=0.01) as client:
            client._connector.want()
            assert await client.send_message(text_message(1))
        await trio.to_thread.run_sync(age_everything, path)
        async with network.client(outbox_path=path, on_undelivered=up.give_up) as client:
            await trio.testing.wait_all_tasks_blocked()
            assert up.undelivered == [(1, "not acknowledged within message_cache_ttl")]
            assert client.get_stats()["messages_expired"] == 1
        assert (in_file(path, dead=False), in_file(path, dead=True)) == ([], [1])

    async def test_another_key_on_the_same_file_does_not_get_them(self, network, path):
        up = Tally()
        async with network.client(outbox_path=path) as client:
            client._connector.want()
            assert await client.send_message(text_message(1))
        async with network.server(on_message=up.handle) as server:
            async with network.client("another_key", outbox_path=path) as client:
                assert await client.connect()
                await trio.sleep(1)
            assert up.handled == []
            async with network.client(outbox_path=path) as client:
                assert await client.connect()
                await trio.sleep(1)
            assert up.handled == [1]
            assert server.get_stats()["duplicate_messages_ignored"] == 0

    async def test_after_a_change_of_key_the_new_identity_is_remembered(self, network, path):
        async with network.server(), network.client(outbox_path=path) as client:
            assert await client.connect()
            client.update_config(api_key="another_key")
            await client.disconnect()
            assert await client.connect()
            uuid = client.get_connection_uuid()
        async with network.client("another_key", outbox_path=path) as client:
            assert client.get_connection_uuid() == uuid

    async def test_giving_up_buries(self, network, path):
        up = Tally()
        config = {"outbox_path": path, "max_reconnect_attempts": 1, "on_undelivered": up.give_up}
        async with network.client(**config) as client:
            client._connector.want()
            assert await client.send_message(text_message(1))
            await trio.sleep(10)
            assert [number for number, _ in up.undelivered] == [1]
        assert in_file(path, dead=True) == [1]

    async def test_a_message_withdrawn_in_time_leaves_no_trace(self, network, path):
        async with network.client(outbox_path=path, max_reconnect_attempts=0) as client:
            client._connector.want()
            assert not await client.send_and_confirm(text_message(1), timeout=0.5)
        assert in_file(path) == []

    async def test_a_confirmation_that_is_open_ends_with_the_client(self, network, path):
        outcome: list[bool] = []

        async def confirm() -> None:
            try:
                outcome.append(await client.send_and_confirm(text_message(1), timeout=1000))
            except Exception as error:
                outcome.append(type(error).__name__ == "NotConnected")

        async with network.client(outbox_path=path, max_reconnect_attempts=0) as client, trio.open_nursery() as nursery:
            client._connector.want()
            nursery.start_soon(confirm)
            await trio.sleep(0.5)
            await client.stop()
        assert outcome
        assert trio.current_time() < 100

    async def test_a_damaged_message_is_not_sent_and_stops_nothing(self, network, path, log):
        up = Tally()
        async with network.client(outbox_path=path) as client:
            client._connector.want()
            for number in range(2):
                assert await client.send_message(text_message(number))
        damage_first(path)
        async with network.server(on_message=up.handle), network.client(outbox_path=path) as client:
            assert await client.connect()
            await trio.sleep(1)
        assert up.handled == [1]
        assert log.having("damaged", "ERROR")

    async def test_two_clients_on_one_file_the_second_is_told(self, network, path):
        async with network.client(outbox_path=path):
            with pytest.raises(ConfigError, match="another program is using this file"):
                async with network.client(outbox_path=path):
                    raise AssertionError("it was let in")

    async def test_a_start_that_fails_lets_go_of_the_file(self, network, path):
        class Broken(type(network.server())):
            async def open_listeners(self) -> Any:
                await trio.lowlevel.checkpoint()
                raise OSError("the port is taken")

        with pytest.raises(OSError, match="port"):
            async with Broken(network, network.server(outbox_path=path).config):
                raise AssertionError("it runs")
        OutboxFile(path).close()

    @pytest.mark.parametrize("moment", ["at once", "later"])
    async def test_so_does_one_that_is_cancelled(self, network, path, moment):
        async with trio.open_nursery() as nursery:
            client = network.client(outbox_path=path, max_reconnect_attempts=0)
            await client.start(nursery)
            client._connector.want()
            assert await client.send_message(text_message(1))
            if moment == "later":
                await trio.sleep(1)
            nursery.cancel_scope.cancel()
        assert in_file(path) == [1]

    def test_a_file_without_a_cache_makes_no_sense(self, path: str) -> None:
        config = create_client_config("ws://h/ws", "key", outbox_path=path, enable_message_cache=False)
        assert "enable_message_cache" in (config.problem() or "")

    def test_nor_one_with_messages_that_no_file_can_hold(self, path: str) -> None:
        config = create_client_config("ws://h/ws", "key", outbox_path=path, max_message_size=1 << 30)
        assert "max_message_size" in (config.problem() or "")
        config.max_message_size = 900_000_000
        assert config.problem() is None


def age_everything(path: str) -> None:
    database = sqlite3.connect(path)
    database.execute("UPDATE messages SET expires = expires - 3600")
    database.commit()
    database.close()


def damage_first(path: str) -> None:
    database = sqlite3.connect(path)
    database.execute("UPDATE messages SET payload = x'ff00' WHERE id = (SELECT MIN(id) FROM messages)")
    database.commit()
    database.close()


class TestAServer:
    async def test_restarted_it_knows_the_identities_that_messages_wait_for(self, network, path):
        config = {"outbox_path": path}
        async with network.server(**config) as server:
            for uuid in ("u1", "u2"):
                peer = await joined(network, uuid=uuid, key="key_of_client")
                await peer.stream.aclose()
            await trio.sleep(1)
            for number in range(3):
                results = await server.send_message(text_message(number, platform="unknown"))
                assert results == {"u1": True, "u2": True}
        async with network.server(**config) as server:
            assert server.get_stats()["outbox_size"] == 6
            for uuid in ("u1", "u2"):
                peer = await joined(network, uuid=uuid, key="key_of_client")
                assert [text_of(await peer.hear()) for _ in range(3)] == [0, 1, 2]

    async def test_what_it_sends_to_one_and_to_all_is_in_the_file_until_each_has_acknowledged_it(self, network, path):
        config = {"outbox_path": path, "on_auth_extract_user": lambda metadata: metadata["api_key"]}
        async with network.server(**config) as server:
            peers = {(key, uuid): await joined(network, uuid=uuid, key=key) for key, uuid in ("a1", "a2", "b3")}
            assert await server.send_message(text_message(0, to="a"), target_platform="unknown") == {
                "1": True,
                "2": True,
            }
            for number in (1, 2):
                sent = await server.broadcast_message(text_message(number))
                assert sent == {"1": True, "2": True, "3": True}
            assert server.get_stats()["outbox_size"] == 8
            for (key, _), peer in peers.items():
                heard = [await peer.hear() for _ in range(3 if key == "a" else 2)]
                assert [text_of(envelope) for envelope in heard] == ([0, 1, 2] if key == "a" else [1, 2])
                await peer.say(ack(heard[-1]["msg_id"]))
            await trio.testing.wait_all_tasks_blocked()
            assert server.get_stats()["outbox_size"] == 5
        assert in_file(path) == [0, 0, 1, 1, 1]

    async def test_a_broadcast_is_stored_for_those_with_room_when_somebody_has_none(self, network, path):
        config = {"message_cache_max_size": 1, "when_full": "refuse"}
        user = {"on_auth_extract_user": lambda metadata: metadata["api_key"]}
        async with network.server(outbox_path=path, **user, **config) as server:
            for uuid in "12":
                await joined(network, uuid=uuid, key=uuid)
            assert await server.send_message(text_message(0, to="1"), target_platform="unknown") == {"1": True}
            assert await server.broadcast_message(text_message(1)) == {"1": False, "2": True}

    async def test_each_sender_goes_on_when_its_own_message_is_stored(self, network, path, monkeypatch):
        monkeypatch.setattr("maim_trio._runtime.durable.BATCH", 1)
        stored, committed = [], []
        apply = OutboxFile.apply

        def one_by_one(file: OutboxFile, batch: Batch) -> None:
            apply(file, batch)
            committed.extend(json.loads(row.payload)["payload"]["message_segment"]["data"] for row in batch.rows)

        monkeypatch.setattr(OutboxFile, "apply", one_by_one)
        async with network.client(max_reconnect_attempts=0, outbox_path=path) as client, trio.open_nursery() as senders:
            client._connector.want()

            async def send(number: int) -> None:
                assert await client.send_message(text_message(number))
                assert committed[-1] == number
                stored.append(number)

            for number in range(5):
                senders.start_soon(send, number)
        assert sorted(stored) == list(range(5))

    async def test_only_the_user_that_they_are_for_gets_them(self, network, path):
        async def user(metadata: Any) -> str:
            return metadata["api_key"].partition("_")[0]

        config = {"outbox_path": path, "on_auth_extract_user": user}
        async with network.server(**config) as server:
            peer = await joined(network, uuid="u1", key="alice_key")
            await peer.stream.aclose()
            await trio.sleep(1)
            assert await server.send_message(text_message(1, to="alice_key", platform="unknown")) == {"u1": True}
        async with network.server(**config):
            stranger = await joined(network, uuid="u1", key="mallory_key")
            with trio.move_on_after(5):
                raise AssertionError(await stranger.hear())
            peer = await joined(network, uuid="u1", key="alice_key")
            assert text_of(await peer.hear()) == 1

    async def test_what_was_given_up_on_stays_given_up(self, network, path):
        down = Tally()
        config = {"outbox_path": path, "on_undelivered": down.give_up}
        async with network.server(**config) as server:
            peer = await joined(network, uuid="u1", key="key_of_client")
            await server.send_message(text_message(1, platform="unknown"))
            await peer.close(1000)
        assert [number for number, _ in down.undelivered] == [1]
        async with network.server(**config) as server:
            assert server.get_stats()["outbox_size"] == 0
        assert in_file(path, dead=True) == [1]

    async def test_a_stop_that_keeps_messages_reports_none(self, network, path):
        down = Tally()
        async with network.server(outbox_path=path, on_undelivered=down.give_up) as server:
            peer = await joined(network, uuid="u1", key="key_of_client")
            await peer.stream.aclose()
            await trio.sleep(1)
            await server.send_message(text_message(1, platform="unknown"))
        assert down.undelivered == []
        assert in_file(path, dead=False) == [1]


class TestAFullDisk:
    async def test_sends_say_false_and_the_log_says_why_once(self, network, path, log):
        up = Tally()
        async with network.server(on_message=up.handle), network.client(outbox_path=path) as client:
            assert await client.connect()
            assert await client.send_message(text_message(1))
            file = client.courier.store.file
            pages = file._db.execute("PRAGMA page_count").fetchone()[0]
            file._db.execute(f"PRAGMA max_page_count = {pages + 3}")
            results = [await client.send_message(text_message("x" * 9000)) for _ in range(10)]
            assert False in results
            assert len(log.having("messages are refused", "ERROR")) >= 1
            file._db.execute("PRAGMA max_page_count = 100000")
            await trio.sleep(3)
            assert await client.send_message(text_message(2))
            assert log.having("accepted again", "WARNING")
            await trio.sleep(1)
            assert up.handled.count(1) == up.handled.count(2) == 1
            assert len(up.handled) == 2 + results.count(True)
            assert client.get_stats()["outbox_size"] == client.courier.held_bytes == 0

    def test_a_real_limit_of_the_file_size_is_no_crash(self, path: str) -> None:
        program = (
            "import sys, trio; from tests.memory import *\n"
            "async def main():\n"
            "    async with Network().client(outbox_path=sys.argv[1], max_reconnect_attempts=0) as client:\n"
            "        client._connector.want()\n"
            "        sent = [await client.send_message(text_message('x' * 20_000)) for _ in range(20)]\n"
            "        assert sent[0] and not sent[-1], sent\n"
            "trio.run(main)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, path],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)),
        )
        assert done.returncode == 0, done.stderr
        assert "messages are refused" in done.stderr


class TestTheCost:
    def test_a_commit_is_shared_by_those_who_wait_for_it(self, path: str) -> None:
        commits = 0

        class Counting(OutboxFile):
            def apply(self, batch: Batch) -> None:
                nonlocal commits
                commits += 1
                super().apply(batch)

        async def main() -> None:
            from tests.memory import Network

            async with Network().client(outbox_path=path, max_reconnect_attempts=0) as client:
                client._connector.want()
                client.courier.store.file.__class__ = Counting
                async with trio.open_nursery() as nursery:
                    for _ in range(50):
                        nursery.start_soon(send_ten, client)

        trio.run(main)
        assert commits < 100
        assert len(in_file(path)) == 500


async def send_ten(client: Any) -> None:
    for number in range(10):
        assert await client.send_message(text_message(number))


async def test_a_client_killed_a_hundred_times_loses_nothing_and_repeats_only_what_it_was_handling(path, capsys):
    """Real processes and a real socket: `kill -9` at random moments, each time a new process on the same file. Messages
    go in both directions all the time."""
    up, down = Tally(), Tally()
    config = create_server_config(
        host="127.0.0.1",
        port=0,
        handler_ordering="per_connection",
        when_full="wait",
        on_message=up.handle,
        on_undelivered=down.give_up,  # what was sent three times, to processes that were killed before they had it
    )
    dice = random.Random(7)
    async with WebSocketServer(config) as server:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_down, server, down)
            for first in range(0, KILLS * 100_000, 100_000):
                await run_until_killed(server.port, path, first, dice.randrange(100), up, down)
            nursery.cancel_scope.cancel()
        await drain(server, path, up, down)
    with capsys.disabled():
        print(
            f"\n{KILLS} times kill -9: from the killed process {len(up.accepted)} accepted, {len(up.lost)} lost, "
            f"{len(up.duplicated)} repeated; to it {len(down.accepted)} accepted, {len(down.lost)} lost, "
            f"{len(down.undelivered)} reported, {len(down.handled) - len({*down.handled})} repeated"
        )
    assert min(len(up.accepted), len(down.accepted)) > KILLS
    assert (up.lost, up.duplicated) == ([], [])
    assert down.lost == []
    assert len(down.handled) - len({*down.handled}) <= KILLS  # ordered: one at a time is being handled
    assert list(dict.fromkeys(down.handled)) == sorted({*down.handled})
    assert len(down.undelivered) < len(down.accepted) / 10


async def send_down(server: WebSocketServer, down: Tally) -> None:
    for number in itertools.count():
        message = text_message(number)
        while not any((await server.send_message(message)).values()):  # noqa: ASYNC110 - it has not been there yet
            await trio.sleep(0.01)
        down.accepted.append(number)
        await trio.sleep(0.005)
        while len(down.accepted) - len(down.handled) > MOST_OPEN:  # noqa: ASYNC110 - told by a pipe, when it was killed
            await trio.sleep(0.01)


async def run_until_killed(port: int, path: str, first: int, after: int, up: Tally, down: Tally) -> None:
    """Runs a client and kills it so many lines after it has connected, for the machine may be slow; counts them."""
    process = await trio.lowlevel.open_process(
        [sys.executable, SENDER, str(port), path, str(first)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    said = b""
    while b"c " not in said or said.partition(b"c ")[2].count(b"\n") < after:
        said += await process.stdout.receive_some()
    process.send_signal(signal.SIGKILL)
    async for more in process.stdout:
        said += more
    await process.wait()
    await process.stdout.aclose()
    for line in said.split(b"\n")[:-1]:
        did, number = line.split()
        if did != b"c":
            {b"a": up.accepted, b"h": down.handled}[did].append(int(number))


async def drain(server: WebSocketServer, path: str, up: Tally, down: Tally) -> None:
    """One more client on the file, until nothing is left on either side."""
    config = create_client_config(
        f"ws://127.0.0.1:{server.port}/ws",
        "key_of_client",
        outbox_path=path,
        on_message=down.handle,
        handler_ordering="per_connection",
    )
    async with WebSocketClient(config) as client:
        assert await client.connect()
        with trio.fail_after(60):
            while client.get_stats()["outbox_size"] or server.get_stats()["outbox_size"]:  # noqa: ASYNC110
                await trio.sleep(0.02)
        assert await client.send_and_confirm(text_message(-1))
    up.handled.remove(-1)


def test_a_row_belongs_to_one_user(path: str) -> None:
    file = OutboxFile(path)
    file.apply(Batch(rows=[Row(file.new_id(), "u", user, "p", "m", b"{}", 0.0, 1e12) for user in ("a", "b")]))
    assert [row.user_id for row in file.rows()] == ["a", "b"]
    file.close()
    assert os.path.exists(path)


class TestRemovals:
    """Nobody waits for them, so they go with the next commit, or soon after."""

    @staticmethod
    def counted(store: Any) -> list[tuple[int, int]]:
        """Insertions and removals of each commit from here on."""
        commits: list[tuple[int, int]] = []
        apply = store.file.apply

        def counting(batch: Batch) -> None:
            commits.append((len(batch.rows), len(batch.removed)))
            apply(batch)

        store.file.apply = counting
        return commits

    async def test_one_goes_with_the_next_message(self, network, path):
        async with network.server(), network.client(outbox_path=path) as client:
            assert await client.connect()
            commits = self.counted(client.courier.store)
            for number in range(10):
                assert await client.send_and_confirm(text_message(number))
            assert sum(removed for _, removed in commits) >= 9
            assert len(commits) <= 11

    async def test_the_last_one_does_not_wait_for_a_next_message(self, network, path):
        async with network.server(), network.client(outbox_path=path) as client:
            assert await client.connect()
            assert await client.send_and_confirm(text_message(1))
            commits = self.counted(client.courier.store)
            await trio.sleep(REMOVAL_DELAY + 0.01)
            assert commits == [(0, 1)]
            await trio.sleep(10)
            assert commits == [(0, 1)]

    async def test_one_that_the_disk_refuses_is_tried_again(self, network, path):
        async with network.server(), network.client(outbox_path=path) as client:
            assert await client.connect()
            assert await client.send_and_confirm(text_message(1))
            apply, tried = client.courier.store.file.apply, []

            def refuse_once(batch: Batch) -> None:
                tried.append(list(batch.removed))
                if len(tried) == 1:
                    raise sqlite3.OperationalError("database or disk is full")
                apply(batch)

            client.courier.store.file.apply = refuse_once
            await trio.sleep(5)
            assert len(tried) == 2
            assert tried[0] == tried[1] != []
        assert in_file(path) == []

    async def test_killed_before_one_is_written_it_is_sent_again_and_recognised(self, network, path):
        up = Tally()
        async with network.server(on_message=up.handle) as server:
            async with network.client(outbox_path=path) as client:
                assert await client.connect()
                assert await client.send_and_confirm(text_message(1))
                left = killed(path)
            async with network.client(outbox_path=left) as client:
                assert client.get_stats()["outbox_size"] == 1
                assert await client.connect()
                await trio.sleep(1)
                assert client.get_stats()["outbox_size"] == 0
            assert up.handled == [1]
            assert server.get_stats()["duplicate_messages_ignored"] == 1

    async def test_a_client_that_is_cancelled_writes_those_that_are_left(self, network, path):
        async with network.server(), trio.open_nursery() as nursery:
            client = network.client(outbox_path=path)
            await client.start(nursery)
            assert await client.connect()
            assert await client.send_and_confirm(text_message(1))
            nursery.cancel_scope.cancel()
        assert in_file(path) == []


async def test_what_one_commit_has_stored_is_acknowledged_in_one_write(network, path):
    async with network.server(outbox_path=path) as server:
        peer = await joined(network, uuid="u1", key="key_of_client")
        written: list[int] = []
        link = next(iter(server.links))
        send = link.send_texts_nowait
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                type(link), "send_texts_nowait", lambda _, payloads: (written.append(len(payloads)), send(payloads))
            )
            await peer.send(b"".join(text_frame(standard(f"m{number}", number)) for number in range(50)))
            assert await peer.hear_acks(50) == [f"m{number}" for number in range(50)]
        assert len(written) <= 2


def killed(path: str) -> str:
    """What a process that is killed now leaves: a copy of the file that another one can open."""
    copy = f"{path}.killed"
    for end in ("", "-wal"):
        if Path(path + end).exists():
            shutil.copy(path + end, copy + end)
    return copy
