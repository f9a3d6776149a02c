"""The same job by hand on trio-websocket and msgspec, straightforward: `serve_websocket`, a task per message."""

from __future__ import annotations

import sys
from typing import Any

import trio
from by_hand import Connection, is_welcome, receivers, wrapped
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

work, port = sys.argv[1:3]
users: dict[str, Any] = {}


async def handle(request: WebSocketRequest) -> None:
    headers = {name.decode().lower(): value.decode() for name, value in request.headers}
    key = headers.get("x-apikey", "")
    if not is_welcome(key):
        await request.reject(401)
        return
    socket: WebSocketConnection = await request.accept()
    connection = Connection(key, headers.get("x-uuid", ""))
    connection.socket = socket  # type: ignore[attr-defined]
    users[key] = connection
    try:
        async with trio.open_nursery() as nursery:
            while True:
                acknowledgement, message = connection.taken((await socket.get_message()).encode())
                if acknowledgement is not None:
                    await socket.send_message(acknowledgement.decode())
                if message is not None:
                    nursery.start_soon(on_message, message)
    except* ConnectionClosed:
        users.pop(key, None)


async def on_message(message: Any) -> None:
    msg_id, payload = wrapped(message)
    text = payload.decode()
    for receiver in receivers(work, users, message):
        receiver.unacked[msg_id] = payload
        await receiver.socket.send_message(text)


async def main() -> None:
    await serve_websocket(handle, "127.0.0.1", int(port), None, max_message_size=64 * 1024 * 1024)


trio.run(main)
