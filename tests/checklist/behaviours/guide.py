"""The examples of the usage guide beyond its quick start, in trio's form."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from maim_trio.client import (
    ClientConfig,
)
from maim_trio.message import APIMessageBase, BaseMessageInfo, MessageDim
from maim_trio.server import ServerConfig, create_server_config, create_ssl_server_config
from tests.checklist.behaviours.messages import FULL
from tests.checklist.world import (
    Gate,
    Recorder,
    content,
    linked,
    settle,
    talking,
    user_is_key,
)
from tests.memory import URL, Hosts, MemoryClient, MemoryMultiClient, MemoryServer, Network, text_message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from maim_trio.server import WebSocketServer


async def guide_server_config_with_lambdas() -> None:
    said: list[str] = []
    config = ServerConfig(
        host="0.0.0.0",
        port=18040,
        path="/ws",
        on_auth=lambda metadata: bool(metadata.get("api_key")),
        on_auth_extract_user=lambda metadata: metadata["api_key"],
        on_message=lambda message, metadata: said.append(f"message {message.message_segment.data}"),
        on_connect=lambda connection_uuid, metadata: said.append("connected"),
        on_disconnect=lambda connection_uuid, metadata: said.append("disconnected"),
        log_level="INFO",
        enable_connection_log=True,
        enable_message_log=True,
    )
    network = Network()
    async with MemoryServer(network, config), network.client() as client:
        assert await client.connect()
        await client.send_message(text_message("hi"))
        await settle()
        await client.disconnect()
        await settle()
    assert said == ["connected", "message hi", "disconnected"]


async def guide_client_config_with_lambdas() -> None:
    said: list[str] = []
    config = ClientConfig(
        url=URL,
        api_key="your_api_key",
        platform="your_platform",
        auto_reconnect=True,
        max_reconnect_attempts=5,
        reconnect_delay=1.0,
        max_reconnect_delay=30.0,
        ping_interval=20,
        ping_timeout=10,
        close_timeout=10,
        on_connect=lambda connection_uuid, config: said.append(f"connected {config.platform}"),
        on_disconnect=lambda connection_uuid, error: said.append(f"disconnected {error}"),
        on_message=lambda message, metadata: said.append(f"message {message.message_segment.data}"),
        log_level="INFO",
        enable_connection_log=True,
        enable_message_log=True,
    )
    network = Network()
    async with network.server() as server, MemoryClient(network, config) as client:
        assert await client.connect()
        await server.send_message(text_message("hi", platform="your_platform"))
        await settle()
        await client.disconnect()
        await settle()
    assert said == ["connected your_platform", "message hi", "disconnected None"]


def guide_ssl_configurations() -> None:
    """The documents construct configurations with placeholder paths: what is missing is said later."""
    made_by_factory = create_ssl_server_config(
        host="0.0.0.0", port=18044, ssl_certfile="/path/to/server.crt", ssl_keyfile="/path/to/server.key",
        ssl_ca_certs="/path/to/ca.crt", ssl_verify=True, on_auth=lambda metadata: True, log_level="INFO",
    )  # fmt: skip
    by_hand = ServerConfig(
        host="0.0.0.0", port=18044, path="/ws", ssl_enabled=True, ssl_certfile="/path/to/server.crt",
        ssl_keyfile="/path/to/server.key", ssl_ca_certs="/path/to/ca.crt", ssl_verify=False,
        on_auth_extract_user=lambda metadata: metadata["api_key"],
    )  # fmt: skip
    of_a_client = ClientConfig(
        url="wss://localhost:18044/ws", api_key="your_api_key", ssl_enabled=True, ssl_verify=True,
        ssl_ca_certs="/path/to/ca.crt", ssl_check_hostname=True,
    )  # fmt: skip
    for config in (made_by_factory, by_hand, of_a_client):
        assert config.ssl_enabled
        assert not config.validate()


async def guide_production_configuration() -> None:
    config = ServerConfig(
        host="0.0.0.0", port=18040, log_level="WARNING", enable_stats=True, enable_connection_log=True,
        enable_message_log=False, on_auth=lambda metadata: metadata.get("client_ip", "") is not None,
        on_auth_extract_user=lambda metadata: f"prod_{metadata['api_key']}", on_message=lambda *_: None,
    )  # fmt: skip
    network = Network()
    async with MemoryServer(network, config) as server, network.client() as client:
        assert await client.connect()
        assert server.get_user_connections("prod_key_of_client")


def guide_a_complete_message() -> None:
    sender = FULL.message_info.sender_info
    assert sender is not None
    assert sender.user_info is not None
    assert sender.group_info is not None
    written = FULL.to_dict()["message_info"]
    assert written["sender_info"]["user_info"]["user_cardname"] == "cardname"
    assert written["sender_info"]["group_info"]["group_name"] == "a group"
    assert written["format_info"] == {"content_format": ["text"], "accept_format": ["text", "emoji"]}


async def guide_checking_the_route() -> None:
    def validate_message_routing(message: APIMessageBase) -> bool:
        return hasattr(message, "message_dim") and bool(message.message_dim.api_key and message.message_dim.platform)

    assert validate_message_routing(text_message())
    assert not validate_message_routing(text_message(to=""))
    async with linked() as (server, _client):
        assert set((await server.send_message(text_message())).values()) == {True}


async def guide_forwarding() -> None:
    heard, network = Recorder(), Network()
    servers: list[WebSocketServer] = []

    async def forward_message(original: APIMessageBase, _metadata: dict[str, Any]) -> None:
        forwarded = APIMessageBase(
            message_info=BaseMessageInfo(
                platform="qq",
                message_id=f"forward_{int(time.time())}",
                time=time.time(),
                sender_info=original.message_info.sender_info,
            ),
            message_segment=original.message_segment,
            message_dim=MessageDim(api_key="bob", platform="qq"),
        )
        await servers[0].send_message(forwarded)

    async with (
        network.server(on_auth_extract_user=user_is_key, on_message=forward_message) as server,
        network.client("alice", platform="wechat") as alice,
        network.client("bob", platform="qq", on_message=heard) as bob,
    ):
        servers.append(server)
        assert [await alice.connect(), await bob.connect()] == [True, True]
        await alice.send_message(text_message("hi", to="bob", platform="wechat"))
        message, _ = await heard.wait()
        assert content(message) == "hi"


async def guide_debugging_the_route() -> None:
    async with linked({"on_auth_extract_user": user_is_key}) as (server, client):
        message = text_message()
        assert (message.get_api_key(), message.get_platform()) == (client.config.api_key, "default")
        assert list(server.get_connections()) == [client.get_connection_uuid()]
        assert await server.extract_user(message.get_api_key()) == client.config.api_key


async def guide_a_custom_handler() -> None:
    pinged = Recorder()

    async def custom_ping_handler(message_data: dict[str, Any], metadata: dict[str, Any]) -> bool:
        pinged(message_data, metadata)
        return True

    async with linked() as (server, client):
        server.config.register_custom_handler("ping", custom_ping_handler)
        await client.send_custom_message("ping", {"n": 1})
        assert (await pinged.wait())[0] == {"n": 1}
        assert server.get_stats()["handler_errors"] == 0, "what a handler returns matters to requests only"


async def guide_broadcasting() -> None:
    heard, network = Recorder(), Network()
    message = text_message("系统广播", to="server", platform="server")
    async with network.server() as server, network.client(platform="wechat", on_message=heard) as client:
        assert await client.connect()
        results = await server.broadcast_message(message)
        assert (sum(results.values()), len(results)) == (1, 1)
        assert list((await server.broadcast_message(message, platform="wechat")).values()) == [True]
        assert await server.broadcast_message(message, platform="qq") == {}
        await heard.wait(2)


async def guide_managing_connections() -> None:
    network = Network()
    async with network.server(), MemoryMultiClient(Hosts(localhost=network)) as client:
        for name in ("wechat", "qq"):
            assert client.register_connection(name, "ws://localhost:18040/ws", f"{name}_key", name)
        assert await client.connect() == {"wechat": True, "qq": True}
        assert list(client.list_connections()) == list(client.get_active_connections()) == ["wechat", "qq"]
        assert (client.get_connection_info("wechat") or {})["connected"]
        assert await client.disconnect("wechat") == {"wechat": True}
        assert client.unregister_connection("qq")
        await settle()
        assert client.get_active_connections() == {}


async def guide_stopping_in_finally() -> None:
    server = MemoryServer(Network(), ServerConfig(host="localhost", port=18040, path="/ws"))
    async with trio.open_nursery() as nursery:
        try:
            await server.start(nursery)
            raise LookupError
        except LookupError:
            assert server.is_running()
        finally:
            await server.stop()
    assert not server.is_running()


async def guide_a_server_as_context() -> None:
    @asynccontextmanager
    async def websocket_server_context() -> AsyncIterator[WebSocketServer]:
        async with MemoryServer(Network(), create_server_config(host="localhost", port=18040)) as server:
            yield server

    async with websocket_server_context() as server:
        assert server.is_running()
    assert not server.is_running()


async def guide_watching_connections() -> None:
    async with linked({"on_auth_extract_user": user_is_key}) as (server, _client):
        stats = server.get_stats()
        assert (stats["current_users"], stats["current_connections"]) == (1, 1)
        assert stats.get("active_handler_tasks", 0) == 0


async def guide_a_handler_with_parallel_work() -> None:
    done: list[str] = []

    async def save(what: str) -> None:
        await trio.sleep(1)
        done.append(what)

    async def handler(message: APIMessageBase, _metadata: dict[str, Any]) -> None:
        async with trio.open_nursery() as nursery:
            for what in ("saved", "updated", "checked"):
                nursery.start_soon(save, what)

    async with talking("server", on_message=handler) as talk:
        await talk.say("hi")
        await trio.sleep(1.5)
    assert sorted(done) == ["checked", "saved", "updated"]


async def guide_a_handler_with_a_timeout() -> None:
    late = Recorder()

    async def handler(message: APIMessageBase, metadata: dict[str, Any]) -> None:
        with trio.move_on_after(30.0) as scope:
            await trio.sleep_forever()
        if scope.cancelled_caught:
            late(message.message_info.message_id, metadata)

    async with talking("server", on_message=handler) as talk:
        await talk.say("hi")
        assert (await late.wait())[0] == "m1"


async def guide_a_load_aware_handler() -> None:
    gate = Gate()

    class LoadAwareHandler:
        def __init__(self, max_concurrent_tasks: int) -> None:
            self.limiter = trio.CapacityLimiter(max_concurrent_tasks)

        async def __call__(self, message: APIMessageBase, metadata: dict[str, Any]) -> None:
            async with self.limiter:
                await gate(message, metadata)

    async with talking("server", on_message=LoadAwareHandler(2)) as talk:
        for number in range(5):
            await talk.say(number)
        await settle()
        assert gate.running == 2
        gate.opened.set()
