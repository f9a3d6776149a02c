"""Many connections in one client: the three ways of setting them up.

python examples/multi_client.py         # it brings a small server of its own, on a free port

With one connection use WebSocketClient (single_client.py), which is simpler.
"""

from __future__ import annotations

import time
from typing import Any

import trio

from maim_trio.client import (
    WebSocketMultiClient,
    create_multi_client_config,
    create_multi_client_config_with_connections,
)
from maim_trio.message import APIMessageBase, BaseMessageInfo, MessageDim, Seg
from maim_trio.server import WebSocketServer, create_server_config


def text_message(text: str, api_key: str, platform: str) -> APIMessageBase:
    return APIMessageBase(
        message_info=BaseMessageInfo(platform=platform, message_id=f"id_{time.time_ns()}", time=time.time()),
        message_segment=Seg(type="text", data=text),
        message_dim=MessageDim(api_key=api_key, platform=platform),
    )


class Inbox:
    """Handlers for a client, and a way to wait until they were called."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[str](100)

    async def on_message(self, message: APIMessageBase, metadata: dict[str, Any]) -> None:
        # One handler for all connections; `connection_name` says which one.
        await self._send.send(f"{metadata['connection_name']}: {message.message_segment.data}")

    async def on_weather(self, payload: dict[str, Any], metadata: dict[str, Any]) -> None:
        await self._send.send(f"{metadata['connection_name']}: {payload['city']}, {payload['temperature']} degrees")

    async def show(self, count: int) -> None:
        with trio.fail_after(10):
            for _ in range(count):
                print("  received on", await self._receive.receive())


async def all_at_once(url: str) -> None:
    """Pattern 1: everything is in the configuration, and starting connects."""
    inbox = Inbox()
    config = create_multi_client_config_with_connections(
        {
            "wechat": {"url": url, "api_key": "wechat_key", "platform": "wechat"},
            "qq": {"url": url, "api_key": "qq_key", "platform": "qq"},
        },
        auto_connect_on_start=True,
        on_message=inbox.on_message,
    )
    async with WebSocketMultiClient(config) as client:  # here both have been tried, at the same time
        print("  connected:", sorted(client.get_active_connections()))
        await client.send_message("wechat", text_message("to WeChat", "wechat_key", "wechat"))
        await client.send_message("qq", text_message("to QQ", "qq_key", "qq"))
        await inbox.show(2)


async def one_after_the_other(url: str) -> None:
    """Pattern 2: begin with some connections, add and change others while the client runs."""
    inbox = Inbox()
    config = create_multi_client_config_with_connections(
        {"wechat": {"url": url, "api_key": "wechat_key", "platform": "wechat"}}, on_message=inbox.on_message
    )
    async with WebSocketMultiClient(config) as client:
        print("  connect:", await client.connect())
        config.register_connection("qq", url, "qq_key", "qq")  # on the configuration ...
        client.register_connection("telegram", url, "wrong_key", "telegram")  # ... or on the client: the same
        # One that is refused holds up nobody: the answer has the truth for each name.
        print("  connect:", await client.connect())
        client.update_connection("telegram", api_key="telegram_key")
        print("  connect:", await client.connect("telegram"))
        await client.send_message("telegram", text_message("to Telegram", "telegram_key", "telegram"))
        await inbox.show(1)
        client.unregister_connection("wechat")
        print("  left:", sorted(client.list_connections()))


async def step_by_step(server: WebSocketServer, url: str) -> None:
    """Pattern 3: an empty configuration that is filled, with a handler for custom messages."""
    inbox = Inbox()
    config = create_multi_client_config(auto_connect_on_start=True, on_message=inbox.on_message)
    config.register_custom_handler("weather_update", inbox.on_weather)
    config.register_connection("wechat", url, "wechat_key", "wechat")
    config.register_connection("qq", url, "qq_key", "qq")  # register_ssl_connection for wss://
    async with WebSocketMultiClient(config) as client:
        await server.broadcast_custom_message("weather_update", {"city": "Beijing", "temperature": -3.5})
        await inbox.show(2)
        # Without a name: over the connection that fits the message's receiver best.
        print("  routed:", await client.route_message(text_message("routed", "qq_key", "qq")))
        await inbox.show(1)
        print("  disconnect:", await client.disconnect("wechat"))
        print("  connected:", sorted(client.get_active_connections()))


async def main() -> None:
    async def relay(message: APIMessageBase, _metadata: dict[str, Any]) -> None:
        await server.send_message(message)

    keys = ("wechat_key", "qq_key", "telegram_key")
    config = create_server_config(
        host="127.0.0.1", port=0, on_auth=lambda metadata: metadata["api_key"] in keys, on_message=relay
    )
    config.log_level = "ERROR"  # the wrong key below is meant
    async with WebSocketServer(config) as server:
        url = f"ws://127.0.0.1:{server.port}/ws"
        print("pattern 1, all at once")
        await all_at_once(url)
        print("pattern 2, one after the other")
        await one_after_the_other(url)
        print("pattern 3, step by step")
        await step_by_step(server, url)


if __name__ == "__main__":
    trio.run(main)
