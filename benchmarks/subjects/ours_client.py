"""maim_trio's client as users get it: `WebSocketClient` with an `async def on_message` that answers."""

from __future__ import annotations

import sys
from typing import Any

import trio

from maim_trio.client import WebSocketClient, create_client_config
from maim_trio.message import APIMessageBase

port, count = sys.argv[1:3]


def make(number: int) -> WebSocketClient:
    async def on_message(message: APIMessageBase, metadata: dict[str, Any]) -> None:
        await client.send_message(message)

    url = f"ws://127.0.0.1:{port}/ws"
    client = WebSocketClient(create_client_config(url, f"k_user{number:05}", platform="qq", on_message=on_message))
    return client


async def main() -> None:
    async with trio.open_nursery() as nursery:
        for number in range(int(count)):
            client = make(number)
            await client.start(nursery)
            await client.connect()


trio.run(main)
