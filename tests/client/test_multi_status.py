"""What a multi client tells about itself and its connections."""

from __future__ import annotations

import json

import pytest
import trio
import trio.testing

from maim_trio.client import ClientConfig
from maim_trio.client._multi_status import sum_of
from tests.client.multi import Inbox, fields
from tests.client.raw import refuses, welcomes
from tests.memory import text_message

DOCUMENTED = {
    "total_connections", "active_connections", "total_messages", "successful_connects", "failed_connects",
    "messages_sent", "messages_received", "uptime", "last_activity", "active_handler_tasks", "last_error",
    "error_count", "current_connections",
}  # fmt: skip
OURS = {"connections_registered", "connections_active", "connection_names", "connections"}


async def settle():
    await trio.testing.wait_all_tasks_blocked()


def checked(client):
    """The stats, with what is true of them in every state."""
    stats = client.get_stats()
    assert set(stats) >= DOCUMENTED | OURS
    assert json.loads(json.dumps(stats)) == stats
    assert "key_of" not in json.dumps(stats)
    for name, one in stats["connections"].items():
        assert set(one) >= DOCUMENTED, name
    return stats


async def test_the_documented_keys_are_there_in_every_state(bots, nursery):
    client = bots.client(connections={"a": fields("a")})
    before = checked(client)
    assert (before["uptime"], before["active_connections"], before["last_error"]) == (0.0, 0, None)
    assert (before["connections_registered"], before["connection_names"]) == (1, ["a"])
    await bots.play("a", welcomes)
    await client.start(nursery)
    checked(client)
    await trio.sleep(3)
    await client.connect()
    during = checked(client)
    assert (during["uptime"], during["active_connections"], during["connections_active"]) == (3.0, 1, 1)
    await client.stop()
    after = checked(client)
    assert (after["uptime"], after["active_connections"], after["total_connections"]) == (0.0, 0, 1)
    checked(bots.client())


async def test_a_client_can_be_asked_where_no_trio_runs(bots):
    stats = await trio.to_thread.run_sync(lambda: checked(bots.client(connections={"a": fields("a")})))
    assert stats["connections"]["a"]["connected"] is False


async def test_the_numbers_are_sums_and_stand_beside_those_of_each(bots):
    async with bots["a"].server() as a, bots["b"].server():
        connections = {"a": fields("a"), "b": fields("b"), "off": fields("off", connect_timeout=1)}
        async with bots.client(connections=connections, on_message=Inbox()) as client:
            await client.connect()
            for _ in range(3):
                await client.send_message("a", text_message())
            await client.send_custom_message("b", "x", {})
            await a.broadcast_message(text_message())
            await settle()
            stats = checked(client)
            each = stats["connections"]
            assert (stats["messages_sent"], stats["messages_received"], stats["total_messages"]) == (4, 1, 5)
            assert (each["a"]["messages_sent"], each["b"]["messages_sent"]) == (3, 1)
            assert (stats["successful_connects"], stats["active_connections"]) == (2, 2)
            for key in ("failed_connects", "error_count", "bytes_sent", "connect_attempts"):
                assert stats[key] == sum(one[key] for one in each.values())
            assert stats["last_activity"] == max(one["last_activity"] for one in each.values()) > 0
            assert stats["last_error"] == client.get_last_error()
            assert stats["last_error"].startswith("off: ")
            assert stats["connection_names"] == ["a", "b", "off"]


def test_what_one_does_not_count_is_nothing_in_the_sum():
    total = sum_of([{"messages_sent": 2, "last_activity": 5.0}, {"messages_sent": 1}])
    assert (total["messages_sent"], total["messages_received"], total["last_activity"]) == (3, 0, 5.0)


async def test_stats_are_a_copy(bots):
    client = bots.client(connections={"a": fields("a")})
    stats = client.get_stats()
    stats["connections"]["a"]["messages_sent"] = stats["messages_sent"] = 9
    stats["connection_names"].append("x")
    assert checked(client)["messages_sent"] == 0
    assert client.get_stats()["connection_names"] == ["a"]


# -- information about connections


async def test_connections_are_listed_with_what_is_known_and_without_secrets(bots):
    await bots.play("a", welcomes)
    connections = {"a": fields("a", url="ws://a/ws?api_key=key_of_query"), "off": fields("off", connect_timeout=1)}
    async with bots.client(connections=connections) as client:
        assert set(client.list_connections()) == {"a", "off"}
        assert client.get_active_connections() == {}
        await client.connect()
        listed = client.list_connections()
        assert set(client.get_active_connections()) == {"a"}
        assert listed["a"] == client.get_connection_info("a") == client.get_active_connections()["a"]
        assert {key: listed["a"][key] for key in ("name", "url", "platform", "connected", "last_error")} == {
            "name": "a", "url": "ws://a/ws", "platform": "a_platform", "connected": True, "last_error": None,
        }  # fmt: skip
        assert listed["off"]["connected"] is False
        assert "nobody listens" in listed["off"]["last_error"]
        assert "key_of" not in str({**listed, "last": client.get_last_error()}).replace("key_…", "")
        assert client.get_connection_info("unknown") is None


