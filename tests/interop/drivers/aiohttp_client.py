"""Drives a client of `aiohttp`: a bare WebSocket, the envelopes are the test's.

Commands: connect {url, headers}, send {text, binary}, close, stop.
Events: connected {headers}, refused {status, body}, frame {text}, closed {code, reason}, stopped.
"""

from __future__ import annotations

import asyncio

import aiohttp
from json_lines import Command, Lines, run


class Driver:
    def __init__(self, lines: Lines, session: aiohttp.ClientSession) -> None:
        self.lines = lines
        self.session = session
        self.socket: aiohttp.ClientWebSocketResponse | None = None
        self.reader: asyncio.Task[None] | None = None

    async def connect(self, command: Command) -> None:
        try:
            self.socket = await self.session.ws_connect(command["url"], headers=command["headers"])
        except aiohttp.WSServerHandshakeError as refusal:
            self.lines.emit("refused", status=refusal.status, body=None)  # aiohttp does not hand out the body
            return
        headers = {name.lower(): value for name, value in self.socket._response.headers.items()}
        self.lines.emit("connected", headers=headers)
        self.reader = asyncio.create_task(self.read(self.socket))

    async def read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while (frame := await socket.receive()).type is aiohttp.WSMsgType.TEXT:
            self.lines.emit("frame", text=frame.data)
        if frame.type is not aiohttp.WSMsgType.CLOSING:  # that one means: `close` is at work, and reports the end
            self.lines.emit("closed", code=socket.close_code, reason=frame.extra or "")

    async def send(self, command: Command) -> None:
        if command["binary"]:
            await self.socket.send_bytes(command["text"].encode())
        else:
            await self.socket.send_str(command["text"])

    async def close(self, _: Command) -> None:
        await self.socket.close()
        self.lines.emit("closed", code=self.socket.close_code, reason="")


async def main(lines: Lines) -> None:
    async with aiohttp.ClientSession() as session:
        driver = Driver(lines, session)
        await lines.serve({"connect": driver.connect, "send": driver.send, "close": driver.close})


if __name__ == "__main__":
    run(main)
