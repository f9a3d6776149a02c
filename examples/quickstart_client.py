"""Quick start, part two: a client that sends two messages and a heartbeat, and waits for the answers.

python examples/quickstart_client.py            # talks to quickstart_server.py on port 18040
python examples/quickstart_client.py 9000       # on another port
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import trio

from maim_trio.client import WebSocketClient
from maim_trio.client_factory import create_client_config
from maim_trio.message import APIMessageBase, BaseMessageInfo, MessageDim, Seg

API_KEY = "test_key_123"  # one of those that the server knows
PLATFORM = "test_platform"


def text_message(message_id: str, text: str) -> APIMessageBase:
    return APIMessageBase(
        message_info=BaseMessageInfo(platform=PLATFORM, message_id=message_id, time=time.time()),
        message_segment=Seg(type="text", data=text),
        # Whom it is for, when the server is one that passes messages on. The quick start's answers whatever comes.
        message_dim=MessageDim(api_key=API_KEY, platform=PLATFORM),
    )


async def main(port: int) -> int:
    answers = 0
    all_answered = trio.Event()

    def count_answer() -> None:
        nonlocal answers
        answers += 1
        if answers == 3:
            all_answered.set()

    async def message_handler(message: APIMessageBase, metadata: dict[str, Any]) -> None:
        """A message has come. Every call is a task of its own, so their order is not promised."""
        logging.info("message from %s: %s", metadata["sender_user"], message.message_segment.data)
        count_answer()

    async def notification_handler(payload: dict[str, Any]) -> None:
        """A custom message has come. A handler may take `metadata` as its second parameter, or leave it out."""
        logging.info("notification (%s): %s", payload["type"], payload["content"])
        count_answer()

    config = create_client_config(
        f"ws://127.0.0.1:{port}/ws",
        API_KEY,
        platform=PLATFORM,
        on_message=message_handler,
    )
    config.register_custom_handler("server_notification", notification_handler)

    async with WebSocketClient(config) as client:
        if not await client.connect():  # True once the server has accepted the key
            print(f"no connection: {client.get_last_error()}")
            return 1
        # From here on the connection is kept: when it breaks, the client connects again by itself.
        for message_id, text in [("test_001", "Hello from a client!"), ("test_002", "ping")]:
            accepted = await client.send_message(text_message(message_id, text))
            print(f"{text!r} was {'sent' if accepted else 'NOT sent: ' + str(client.get_last_error())}")
        await client.send_custom_message("client_heartbeat", {"status": "active", "timestamp": time.time()})

        with trio.move_on_after(10):
            await all_answered.wait()
    # Leaving the block has closed the connection and ended every task of the client.
    print("all answers have come" if all_answered.is_set() else f"only {answers} of 3 answers have come")
    return 0 if all_answered.is_set() else 1


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        sys.exit(trio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 18040))
    except* KeyboardInterrupt:  # in a group, when it has met a handler
        print("stopped")
