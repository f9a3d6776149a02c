"""One connection of a multi client: whose handlers and hooks are called, and what they are told."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from maim_trio.client import ClientConfig
from tests.client.multi import Inbox, fields
from tests.client.raw import closes, welcomes
from tests.memory import text_message


class Recorder:
    """Handlers that note their layer."""

    def __init__(self):
        self.calls = []

    def __getitem__(self, layer):
        return lambda *arguments: self.calls.append(layer)

    def taken(self):
        calls, self.calls = self.calls, []
        return calls


@pytest.fixture
def recorder():
    return Recorder()


async def settle():
    await trio.testing.wait_all_tasks_blocked()


async def hangs(*_):
    await trio.sleep(1000)


async def test_on_message_of_the_entry_then_the_shared_one_then_the_default(bots, recorder):
    default = ClientConfig()
    async with bots["a"].server() as server:
        client = bots.client(connections={"a": fields("a"), "b": fields("a")}, default_config=default)
        async with client:
            await client.connect()

            async def called():
                await server.broadcast_message(text_message())
                await settle()
                return sorted(recorder.taken())

            assert await called() == []
            default.on_message = recorder["default"]
            assert await called() == ["default"] * 2
            client.config.on_message = recorder["shared"]
            assert await called() == ["shared"] * 2
            client.config.connections["b"].on_message = recorder["entry"]
            assert await called() == ["entry", "shared"]
            client.config.connections["b"].on_message = client.config.on_message = None
            assert await called() == ["default"] * 2


async def test_custom_handlers_are_found_type_by_type_in_the_same_order(bots, recorder):
    default = ClientConfig(custom_handlers={kind: recorder["default"] for kind in ("x", "y", "z")})
    shared = {kind: recorder["shared"] for kind in ("x", "y")}
    async with bots["a"].server() as server:
        connections = {"a": fields("a", custom_handlers={"x": recorder["entry"]})}
        client = bots.client(connections=connections, custom_handlers=shared, default_config=default)
        async with client:
            await client.connect()

            async def called(kind):
                await server.broadcast_custom_message(kind, {})
                await settle()
                return recorder.taken()

            assert [await called(kind) for kind in "xyz"] == [["entry"], ["shared"], ["default"]]
            client.register_custom_handler("z", recorder["live"])
            client.unregister_custom_handler("y")
            client.config.connections["a"].custom_handlers.clear()
            assert [await called(kind) for kind in "xyz"] == [["shared"], ["default"], ["live"]]
            default.register_custom_handler("new", recorder["default"])
            assert await called("new") == ["default"]


async def test_handlers_with_one_argument_work_in_every_layer(bots):
    got = []
    default = ClientConfig()
    client = bots.client(connections={"a": fields("a")}, default_config=default)
    async with bots["a"].server() as server, client:
        await client.connect()
        for layer in (default, client.config, client.config.connections["a"]):
            layer.register_custom_handler("x", got.append)
            await server.broadcast_custom_message("x", {"n": len(got)})
            await settle()
    assert got == [{"n": 0}, {"n": 1}, {"n": 2}]


async def test_hooks_of_connections_come_from_the_entry_or_the_defaults(bots, recorder):
    default = ClientConfig(on_connect=recorder["default"])
    await bots.play("a", closes(1001, after=1))
    async with bots.client(connections={"a": fields("a")}, default_config=default) as client:
        await client.connect()
        await settle()
        assert recorder.taken() == ["default"]
        client.config.connections["a"].on_connect = recorder["entry"]
        default.on_disconnect = recorder["gone"]  # assigned while it runs
        await trio.sleep(5)
        assert recorder.taken()[:2] == ["gone", "entry"]


async def test_on_connect_is_told_the_id_and_the_configuration_of_its_connection(bots):
    told = []
    default = ClientConfig(on_connect=lambda uuid, config: told.append((uuid, config.api_key, config.platform)))
    await bots.play("a", welcomes)
    async with bots.client(
        connections={"a": fields("a"), "b": fields("a", api_key="b")}, default_config=default
    ) as client:
        await client.connect()
        await settle()
        uuids = {name: client.get_connection_info(name)["connection_uuid"] for name in "ab"}
    assert sorted(told) == sorted([(uuids["a"], "key_of_a", "a_platform"), (uuids["b"], "b", "a_platform")])


async def test_metadata_names_the_connection_by_its_name_in_the_configuration(bots):
    seen = []
    async with bots["a"].server() as server:
        client = bots.client(on_message=lambda message, metadata: seen.append(metadata))
        client.config.connections["ours"] = fields("a", name="another")
        async with client:
            await client.connect()
            await server.send_message(text_message(to="key_of_a", platform="a_platform"))
            await settle()
    [metadata] = seen
    assert metadata["connection_name"] == "ours"
    assert metadata["server_url"] == "ws://a/ws"
    assert (metadata["api_key"], metadata["platform"]) == ("key_of_a", "a_platform")
    assert metadata["uuid"] == metadata["connection_uuid"]
    assert (metadata["sender_user"], metadata["target_user"]) == ("server", "sys_default")


async def test_a_handler_that_raises_or_hangs_disturbs_no_other_connection(bots, caplog):
    inbox = Inbox()
    connections = {
        "raises": fields("a", on_message=lambda message, metadata: 1 / 0),
        "hangs": fields("a", on_message=hangs, handler_timeout=5),
        "good": fields("a"),
    }
    async with bots["a"].server() as server, bots.client(connections=connections, on_message=inbox) as client:
        await client.connect()
        for number in range(3):
            await server.broadcast_message(text_message(number))
        await trio.sleep(10)
        assert sorted(inbox.seen) == [(number, "good") for number in range(3)]
        stats = client.get_stats()
        assert (stats["handler_errors"], stats["handler_timeouts"]) == (3, 3)
        assert stats["connections"]["good"]["handler_errors"] == 0
        assert all(client.is_connected(name) for name in connections)


async def test_a_slow_hook_of_one_connection_delays_no_other(bots):
    connections = {"slow": fields("a", on_connect=hangs), "good": fields("a")}
    await bots.play("a", welcomes)
    async with bots.client(connections=connections) as client:
        assert await client.connect() == {"slow": True, "good": True}
        assert await client.send_message("slow", text_message())
        assert trio.current_time() == 0


async def test_log_flags_of_all_layers_are_read_live(bots, caplog):
    caplog.set_level("DEBUG", "maim_trio.client")
    default = ClientConfig()
    async with bots["a"].server(log_level="ERROR") as server:
        client = bots.client(connections={"a": fields("a")}, on_message=Inbox(), default_config=default)
        async with client:
            await client.connect()
            client.config.log_level = "DEBUG"
            await server.broadcast_message(text_message("first"))
            await settle()
            assert "received sys_std" in caplog.text
            caplog.clear()
            client.config.connections["a"].enable_message_log = False
            await server.broadcast_message(text_message("second"))
            await settle()
            assert "received" not in caplog.text
            default.enable_connection_log = False
            await client.disconnect()
            assert "disconnected" not in caplog.text


async def test_a_logger_of_the_user_gets_the_lines_of_all_connections(bots):
    lines = []

    class Logger:
        def __getattr__(self, level):
            return lambda line: lines.append((level, line))

    await bots.play("a", welcomes)
    client = bots.client(connections={"a": fields("a"), "b": fields("b")})
    client.config.custom_logger = Logger()
    async with client:
        with trio.move_on_after(0.5):
            await client.connect()
        assert any(level == "info" and line.startswith("connected to ws://a/ws") for level, line in lines)
        assert any("could not connect to ws://b/ws" in line for _, line in lines)
