"""The usage patterns of the interface reference and the examples of the guide, in trio's form."""

from __future__ import annotations

import time
from typing import Any

import trio

from maim_trio.client import (
    create_client_config,
    create_multi_client_config,
    create_multi_client_config_with_connections,
)
from maim_trio.message import APIMessageBase, BaseMessageInfo, MessageDim, Seg
from maim_trio.server import create_server_config
from tests.checklist.world import (
    Recorder,
    certificates,
    content,
    user_is_key,
)
from tests.memory import URL, Hosts, MemoryClient, MemoryMultiClient, MemoryServer, Network, text_message

# -- the interface reference


async def pattern_server() -> None:
    config = create_server_config(host="localhost", port=18040, path="/ws")
    server = MemoryServer(Network(), config)
    async with trio.open_nursery() as nursery:
        await server.start(nursery)
        assert await server.send_message(text_message()) == {}
        await server.stop()


async def pattern_single_client() -> None:
    network = Network()
    config = create_client_config(URL, "api_key", platform="test")
    client = MemoryClient(network, config)
    async with network.server(), trio.open_nursery() as nursery:
        await client.start(nursery)
        assert await client.connect()
        assert await client.send_message(text_message())
        assert await client.disconnect()
        await client.stop()


async def pattern_multi_all_at_once() -> None:
    heard, network = Recorder(), Network()
    config = create_multi_client_config_with_connections(
        connections={
            "wechat": {"url": "ws://bus/ws", "api_key": "wechat_key", "platform": "wechat"},
            "qq": {
                "url": "wss://bus:18044/ws",
                "api_key": "qq_key",
                "platform": "qq",
                "ssl_ca_certs": certificates().authority,
            },
        },
        auto_connect_on_start=True,
        enable_stats=True,
        on_message=lambda message, metadata: heard(content(message), metadata["connection_name"]),
    )
    client = MemoryMultiClient(Hosts(bus=network), config)
    async with network.server(on_auth_extract_user=user_is_key) as server, trio.open_nursery() as nursery:
        await client.start(nursery)  # connects all of them
        assert await client.send_message("wechat", text_message())
        assert await client.send_message("qq", text_message())
        await server.send_message(text_message("hi", to="qq_key", platform="qq"))
        assert await heard.wait() == ("hi", "qq")
        await client.stop()


async def pattern_multi_then_more() -> None:
    heard, network = Recorder(), Network()
    config = create_multi_client_config_with_connections(
        connections={"wechat": {"url": "ws://bus/ws", "api_key": "wechat_key", "platform": "wechat"}},
        auto_connect_on_start=True,
        on_message=heard,
    )
    client = MemoryMultiClient(Hosts(bus=network), config)
    async with network.server(on_auth_extract_user=user_is_key) as server, trio.open_nursery() as nursery:
        await client.start(nursery)
        config.register_connection("qq", "wss://bus/ws", "qq_key", "qq", ssl_ca_certs=certificates().authority)
        client.register_connection("telegram", "ws://bus/ws", "telegram_key", "telegram")
        client.update_connection("wechat", api_key="new_api_key")
        await trio.sleep(1)
        assert {name for name in ("qq", "telegram", "wechat") if client.is_connected(name)} == set(config.connections)
        assert server.get_user_connections("new_api_key")
        await client.stop()


async def pattern_multi_step_by_step() -> None:
    heard, weather, network = Recorder(), Recorder(), Network()
    config = create_multi_client_config(auto_connect_on_start=True, enable_stats=True, on_message=heard)
    config.register_custom_handler("weather_update", weather)
    config.register_connection("wechat", "ws://bus/ws", "wechat_key", "wechat")
    config.register_ssl_connection("qq", "wss://bus/ws", "qq_key", "qq", ssl_ca_certs=certificates().authority)
    client = MemoryMultiClient(Hosts(bus=network), config)
    async with network.server() as server, trio.open_nursery() as nursery:
        await client.start(nursery)
        assert set(client.get_active_connections()) == {"wechat", "qq"}
        await server.broadcast_custom_message("weather_update", {"city": "北京"})
        await weather.wait(2)
        await client.stop()


