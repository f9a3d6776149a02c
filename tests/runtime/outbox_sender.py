"""A client process with a durable outbox and inbox that sends and handles until it is killed, and prints what it did.

``outbox_sender.py PORT FILE FIRST``: sends the numbers from FIRST on; a line says "a <number>" once a message is
accepted, "h <number>" when a received one is handled, "c 0" when it has connected.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import trio

from maim_trio.client import WebSocketClient, create_client_config
from tests.memory import text_message

SENDERS = 4


def handle(message: Any, metadata: Any) -> None:
    os.write(1, b"h %d\n" % message.message_segment.data)


async def main(port: str, path: str, first: str) -> None:
    numbers = iter(range(int(first), sys.maxsize))
    config = create_client_config(
        f"ws://127.0.0.1:{port}/ws",
        "key_of_client",
        outbox_path=path,
        on_message=handle,
        on_connect=lambda uuid, config: os.write(1, b"c 0\n"),
        handler_ordering="per_connection",
        reconnect_delay=0.01,
        message_cache_ttl=3600,
        max_reconnect_attempts=0,
    )
    async with WebSocketClient(config) as client, trio.open_nursery() as nursery:
        await client.connect()
        for _ in range(SENDERS):
            nursery.start_soon(send, client, numbers)


async def send(client: WebSocketClient, numbers: object) -> None:
    while True:
        number = next(numbers)
        if await client.send_message(text_message(number)):
            os.write(1, b"a %d\n" % number)


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
