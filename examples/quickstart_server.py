"""Quick start, part one: a server that knows its users and answers them.

    python examples/quickstart_server.py            # listens on ws://127.0.0.1:18040/ws until Ctrl-C
    python examples/quickstart_server.py 9000       # on another port; 0 takes any free one

Then run quickstart_client.py in a second terminal.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import trio

from maim_trio.message import APIMessageBase, BaseMessageInfo, MessageDim, Seg
from maim_trio.server import WebSocketServer, create_server_config

# Who may connect. A real server asks a database; a callback may await whatever it needs.
USERS = {"test_key_123": "alice", "demo_key_456": "bob", "prod_key_789": "carol"}


async def auth_handler(metadata: dict[str, Any]) -> bool:
    """Is this API key valid? Asked before the connection is accepted; whoever is refused gets an HTTP 401."""
    return metadata["api_key"] in USERS


async def extract_user_handler(metadata: dict[str, Any]) -> str:
    """Whose key is it? Asked for everyone who connects, and again when a message is sent to the owner of a key."""
    return USERS.get(metadata["api_key"], "nobody")


async def main(port: int) -> None:
    async def message_handler(message: APIMessageBase, metadata: dict[str, Any]) -> None:
        """A message has come. Every call is a task of its own: it may take its time, and may raise without harm."""
        content = message.message_segment.data
        # What is in `metadata` was established when the client connected. Never trust a message to say who sent it.
        logging.info("message from %s on %s: %s", metadata["user_id"], metadata["platform"], content)
        if not isinstance(content, str):
            answer = f"I can only read text, not {message.message_segment.type}."
        elif "ping" in content.lower():
            answer = "pong"
        else:
            answer = f"Hello {metadata['user_id']}, you said: {content}"
        # A message goes to whom its MessageDim names: here back to the key and the platform it came from.
        reply = APIMessageBase(
            message_info=BaseMessageInfo(platform="quickstart", message_id=f"reply_{time.time_ns()}", time=time.time()),
            message_segment=Seg(type="text", data=answer),
            message_dim=MessageDim(api_key=metadata["api_key"], platform=metadata["platform"]),
        )
        results = await server.send_message(reply)  # connection uuid → whether it was handed over
        logging.info("answered on %d connection(s)", sum(results.values()))

    async def heartbeat_handler(payload: dict[str, Any], metadata: dict[str, Any]) -> None:
        """A custom message has come: JSON of your own. The answer goes to the one connection that sent it."""
        logging.info("heartbeat of %s: %s", metadata["user_id"], payload)
        notification = {"type": "update", "content": "your heartbeat was heard"}
        await server.send_custom_message("server_notification", notification, connection_uuid=metadata["uuid"])

    config = create_server_config(
        host="127.0.0.1",
        port=port,
        path="/ws",
        on_auth=auth_handler,
        on_auth_extract_user=extract_user_handler,
        on_message=message_handler,
    )
    config.register_custom_handler("client_heartbeat", heartbeat_handler)

    async with WebSocketServer(config) as server:  # listening from here on
        print(f"serving at ws://127.0.0.1:{server.port}{config.path}; Ctrl-C stops it", flush=True)
        await trio.sleep_forever()
    # Leaving the block, however it is left, stops the server: handlers may finish, clients are told goodbye.


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        trio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 18040)
    except* KeyboardInterrupt:  # in a group, when it has met a handler
        print("stopped", flush=True)
