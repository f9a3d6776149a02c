"""maim_message's own client, its logging off: many tasks that send one message after the other."""

import asyncio
import logging
import sys

from maim_message.client import WebSocketClient, create_client_config
from maim_message.message import APIMessageBase, BaseMessageInfo, MessageDim, Seg

logging.disable(logging.CRITICAL)
SENDERS = 50
port, count = sys.argv[1:3]

message = APIMessageBase(
    message_info=BaseMessageInfo(platform="qq", message_id="m1", time=1703123456.7),
    message_segment=Seg(type="text", data="x" * 60),
    message_dim=MessageDim(api_key="k_user00000", platform="qq"),
)


async def send(client):
    while True:
        await client.send_message(message)


async def main():
    async with asyncio.TaskGroup() as group:
        for number in range(int(count)):
            url = f"ws://127.0.0.1:{port}/ws"
            client = WebSocketClient(create_client_config(url, f"k_user{number:05}", platform="qq"))
            await client.start()
            await client.connect()
            for _ in range(SENDERS):
                group.create_task(send(client))


asyncio.run(main())
