"""Connections that come, change and go while a multi client runs, from the client and from its configuration."""

from __future__ import annotations

import pytest
import trio
import trio.testing
import trustme

from maim_trio.client import ClientConfig, ConnectionEntry
from maim_trio.errors import ConfigError
from tests.client.multi import Inbox, fields
from tests.client.raw import silent, welcomes
from tests.memory import text_message


@pytest.fixture
async def client(bots, nursery):
    """One that connects what it is given, and has a connection `a`."""
    await bots.play("a", welcomes)
    client = bots.client(connections={"a": fields("a")}, auto_connect_on_start=True)
    await client.start(nursery)
    return client


async def settle():
    await trio.testing.wait_all_tasks_blocked()


# -- coming

ADD = {
    "client.register_connection": lambda client: client.register_connection("b", "ws://b/ws", "key_b"),
    "config.register_connection": lambda client: client.config.register_connection("b", "ws://b/ws", "key_b"),
    "config.add_connection": lambda client: client.config.add_connection("b", "ws://b/ws", "key_b"),
    "an entry": lambda client: client.config.connections.__setitem__("b", ConnectionEntry("b", **fields("b"))),
    "a dict": lambda client: client.config.connections.update(b=fields("b")),
    "all anew": lambda client: setattr(client.config, "connections", {**client.config.connections, "b": fields("b")}),
}


@pytest.mark.parametrize("add", ADD.values(), ids=ADD)
async def test_a_connection_that_is_added_while_it_runs_connects_by_itself(bots, client, add):
    await bots.play("b", welcomes)
    add(client)
    await settle()
    assert client.is_connected("b")
    assert set(client.list_connections()) == set(client.config.connections) == {"a", "b"}
    assert len(bots["a"].dials) == 1
    assert await client.send_message("b", text_message())


@pytest.mark.parametrize("add", ADD.values(), ids=ADD)
async def test_without_auto_connect_it_waits_for_connect(bots, add):
    await bots.play("b", welcomes)
    async with bots.client() as client:
        add(client)
        await settle()
        assert bots["b"].dials == []
        assert await client.connect() == {"b": True}


async def test_what_is_added_before_the_start_is_there_too(bots, nursery):
    await bots.play("b", welcomes)
    client = bots.client(auto_connect_on_start=True)
    client.config.connections["b"] = fields("b")
    assert client.get_connection_info("b")["connected"] is False
    await client.start(nursery)
    assert client.is_connected("b")


async def test_adding_one_that_stalls_or_is_refused_touches_no_other(bots, client):
    await bots.play("b", silent)
    client.register_connection("b", "ws://b/ws", "key")
    client.register_connection("c", "ws://c/ws", "key")
    await trio.sleep(60)
    assert client.is_connected("a")
    assert len(bots["a"].dials) == 1
    assert "no answer" in client.get_last_error("b")
    assert "nobody listens" in client.get_last_error("c")


# -- going

REMOVE = {
    "client.unregister_connection": lambda client: client.unregister_connection("a"),
    "config.remove_connection": lambda client: client.config.remove_connection("a"),
    "del": lambda client: client.config.connections.__delitem__("a"),
    "all anew": lambda client: setattr(client.config, "connections", {}),
}


@pytest.mark.parametrize("remove", REMOVE.values(), ids=REMOVE)
async def test_a_connection_that_is_removed_is_closed_for_good(bots, nursery, remove):
    peers = await bots.play("a", welcomes)
    client = bots.client(connections={"a": fields("a")}, auto_connect_on_start=True)
    await client.start(nursery)
    remove(client)
    assert not client.is_connected("a")
    assert client.list_connections() == {}
    await settle()
    assert peers[0].code == 1000
    assert bots["a"].open_streams == set()
    await trio.sleep(60)
    assert len(bots["a"].dials) == 1


async def test_removing_what_is_not_there_is_false(client):
    assert client.unregister_connection("nobody") is False


async def test_removing_one_that_is_connecting_ends_the_attempt(bots, client):
    await bots.play("b", silent)
    client.register_connection("b", "ws://b/ws", "key")
    await trio.sleep(1)
    client.unregister_connection("b")
    await settle()
    assert bots["b"].open_streams == set()


async def test_a_handler_may_remove_its_own_connection_and_is_not_cut_off(bots, nursery):
    done = []

    async def on_message(message, metadata):
        assert client.unregister_connection(metadata["connection_name"])
        await trio.sleep(5)
        done.append(trio.current_time())

    async with bots["a"].server() as server:
        client = bots.client(connections={"a": fields("a")}, on_message=on_message, auto_connect_on_start=True)
        await client.start(nursery)
        await server.broadcast_message(text_message())
        await trio.sleep(10)
        assert done == [5]
        assert server.get_connection_count() == 0


