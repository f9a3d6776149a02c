"""The same job by hand on picows (framing in C), uvloop and msgspec: about the limit of what Python can do."""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from typing import Any

import msgspec
import picows
import uvloop

from maim_trio.message import APIMessageBase

work, port = sys.argv[1:3]


class Envelope(msgspec.Struct):
    type: str
    payload: msgspec.Raw
    msg_id: str | None = None
    meta: dict[str, Any] = {}
    ver: int = 1


decode = msgspec.json.Decoder(Envelope).decode
decode_message = msgspec.json.Decoder(APIMessageBase).decode
encode = msgspec.json.Encoder().encode
users: dict[str, Any] = {}


class Listener(picows.WSListener):  # type: ignore[misc]
    def __init__(self, key: str, connection: str) -> None:
        self.key = key
        self.uuid = connection
        self.seen: set[str] = set()
        self.unacked: dict[str, bytes] = {}

    def on_ws_connected(self, transport: Any) -> None:
        self.transport = transport
        users[self.key] = self

    def on_ws_disconnected(self, transport: Any) -> None:
        users.pop(self.key, None)

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        if frame.msg_type == picows.WSMsgType.CLOSE:
            transport.send_close(picows.WSCloseCode.OK)
            transport.disconnect()
            return
        envelope = decode(frame.get_payload_as_bytes())
        if envelope.type == "sys_ack":
            self.unacked.pop(envelope.meta["acked_msg_id"], None)
            return
        now = time.time()
        if envelope.msg_id is not None:
            self.send({"ver": 1, "msg_id": str(uuid.uuid4()), "type": "sys_ack",
                       "meta": {"uuid": self.uuid, "acked_msg_id": envelope.msg_id, "timestamp": now},
                       "payload": {"status": "received", "server_timestamp": now}})  # fmt: skip
            if envelope.msg_id in self.seen:
                return
            self.seen.add(envelope.msg_id)
        task = asyncio.ensure_future(on_message(decode_message(envelope.payload)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def send(self, envelope: dict[str, Any]) -> None:
        self.transport.send(picows.WSMsgType.TEXT, encode(envelope))


tasks: set[Any] = set()


async def on_message(message: APIMessageBase) -> None:
    receivers = list(users.values()) if work == "fanout" else [users[message.message_dim.api_key]]
    msg_id = f"msg_{uuid.uuid4().hex[:12]}_{int(time.time())}"
    meta = {"sender_user": "server", "target_user": "", "platform": "qq", "timestamp": time.time()}
    payload = encode({"ver": 1, "msg_id": msg_id, "type": "sys_std", "meta": meta, "payload": message})
    for receiver in receivers:
        receiver.unacked[msg_id] = payload
        receiver.transport.send(picows.WSMsgType.TEXT, payload)


def accept(request: Any) -> Listener:
    headers = {str(name).lower(): value for name, value in request.headers.items()}
    return Listener(headers["x-apikey"], headers.get("x-uuid", ""))


async def main() -> None:
    server = await picows.ws_create_server(accept, "127.0.0.1", int(port), max_frame_size=64 * 1024 * 1024)
    await server.serve_forever()


uvloop.run(main())
