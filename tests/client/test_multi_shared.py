"""One configuration for several clients, and one entry in several configurations."""

from __future__ import annotations

import trio
import trio.testing

from maim_trio.client import ConnectionEntry, MultiClientConfig
from tests.client.multi import fields
from tests.client.raw import welcomes


async def test_two_clients_may_share_a_configuration(bots, nursery):
    await bots.play("a", welcomes)
    await bots.play("b", welcomes)
    config = MultiClientConfig({"a": fields("a")}, auto_connect_on_start=True)
    first, second = bots.client_of(config), bots.client_of(config)
    for client in (first, second):
        await client.start(nursery)
    first.register_connection("b", "ws://b/ws", "key_of_b")
    await trio.testing.wait_all_tasks_blocked()
    assert len(bots["b"].open_streams) == 2
    assert first.get_connection_info("b")["connection_uuid"] != second.get_connection_info("b")["connection_uuid"]
    await first.stop()
    config.remove_connection("a")
    await trio.testing.wait_all_tasks_blocked()
    assert list(first.list_connections()) == list(second.get_active_connections()) == ["b"]


async def test_two_configurations_may_share_an_entry(bots, nursery):
    peers = await bots.play("a", welcomes)
    entry = ConnectionEntry("a", **fields("a"))
    clients = [bots.client(connections={"a": entry}, auto_connect_on_start=True) for _ in range(2)]
    for client in clients:
        await client.start(nursery)
    entry.update({"api_key": "new_key_of_a"})
    await trio.testing.wait_all_tasks_blocked()
    assert sorted(peer.header("x-apikey") for peer in peers) == ["key_of_a"] * 2 + ["new_key_of_a"] * 2
    assert all(client.is_connected("a") for client in clients)


async def test_a_stopped_client_is_no_longer_kept_by_its_configuration(bots):
    config = MultiClientConfig({"a": fields("a")})
    async with bots.client_of(config):
        assert len(config._listeners) == 1
    assert config._listeners == []


async def test_two_connections_of_a_client_may_share_everything_but_the_name(bots):
    await bots.play("a", welcomes)
    async with bots.client(connections={"x": fields("a"), "y": fields("a")}) as client:
        assert await client.connect() == {"x": True, "y": True}
        uuids = {client.get_connection_info(name)["connection_uuid"] for name in "xy"}
        assert len(uuids) == 2
        await client.disconnect("x")
        await trio.sleep(60)
        assert list(client.get_active_connections()) == ["y"]
