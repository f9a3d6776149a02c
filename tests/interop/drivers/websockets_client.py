"""Drives a client of the `websockets` library: a bare WebSocket, the envelopes are the test's.

Commands: connect {url, headers}, send {text, binary}, close, stop.
Events: connected {headers}, refused {status, body}, frame {text}, closed {code, reason}, stopped.
"""

from __future__ import annotations

import asyncio

from json_lines import Command, Lines, run
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus


class Driver:
    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.socket: ClientConnection | None = None
        self.reader: asyncio.Task[None] | None = None

    async def connect(self, command: Command) -> None:
        try:
            self.socket = await connect(command["url"], additional_headers=command["headers"])
        except InvalidStatus as refusal:
            body = (refusal.response.body or b"").decode()
            self.lines.emit("refused", status=refusal.response.status_code, body=body)
            return
        headers = {name.lower(): value for name, value in self.socket.response.headers.raw_items()}
        self.lines.emit("connected", headers=headers)
        self.reader = asyncio.create_task(self.read(self.socket))

    async def read(self, socket: ClientConnection) -> None:
        try:
            async for text in socket:
                self.lines.emit("frame", text=text)
        except ConnectionClosed:
            pass  # an unclean end: the code below tells it apart
        self.lines.emit("closed", code=socket.close_code, reason=socket.close_reason)

    async def send(self, command: Command) -> None:
        await self.socket.send(command["text"].encode() if command["binary"] else command["text"])

    async def close(self, _: Command) -> None:
        await self.socket.close()


async def main(lines: Lines) -> None:
    driver = Driver(lines)
    await lines.serve({"connect": driver.connect, "send": driver.send, "close": driver.close})


if __name__ == "__main__":
    run(main)
