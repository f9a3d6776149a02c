"""A client without maim_trio: Python, asyncio and the library `websockets` (pip install websockets).

    python websockets_client.py                                         # talks to ../quickstart_server.py
    python websockets_client.py ws://127.0.0.1:18040/ws test_key_123    # or to any other

It sends a message and a custom message, acknowledges what comes, and ends when everything was answered.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

URL = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:18040/ws"
API_KEY = sys.argv[2] if len(sys.argv) > 2 else "test_key_123"
PLATFORM = "websockets"


async def send(socket: ClientConnection, kind: str, payload: dict[str, Any], **meta: Any) -> str:
    """Everything travels in an envelope, one JSON object per WebSocket message."""
    msg_id = f"msg_{uuid.uuid4().hex}"
    envelope = {
        "ver": 1,
        "msg_id": msg_id,
        "type": kind,
        "meta": {"sender_user": API_KEY, "platform": PLATFORM, "timestamp": time.time(), **meta},
        "payload": payload,
    }
    await socket.send(json.dumps(envelope, ensure_ascii=False))
    return msg_id


def text_payload(text: str) -> dict[str, Any]:
    return {
        "message_info": {"platform": PLATFORM, "message_id": str(time.time_ns()), "time": time.time()},
        "message_segment": {"type": "text", "data": text},
        "message_dim": {"api_key": API_KEY, "platform": PLATFORM},  # the receiver
    }


async def talk(socket: ClientConnection) -> None:
    waiting_for = {"sys_std", "custom_server_notification"}  # the answers of the quick start's server
    waiting_for.add(await send(socket, "sys_std", text_payload("Hello from websockets, 你好")))
    waiting_for.add(await send(socket, "custom_client_heartbeat", {"status": "active"}))
    while waiting_for:
        envelope = json.loads(await socket.recv())
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
    headers = {"x-apikey": API_KEY, "x-platform": PLATFORM}
    try:
        async with connect(URL, additional_headers=headers, max_size=100 * 1024 * 1024) as socket:
            print("connected")
            await talk(socket)
    except InvalidStatus as refused:  # the server decides before it accepts the connection
        raise SystemExit(f"HTTP {refused.response.status_code}: {refused.response.body.decode()}") from None
    print("done")


if __name__ == "__main__":
    asyncio.run(main())
