"""The same job by hand on aiohttp and msgspec."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

from aiohttp import WSMsgType, web
from by_hand import Connection, is_welcome, receivers, wrapped

work, port = sys.argv[1:3]
users: dict[str, Any] = {}
tasks: set[Any] = set()


async def handle(request: web.Request) -> web.StreamResponse:
    key = request.headers.get("x-apikey", "")
    if not is_welcome(key):
        raise web.HTTPUnauthorized
    socket = web.WebSocketResponse(max_msg_size=64 * 1024 * 1024, compress=False)
    await socket.prepare(request)
    connection = Connection(key, request.headers.get("x-uuid", ""))
    connection.socket = socket  # type: ignore[attr-defined]
    users[key] = connection
    try:
        async for frame in socket:
            data = frame.data.encode() if frame.type is WSMsgType.TEXT else frame.data
            acknowledgement, message = connection.taken(data)
            if acknowledgement is not None:
                await socket.send_frame(acknowledgement, WSMsgType.TEXT)
            if message is not None:
                task = asyncio.ensure_future(on_message(message))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
    finally:
        users.pop(key, None)
    return socket


async def on_message(message: Any) -> None:
    msg_id, payload = wrapped(message)
    for receiver in receivers(work, users, message):
        receiver.unacked[msg_id] = payload
        await receiver.socket.send_frame(payload, WSMsgType.TEXT)


async def main() -> None:
    logging.disable(logging.CRITICAL)
    application = web.Application()
    application.router.add_get("/ws", handle)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(port), backlog=1024).start()
    await asyncio.Event().wait()


asyncio.run(main())
