"""A client without maim_trio: Python, asyncio and the library `aiohttp` (pip install aiohttp).

    python aiohttp_client.py                                            # talks to ../quickstart_server.py
    python aiohttp_client.py ws://127.0.0.1:18040/ws test_key_123       # or to any other

It sends a message and a custom message, acknowledges what comes, and ends when everything was answered.
"""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from typing import Any

import aiohttp

URL = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:18040/ws"
API_KEY = sys.argv[2] if len(sys.argv) > 2 else "test_key_123"
PLATFORM = "aiohttp"


async def send(socket: aiohttp.ClientWebSocketResponse, kind: str, payload: dict[str, Any], **meta: Any) -> str:
    """Everything travels in an envelope, one JSON object per WebSocket message."""
    msg_id = f"msg_{uuid.uuid4().hex}"
    meta = {"sender_user": API_KEY, "platform": PLATFORM, "timestamp": time.time(), **meta}
    await socket.send_json({"ver": 1, "msg_id": msg_id, "type": kind, "meta": meta, "payload": payload})
    return msg_id


def text_payload(text: str) -> dict[str, Any]:
    return {
        "message_info": {"platform": PLATFORM, "message_id": str(time.time_ns()), "time": time.time()},
        "message_segment": {"type": "text", "data": text},
        "message_dim": {"api_key": API_KEY, "platform": PLATFORM},  # the receiver
    }


async def talk(socket: aiohttp.ClientWebSocketResponse) -> None:
    waiting_for = {"sys_std", "custom_server_notification"}  # the answers of the quick start's server
    waiting_for.add(await send(socket, "sys_std", text_payload("Hello from aiohttp, 你好")))
    waiting_for.add(await send(socket, "custom_client_heartbeat", {"status": "active"}))
    while waiting_for:
        envelope = await socket.receive_json()
        kind, meta, payload = envelope["type"], envelope.get("meta", {}), envelope.get("payload", {})
        if kind == "sys_ack":
            waiting_for.discard(meta["acked_msg_id"])
            print("acknowledged")
        elif kind == "sys_error":
            raise SystemExit(f"refused: {payload['code']}: {payload['message']}")
        else:
            waiting_for.discard(kind)
            print("received", kind, ascii(payload["message_segment"]["data"] if kind == "sys_std" else payload))
            if "msg_id" in envelope:  # whoever receives something with an id, acknowledges it
                await send(socket, "sys_ack", {"status": "received"}, acked_msg_id=envelope["msg_id"])


async def main() -> None:
    # Key and platform in the query, as a browser has to do it. Headers (websockets_client.py) stay out of log files.
    who = {"api_key": API_KEY, "platform": PLATFORM}
    async with aiohttp.ClientSession() as session:
        try:
            async with session.ws_connect(URL, params=who, max_msg_size=100 * 1024 * 1024) as socket:
                print("connected")
                await talk(socket)
        except aiohttp.WSServerHandshakeError as refused:  # the server decides before it accepts the connection
            raise SystemExit(f"HTTP {refused.status}") from None
    print("done")


if __name__ == "__main__":
    asyncio.run(main())
