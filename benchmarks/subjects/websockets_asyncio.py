"""The same job by hand on `websockets`' asyncio server and msgspec."""

from __future__ import annotations

import asyncio
import sys
from http import HTTPStatus
from typing import Any

from by_hand import Connection, is_welcome, receivers, wrapped
from websockets.asyncio.server import ServerConnection, serve

work, port = sys.argv[1:3]
users: dict[str, Any] = {}
tasks: set[Any] = set()


async def admit(socket: ServerConnection, request: Any) -> Any:
    if not is_welcome(request.headers.get("x-apikey", "")):
        return socket.respond(HTTPStatus.UNAUTHORIZED, "unknown key\n")
    return None


async def handle(socket: ServerConnection) -> None:
    assert socket.request is not None
    headers = socket.request.headers
    connection = Connection(headers["x-apikey"], headers.get("x-uuid", ""))
    connection.socket = socket  # type: ignore[attr-defined]
    users[connection.key] = connection
    try:
        async for frame in socket:
            acknowledgement, message = connection.taken(frame.encode() if isinstance(frame, str) else frame)
            if acknowledgement is not None:
                await socket.send(acknowledgement, text=True)
            if message is not None:
                task = asyncio.ensure_future(on_message(message))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
    finally:
        users.pop(connection.key, None)


async def on_message(message: Any) -> None:
    msg_id, payload = wrapped(message)
    for receiver in receivers(work, users, message):
        receiver.unacked[msg_id] = payload
        await receiver.socket.send(payload, text=True)


async def main() -> None:
    async with serve(
        handle, "127.0.0.1", int(port), process_request=admit, max_size=64 * 1024 * 1024, compression=None
    ):
        await asyncio.Event().wait()


asyncio.run(main())
