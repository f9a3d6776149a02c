"""maim_trio's client as users get it: many tasks that send one message after the other, with or without a durable outbox."""

from __future__ import annotations

import argparse

import trio

from maim_trio.client import WebSocketClient, create_client_config
from maim_trio.message import APIMessageBase, BaseMessageInfo, MessageDim, Seg

SENDERS = 50

parser = argparse.ArgumentParser()
parser.add_argument("port", type=int)
parser.add_argument("count", type=int)
parser.add_argument("--outbox", help="keep a durable outbox in this file")
arguments = parser.parse_args()

message = APIMessageBase(
    message_info=BaseMessageInfo(platform="qq", message_id="m1", time=1703123456.7),
    message_segment=Seg(type="text", data="x" * 60),
    message_dim=MessageDim(api_key="k_user00000", platform="qq"),
)


async def send(client: WebSocketClient) -> None:
    while True:
        if not await client.send_message(message):
            raise SystemExit(f"not sent: {client.get_last_error()}")


async def main() -> None:
    async with trio.open_nursery() as nursery:
        for number in range(arguments.count):
            path = arguments.outbox and f"{arguments.outbox}-{number}"
            url = f"ws://127.0.0.1:{arguments.port}/ws"
            client = WebSocketClient(create_client_config(url, f"k_user{number:05}", platform="qq", outbox_path=path))
            await client.start(nursery)
            await client.connect()
            for _ in range(SENDERS):
                nursery.start_soon(send, client)


trio.run(main)
