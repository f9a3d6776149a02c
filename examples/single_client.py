"""One client and what happens in its life: refused, connected, cut off, back by itself, disconnected, stopped.

python examples/single_client.py        # it brings a small server of its own, on a free port
"""

from __future__ import annotations

import logging
import time
from typing import Any

import trio

from maim_trio.client import WebSocketClient, create_client_config
from maim_trio.message import APIMessageBase, BaseMessageInfo, MessageDim, Seg
from maim_trio.server import WebSocketServer, create_server_config

API_KEY = "key-of-alice"
PLATFORM = "test_platform"


def text_message(text: str) -> APIMessageBase:
    return APIMessageBase(
        message_info=BaseMessageInfo(platform=PLATFORM, message_id=f"id_{time.time_ns()}", time=time.time()),
        message_segment=Seg(type="text", data=text),
        # Always the RECEIVER. This client writes to itself, so that something comes back.
        message_dim=MessageDim(api_key=API_KEY, platform=PLATFORM),
    )


async def start_server(nursery: trio.Nursery) -> WebSocketServer:
    """A server that knows one key and hands every message on to whom it is for."""

    async def on_message(message: APIMessageBase, _metadata: dict[str, Any]) -> None:
        await server.send_message(message)

    config = create_server_config(
        host="127.0.0.1", port=0, on_auth=lambda metadata: metadata["api_key"] == API_KEY, on_message=on_message
    )
    server = WebSocketServer(config)
    await server.start(nursery)
    return server


async def main() -> None:
    async with trio.open_nursery() as nursery:
        server = await start_server(nursery)
        url = f"ws://127.0.0.1:{server.port}/ws"

        # connect() does not raise: it says True or False, and get_last_error() says why.
        async with WebSocketClient(create_client_config(url, "a-wrong-key")) as stranger:
            print("with a wrong key:", await stranger.connect(), "-", stranger.get_last_error())

        lost = trio.Event()

        def on_disconnect(_connection_uuid: str, error: Exception | None) -> None:
            print("disconnected by", "the server" if error else "ourselves")
            lost.set()

        config = create_client_config(
            url,
            API_KEY,
            platform=PLATFORM,
            on_connect=lambda _connection_uuid, _config: print("connected"),  # also after a reconnect
            on_disconnect=on_disconnect,
            reconnect_delay=0.1,  # seconds at most; doubles with each attempt that fails
        )
        client = WebSocketClient(config)
        messages = client.messages()  # instead of on_message: a loop, or one after the other as here
        await client.start(nursery)
        if not await client.connect():
            raise SystemExit(f"no connection: {client.get_last_error()}")
        before = client.get_connection_uuid()

        print("sent:", await client.send_message(text_message("Hello from a single client!")))
        message, metadata = await anext(messages)
        print(f"received: {message.message_segment.data} (from {metadata['sender_user']})")

        # Connections break. The client comes back by itself, as the same connection.
        await server.disconnect(before, reason="maintenance")
        await lost.wait()
        await client.wait_connected()
        print("the same connection id:", client.get_connection_uuid() == before)
        await client.send_message(text_message("Still here"))
        message, _ = await anext(messages)
        print("received:", message.message_segment.data)

        stats = client.get_stats()
        print(f"stats: {stats['messages_sent']} sent, {stats['messages_received']} received")
        await client.disconnect()  # on purpose, so there is no reconnect
        print("sent without a connection:", await client.send_message(text_message("Anybody?")))
        await client.stop()
        await server.stop()
    print("stopped")


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)  # what goes wrong here is meant to, and printed
    trio.run(main)