async def test_a_stop_waits_for_what_is_on_its_way_out(bots, nursery):
    done = []

    async def on_message(message, metadata):
        client.unregister_connection("a")
        await trio.sleep(5)
        done.append(trio.current_time())

    async with bots["a"].server() as server:
        client = bots.client(connections={"a": fields("a")}, on_message=on_message, auto_connect_on_start=True)
        await client.start(nursery)
        await server.broadcast_message(text_message())
        await trio.sleep(1)
        await client.stop()
        assert done == [5]


# -- changing

CHANGE = {
    "client.update_connection": lambda client, **new: client.update_connection("a", **new),
    "entry.update": lambda client, **new: client.config.connections["a"].update(new),
    "entry": lambda client, **new: [
        setattr(client.config.connections["a"], name, value) for name, value in new.items()
    ],
}


@pytest.mark.parametrize("change", CHANGE.values(), ids=CHANGE)
async def test_a_new_key_or_platform_is_used_at_once_on_a_new_connection(bots, nursery, change):
    peers = await bots.play("a", welcomes)
    client = bots.client(connections={"a": fields("a")}, auto_connect_on_start=True)
    await client.start(nursery)
    change(client, api_key="new_key_of_a")
    assert not client.is_connected("a")  # the one it had is not the one that is wanted
    assert await client.connect("a") == {"a": True}
    assert [peer.header("x-apikey") for peer in peers] == ["key_of_a", "new_key_of_a"]
    change(client, platform="telegram")
    await settle()
    assert client.is_connected("a")
    assert peers[2].header("x-platform") == "telegram"
    assert [peer.code for peer in peers] == [1000, 1000, None]
    assert len({peer.header("x-uuid") for peer in peers}) == 3  # a new id for a new user


async def test_a_new_url_moves_the_connection(bots, client):
    await bots.play("b", welcomes)
    assert client.update_connection("a", url="ws://b/ws", headers={"x-trace": "1"})
    await settle()
    assert client.is_connected("a")
    assert client.get_connection_info("a")["url"] == "ws://b/ws"
    assert bots["a"].open_streams == set()
    assert len(bots["b"].open_streams) == 1


async def test_a_new_url_ends_the_waiting_for_the_old_one(bots, nursery):
    client = bots.client(connections={"a": fields("nowhere", reconnect_delay=1000)}, auto_connect_on_start=True)
    await client.start(nursery)
    await bots.play("b", welcomes)
    now = trio.current_time()
    client.update_connection("a", url="ws://b/ws")
    await settle()
    assert client.is_connected("a")
    assert trio.current_time() == now


async def test_other_changes_leave_a_live_connection_alone(bots, client):
    assert client.update_connection("a", ping_interval=5, headers={"x-trace": "1"}, reconnect_delay=7.0)
    assert client.update_connection("a", url="ws://a/ws")  # as it was
    await settle()
    assert client.is_connected("a")
    assert len(bots["a"].dials) == 1


async def test_headers_apply_at_the_next_connect_also_when_they_are_changed_in_place(bots, nursery):
    peers = await bots.play("a", welcomes)
    client = bots.client(connections={"a": fields("a")}, auto_connect_on_start=True)
    await client.start(nursery)
    client.config.connections["a"].headers["x-trace"] = "1"
    await client.disconnect()
    await client.connect()
    assert peers[1].header("x-trace") == "1"


async def test_a_connection_that_nobody_wants_is_not_connected_by_a_change(bots, client):
    await client.disconnect("a")
    client.update_connection("a", api_key="new_key_of_a")
    await trio.sleep(60)
    assert not client.is_connected("a")
    assert len(bots["a"].dials) == 1


async def test_a_disconnect_right_after_a_change_has_the_last_word(bots, client):
    client.update_connection("a", api_key="new_key_of_a")
    await client.disconnect("a")
    await trio.sleep(60)
    assert not client.is_connected("a")
    assert bots["a"].open_streams == set()


async def test_changes_in_a_row_end_with_the_last_one(bots, nursery):
    peers = await bots.play("a", welcomes)
    client = bots.client(connections={"a": fields("a")}, auto_connect_on_start=True)
    await client.start(nursery)
    for number in range(20):
        client.update_connection("a", api_key=f"key_number_{number}")
        if number % 3 == 0:
            await trio.lowlevel.checkpoint()
    await settle()
    assert client.is_connected("a")
    assert peers[-1].header("x-apikey") == "key_number_19"
    assert len(bots["a"].open_streams) == 1


async def test_updating_what_is_not_there_is_false(client):
    assert client.update_connection("nobody", api_key="x") is False


async def test_a_wrong_update_changes_nothing(bots, client):
    with pytest.raises(ConfigError, match="ping_interval"):
        client.update_connection("a", api_key="new_key_of_a", ping_interval="soon")
    with pytest.raises(ConfigError, match="no field pingu"):
        client.update_connection("a", api_key="new_key_of_a", pingu=1)
    await settle()
    assert client.config.connections["a"].api_key == "key_of_a"
    assert len(bots["a"].dials) == 1