# -- the guide: quick start


async def guide_quick_start_server() -> None:
    heard = Recorder()

    async def auth_handler(metadata: dict[str, Any]) -> bool:
        return metadata.get("api_key", "") in ("test_key_123", "demo_key_456")

    async def extract_user_handler(metadata: dict[str, Any]) -> str:
        return f"user_{metadata.get('api_key', '').split('_')[1]}"

    async def message_handler(message: APIMessageBase, metadata: dict[str, Any]) -> None:
        heard(message.message_segment.data, metadata.get("platform"), metadata.get("user_id"))

    config = create_server_config(
        host="localhost", port=18040, path="/ws",
        on_auth=auth_handler, on_auth_extract_user=extract_user_handler, on_message=message_handler,
    )  # fmt: skip
    network = Network()
    async with MemoryServer(network, config), network.client("test_key_123", platform="wechat") as client:
        assert await client.connect()
        await client.send_message(text_message("hello"))
        assert await heard.wait() == ("hello", "wechat", "user_key")
        async with network.client("no_such_key") as stranger:
            assert not await stranger.connect()


async def guide_quick_start_client() -> None:
    heard, notified, beats, network = Recorder(), Recorder(), Recorder(), Network()

    async def client_message_handler(message: APIMessageBase, metadata: dict[str, Any]) -> None:
        info = message.message_info
        heard(content(message), info.message_id, info.platform, metadata.get("sender_user", "unknown"), info.time)

    config = create_client_config(URL, "test_key_123", platform="test_platform", on_message=client_message_handler)
    config.register_custom_handler("server_notification", notified)
    client = MemoryClient(network, config)
    message = APIMessageBase(
        message_info=BaseMessageInfo(platform="test_platform", message_id="test_001", time=time.time()),
        message_segment=Seg(type="text", data="Hello from single client!"),
        message_dim=MessageDim(api_key="test_key_123", platform="test_platform"),
    )
    async with network.server(custom_handlers={"client_heartbeat": beats}) as server, trio.open_nursery() as nursery:
        try:
            await client.start(nursery)
            assert await client.connect()
            assert await client.send_message(message)
            assert await client.send_custom_message("client_heartbeat", {"status": "active"})
            assert (await beats.wait())[0] == {"status": "active"}
            await server.send_message(message)
            await server.broadcast_custom_message("server_notification", {"type": "maintenance"})
            assert (await notified.wait())[0] == {"type": "maintenance"}
            assert (await heard.wait())[:4] == ("Hello from single client!", "test_001", "test_platform", "server")
            await client.disconnect()
        finally:
            await client.stop()


async def guide_quick_start_multi_client() -> None:
    broadcast, notified, network = Recorder(), Recorder(), Network()
    client = MemoryMultiClient(Hosts(localhost=network))
    client.register_custom_handler("platform_broadcast", broadcast)
    keys = {"wechat": "demo_key_456", "qq": "test_key_123", "telegram": "prod_key_789"}
    handlers = {"system_notification": notified, "platform_broadcast": notified}
    async with network.server(custom_handlers=handlers) as server, trio.open_nursery() as nursery:
        try:
            await client.start(nursery)
            for name, key in keys.items():
                client.register_connection(name, "ws://localhost:18040/ws", key, name)
            assert await client.connect() == dict.fromkeys(keys, True)
            assert list(client.get_active_connections()) == list(keys)
            assert await client.send_message("wechat", text_message(to="demo_key_456", platform="wechat"))
            assert await client.send_custom_message("telegram", "system_notification", {"priority": "high"})
            assert (await notified.wait())[1]["platform"] == "telegram"
            await server.broadcast_custom_message("platform_broadcast", {"message": "维护"}, platform="qq")
            assert (await broadcast.wait())[1]["connection_name"] == "qq"
            assert await client.disconnect("wechat") == {"wechat": True}
        finally:
            await client.stop()
