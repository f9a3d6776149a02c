"""What a server or client keeps beyond its connections, and how that ends."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from maim_trio._delivery.dedupe import WINDOW
from maim_trio._runtime.durable_inbox import HeldLane
from maim_trio._runtime.outbox_file import Batch, OutboxFile, Row
from tests.cuts import Tally
from tests.memory import text_message
from tests.runtime.test_durable import at_once, in_file
from tests.server.peer import joined, message_payload, standard

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "outbox.db")


@pytest.fixture(autouse=True)
def threads_take_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trio.to_thread, "run_sync", at_once)


def fill(path: str, *rows: dict[str, Any]) -> None:
    """Makes a file with messages for u1 as an earlier process has left it."""
    file, now = OutboxFile(path), time.time()
    for fields in rows:
        number = file.new_id()
        envelope = {"type": "sys_std", "msg_id": f"m{number}", "payload": message_payload(number)}
        values = {"payload": json.dumps(envelope).encode(), "created": now, "expires": now + 60, **fields}
        file.apply(Batch(rows=[Row(number, "u1", "sys_default", "default", f"m{number}", **values)]))
    file.close()


async def away(network: Any) -> None:
    """A client u1 that was there and is not any more."""
    peer = await joined(network, uuid="u1", key="key_of_client")
    await peer.stream.aclose()
    await trio.testing.wait_all_tasks_blocked()


class TestKeepingHouse:
    @pytest.mark.parametrize(("interval", "ttl", "seen"), [(2.0, 10.0, 12.0), (100.0, 10.0, 10.0), (7.0, 10.0, 14.0)])
    async def test_what_has_outlived_its_time_is_found_at_the_next_look(self, network, interval, ttl, seen):
        told: list[float] = []
        config = {"message_cache_cleanup_interval": interval, "message_cache_ttl": ttl}
        async with network.server(on_undelivered=lambda *_: told.append(trio.current_time()), **config) as server:
            await away(network)
            await trio.sleep(0.5)
            assert await server.send_message(text_message(1, platform="unknown")) == {"u1": True}
            await trio.sleep(9)
            assert told == []
            await trio.sleep(30)
        assert told == [pytest.approx(seen, abs=interval if interval < ttl else ttl)]

    async def test_an_identity_that_is_silent_forgets_what_it_has_seen(self, network):
        async with network.server(message_cache_ttl=2000, ping_interval=0) as server:
            peer = await joined(network, uuid="u1", key="key_of_client")
            await peer.say(standard("m1"))
            await peer.hear_acks(1)
            (session,) = server._all_sessions()
            for last, count in ((1900, 1), (2 * 2000 + 121, 0)):
                await trio.sleep_until(last)
                assert len(session.dedupe) == count


class TestTheStore:
    async def test_without_a_path_there_is_none_and_nothing_is_held_back(self, network):
        async with network.server() as server:
            await away(network)
            assert server.courier.store is None
            assert server.durable_inbox is None
            assert not any(isinstance(session.lane, HeldLane) for session in server._all_sessions())

    @pytest.mark.parametrize(("ttl", "window"), [(10.0, WINDOW), (5000.0, 5000.0)])
    async def test_what_was_received_is_remembered_as_long_as_it_may_come_again(self, network, path, ttl, window):
        async with network.server(outbox_path=path, message_cache_ttl=ttl) as server:
            assert server._memory == window

    async def test_it_is_gone_with_the_end_and_there_again_with_the_next_start(self, network, path):
        server = network.server(outbox_path=path)
        for _ in range(2):
            async with server:
                assert server.courier.store is not None
                assert server.durable_inbox is not None
            assert server.courier.store is None
            assert server.durable_inbox is None


class TestWhatAnEarlierProcessHasLeft:
    async def test_is_given_up_at_once_where_its_time_is_over(self, network, path):
        fill(path, {"expires": time.time() - 1}, {})
        down = Tally()
        async with network.server(outbox_path=path, on_undelivered=down.give_up) as server:
            await trio.testing.wait_all_tasks_blocked()
            assert down.undelivered == [(1, "not acknowledged within message_cache_ttl")]
            assert server.get_stats()["outbox_size"] == 1
        assert (in_file(path, dead=True), in_file(path, dead=False)) == ([1], [2])

    async def test_is_buried_where_it_is_damaged(self, network, path, log):
        fill(path, {"payload": b"[]"}, {})
        async with network.server(outbox_path=path) as server:
            assert server.get_stats()["outbox_size"] == 1
        assert log.having("a message of the outbox for u1 is damaged", "ERROR")
        file = OutboxFile(path)
        assert [row.dead for row in file.rows()] == ["damaged", None]
        file.close()


class TestTheEnd:
    async def test_what_could_not_be_delivered_is_reported_without_a_file_and_stays_in_one(self, network, path):
        for outbox_path, reported in ((None, [(1, "the server has stopped")]), (path, [])):
            down = Tally()
            async with network.server(outbox_path=outbox_path, on_undelivered=down.give_up) as server:
                await away(network)
                assert await server.send_message(text_message(1, platform="unknown")) == {"u1": True}
            assert down.undelivered == reported
            assert not await server.send_message(text_message(2, platform="unknown"))
        assert in_file(path) == [1]

    @pytest.mark.parametrize("durable", [False, True])
    async def test_the_log_says_what_becomes_of_what_was_not_handled(self, network, path, log, durable):
        fields = {"outbox_path": path if durable else None, "shutdown_timeout": 0.1, "max_concurrent_handlers": 1}

        async def forever(*_: Any) -> None:
            await trio.sleep_forever()

        async with network.server(on_message=forever, **fields):
            peer = await joined(network, uuid="u1", key="key_of_client")
            for number in range(4):
                await peer.say(standard(f"m{number}"))
            await peer.hear_acks(4)
        said = "3 received messages were not handled within shutdown_timeout"
        assert log.having(said, "WARNING") == [said + (": they stay in the file" if durable else "")]

    async def test_requests_that_are_open_end_with_an_error(self, network):
        failures: list[str] = []

        async def ask() -> None:
            try:
                await server.request("u1", "x", {}, timeout=1000)
            except Exception as error:
                failures.append(type(error).__name__)

        async with network.server(shutdown_timeout=0.1) as server, trio.open_nursery() as nursery:
            await joined(network, uuid="u1", key="key_of_client")
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            await server.stop()
        assert failures == ["NotConnected"]
