"""maim_message's own client, its logging off. Runs under the interpreter of its own environment."""

import asyncio
import logging
import sys

from maim_message.client import WebSocketClient, create_client_config

logging.disable(logging.CRITICAL)
port, count = sys.argv[1:3]


def make(number):
    async def on_message(message, metadata):
        await client.send_message(message)

    url = f"ws://127.0.0.1:{port}/ws"
    client = WebSocketClient(create_client_config(url, f"k_user{number:05}", platform="qq", on_message=on_message))
    return client


async def main():
    for number in range(int(count)):
        client = make(number)
        await client.start()
        await client.connect()
    await asyncio.Event().wait()


asyncio.run(main())
