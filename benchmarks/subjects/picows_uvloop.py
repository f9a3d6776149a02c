"""The same job by hand on picows (framing in C), uvloop and msgspec: about the limit of what Python can do."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import picows
import uvloop
from by_hand import Connection, is_welcome, receivers, wrapped

work, port = sys.argv[1:3]
users: dict[str, Any] = {}
tasks: set[Any] = set()


class Listener(picows.WSListener, Connection):  # type: ignore[misc]
    def __init__(self, key: str, connection_uuid: str) -> None:
        Connection.__init__(self, key, connection_uuid)

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
        acknowledgement, message = self.taken(frame.get_payload_as_bytes())
        if acknowledgement is not None:
            transport.send(picows.WSMsgType.TEXT, acknowledgement)
        if message is not None:
            task = asyncio.ensure_future(on_message(message))
            tasks.add(task)
            task.add_done_callback(tasks.discard)


async def on_message(message: Any) -> None:
    if work == "wait":
        await asyncio.sleep(0.1)
    msg_id, payload = wrapped(message)
    for receiver in receivers(work, users, message):
        receiver.unacked[msg_id] = payload
        receiver.transport.send(picows.WSMsgType.TEXT, payload)


def accept(request: Any) -> Listener | None:
    headers = {str(name).lower(): value for name, value in request.headers.items()}
    key = headers.get("x-apikey", "")
    return Listener(key, headers.get("x-uuid", "")) if is_welcome(key) else None


async def main() -> None:
    server = await picows.ws_create_server(
        accept, "127.0.0.1", int(port), max_frame_size=64 * 1024 * 1024, backlog=1024
    )
    await server.serve_forever()


uvloop.run(main())