async def test_a_running_connection_keeps_what_it_has_when_the_new_values_cannot_be_taken(bots):
    default = ClientConfig(connect_timeout=3.0)
    await bots.play("a", welcomes)
    async with bots.client(connections={"a": fields("a")}, default_config=default) as client:
        await client.connect()
        default.connect_timeout = "soon"  # assigned unseen
        assert client.update_connection("a", ping_interval=7) is False
        assert "connect_timeout" in client.get_last_error("a")
        assert client.get_connection_info("a")["last_error"] == client.get_last_error("a")
        assert client.is_connected("a")
        default.connect_timeout = 3.0
        assert client.update_connection("a", ping_interval=8) is True
        assert client.get_last_error("a") is None


# -- the same name again


async def test_the_same_name_registered_twice_replaces_the_connection(bots, client):
    peers = await bots.play("b", welcomes)
    client.register_connection("a", "ws://b/ws", "other_key_of_a", "qq")
    await settle()
    assert client.is_connected("a")
    assert list(client.list_connections()) == ["a"]
    assert peers[0].header("x-apikey") == "other_key_of_a"
    assert bots["a"].open_streams == set()


async def test_a_replacement_connects_as_its_predecessor_was(bots):
    await bots.play("a", welcomes)
    async with bots.client(connections={"a": fields("a")}) as client:
        client.register_connection("a", "ws://a/ws", "second_key")
        await settle()
        assert bots["a"].dials == []
        await client.connect()
        client.register_connection("a", "ws://a/ws", "third_key")
        await settle()
        assert client.is_connected("a")
        assert len(bots["a"].open_streams) == 1


# -- what cannot be used


async def test_one_that_cannot_be_used_touches_no_other_and_says_why(bots, client):
    assert client.register_connection("b", "ws://b/ws", "") is False
    assert "it needs api_key" in client.get_last_error("b")
    assert await client.connect() == {"a": True, "b": False}
    assert client.get_connection_info("b")["connected"] is False
    assert client.get_stats()["connections"]["b"]["connected"] is False
    assert await client.send_message("b", text_message()) is False
    assert client.get_stats()["connections_registered"] == 2
    assert client.update_connection("b", api_key="key_of_b") is True
    await bots.play("b", welcomes)
    assert await client.connect("b") == {"b": True}
    assert client.get_last_error("b") is None


async def test_files_that_come_later_are_found_at_the_next_connect(bots, client, tmp_path):
    file = tmp_path / "ca.pem"
    await bots.play("b", welcomes)
    assert client.config.register_ssl_connection("b", "ws://b/ws", "key", ssl_ca_certs=str(file))
    assert await client.connect("b") == {"b": False}
    assert f"ssl_ca_certs {file} cannot be read" in client.get_last_error("b")
    trustme.CA().cert_pem.write_to_path(file)
    assert await client.connect("b") == {"b": True}


async def test_files_that_went_keep_only_their_own_connection_from_starting(bots, nursery, tmp_path):
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(file)
    await bots.play("a", welcomes)
    connections = {"a": fields("a"), "b": {"url": "wss://b/ws", "api_key": "key", "ssl_ca_certs": str(file)}}
    client = bots.client(connections=connections, auto_connect_on_start=True)
    file.unlink()
    await client.start(nursery)
    assert await client.connect() == {"a": True, "b": False}
    assert "cannot be read" in client.get_last_error("b")


async def test_what_cannot_be_used_from_the_beginning_is_refused(bots):
    with pytest.raises(ConfigError, match="connection 'b' cannot be used as configured: it needs api_key, url"):
        bots.client(connections={"a": fields("a"), "b": {}})


async def test_what_cannot_be_used_is_logged_once(bots, client, caplog):
    client.register_connection("b", "", "")
    for _ in range(3):
        await client.connect()
    assert caplog.text.count("connection 'b' cannot be used") == 1


# -- counting


async def test_what_a_removed_connection_has_counted_stays_in_the_sum(bots, nursery):
    inbox = Inbox()
    async with bots["a"].server() as server:
        client = bots.client(connections={"a": fields("a")}, on_message=inbox, auto_connect_on_start=True)
        await client.start(nursery)
        await server.broadcast_message(text_message())
        await client.send_message("a", text_message())
        await settle()
        client.register_connection("a", "ws://a/ws", "second_key")
        await settle()
        client.unregister_connection("a")
        await settle()
        stats = client.get_stats()
        assert (stats["messages_received"], stats["messages_sent"], stats["successful_connects"]) == (1, 1, 2)
        assert (stats["active_connections"], stats["connections_registered"], stats["connections"]) == (0, 0, {})