async def test_the_last_error_of_all_is_the_latest(bots):
    await bots.play("a", refuses(401))
    async with bots.client(connections={"a": fields("a"), "b": fields("b", connect_timeout=1)}) as client:
        assert client.get_last_error() is None
        await client.connect("b")
        assert client.get_last_error().startswith("b: ")
        await client.connect("a")
        assert client.get_last_error().startswith("a: authentication failed")
        assert client.get_last_error("b") != client.get_last_error("a")


async def test_coroutine_status_shows_the_tree_of_what_runs(bots, nursery):
    async def on_message(message, metadata):
        await trio.sleep_forever()

    async with bots["a"].server() as server:
        client = bots.client(connections={"a": fields("a")}, on_message=on_message)
        client.register_custom_handler("x", print)
        status = client.get_coroutine_status()
        assert (status["client_running"], status["active_connections"], status["tasks"]) == (False, 0, None)
        await client.start(nursery)
        await client.connect()
        await server.broadcast_message(text_message())
        await settle()
        status = client.get_coroutine_status()
        assert (status["client_running"], status["active_connections"], status["active_handler_tasks"]) == (True, 1, 1)
        assert status["custom_handlers"] == ["custom_x"]
        tree = json.dumps(status["tasks"])
        assert '"connection"' in tree
        assert '"on_message"' in tree


# -- stats_callback


async def test_the_stats_callback_is_called_every_interval_while_something_changes(bots):
    told = []
    await bots.play("a", welcomes)
    client = bots.client(connections={"a": fields("a", ping_interval=0)}, stats_callback=told.append, stats_interval=2)
    async with client:
        await client.connect()
        await trio.sleep(2.5)
        assert [stats["active_connections"] for stats in told] == [1]
        await trio.sleep(20)
        assert len(told) == 1  # nothing has happened
        await client.send_message("a", text_message())
        await trio.sleep(4)
        assert told[-1]["messages_sent"] == 1
        assert set(told[-1]) >= DOCUMENTED | OURS


async def test_the_stats_callback_is_assigned_live_and_may_come_from_the_defaults(bots):
    told = []
    default = ClientConfig(stats_interval=1)
    async with bots.client(connections={"a": fields("a")}, default_config=default) as client:
        default.stats_callback = lambda stats: told.append("default")
        await trio.sleep(1.5)
        assert told == ["default"]
        client.config.stats_callback = lambda stats: told.append("shared")
        client.register_connection("b", "ws://b/ws", "key")
        await trio.sleep(2)
        assert told == ["default", "shared"]
        client.config.enable_stats = False
        client.unregister_connection("b")
        await trio.sleep(2)
        assert told == ["default", "shared"]


async def test_an_entry_may_have_a_stats_callback_of_its_own(bots):
    shared, own = [], []
    await bots.play("a", welcomes)
    connections = {"a": fields("a", stats_callback=own.append, stats_interval=1), "b": fields("a")}
    async with bots.client(connections=connections, stats_callback=shared.append, stats_interval=1) as client:
        await client.connect()
        await trio.sleep(1.5)
        assert [stats["connection_uuid"] for stats in own] == [client.get_connection_info("a")["connection_uuid"]]
        assert [stats["connections_active"] for stats in shared] == [2]


@pytest.mark.parametrize("kind", ["plain", "coroutine", "group"])
async def test_a_stats_callback_that_raises_ends_nothing(bots, caplog, kind):
    def plain(stats):
        raise ValueError("mine")

    async def coroutine(stats):
        raise ValueError("mine")

    async def group(stats):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(coroutine, stats)
            try:
                await trio.sleep_forever()
            finally:
                raise KeyError("late")

    client = bots.client(stats_callback=locals()[kind], stats_interval=1)
    async with client:
        await trio.sleep(1.5)
        assert "stats_callback raised" in caplog.text
        client.register_connection("a", "ws://a/ws", "key")
        caplog.clear()
        await trio.sleep(1)
        assert "stats_callback raised" in caplog.text
        assert client.is_running()


async def test_a_stats_callback_that_hangs_does_not_hold_up_a_stop(bots, nursery, caplog):
    async def hangs(stats):
        async with trio.open_nursery() as inner:
            inner.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise KeyError("its clean-up fails")

    client = bots.client(stats_callback=hangs, stats_interval=1)
    await client.start(nursery)
    await trio.sleep(2)
    await client.stop()
    assert trio.current_time() == 2
    assert "stats_callback raised" in caplog.text
