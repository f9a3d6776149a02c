"""Drives maim_message's legacy MessageServer; runs under an interpreter that has maim_message.

Commands: start {port, tokens}, send {message}, custom {platform, type, content}, broadcast {message}, restart, stop.
A port of 0 lets the system choose; without `tokens` everybody is let in.
Events: listening {port}, platforms {platforms}, message {message}, custom {message}, sent {ok}, stopped.
"""

from __future__ import annotations

import asyncio
from typing import Any

from json_lines import Command, Lines, run
from maim_message import MessageBase, MessageServer

STOP_TIMEOUT = 15.0
_TICK = 0.02  # seconds between looks at what has no event


class Driver:
    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.server: MessageServer | None = None
        self.running: asyncio.Task[None] | None = None
        self.watching: asyncio.Task[None] | None = None
        self.port = 0
        self.tokens: list[str] = []

    def on_message(self, message: dict[str, Any]) -> None:
        self.lines.emit("message", message=message)

    async def on_custom(self, message: dict[str, Any]) -> None:
        self.lines.emit("custom", message=message)

    async def start(self, command: Command) -> None:
        self.port, self.tokens = command["port"], command["tokens"]
        await self.listen()

    async def listen(self) -> None:
        self.server = MessageServer(host="127.0.0.1", port=self.port, enable_token=bool(self.tokens), mode="ws")
        for token in self.tokens:
            self.server.add_valid_token(token)
        self.server.register_message_handler(self.on_message)
        self.server.register_custom_message_handler("poke", self.on_custom)
        self.running = asyncio.create_task(self.server.run())
        while not ((uvicorn := self.server.connection.server) and uvicorn.started):  # noqa: ASYNC110
            await asyncio.sleep(_TICK)
        self.port = uvicorn.servers[0].sockets[0].getsockname()[1]
        self.watching = asyncio.create_task(self._watch(self.server))
        self.lines.emit("listening", port=self.port)

    async def _watch(self, server: MessageServer) -> None:
        """Reports which platforms are connected, whenever that changes."""
        seen: list[str] = []
        while True:
            now = sorted(server.connection.platform_websockets)
            if now != seen:
                self.lines.emit("platforms", platforms=now)
            seen = now
            await asyncio.sleep(_TICK)

    async def send(self, command: Command) -> None:
        self.lines.emit("sent", ok=await self.server.send_message(MessageBase.from_dict(command["message"])))

    async def custom(self, command: Command) -> None:
        ok = await self.server.send_custom_message(command["platform"], command["type"], command["content"])
        self.lines.emit("sent", ok=ok)

    async def broadcast(self, command: Command) -> None:
        await self.server.broadcast_message(command["message"])

    async def restart(self, _: Command) -> None:
        await self.close()
        await self.listen()

    async def close(self) -> None:
        if self.server is None:
            return
        self.watching.cancel()
        await asyncio.wait_for(self.server.stop(), STOP_TIMEOUT)
        await asyncio.wait([self.running], timeout=STOP_TIMEOUT)
        self.server = None


async def main(lines: Lines) -> None:
    driver = Driver(lines)
    await lines.serve(
        {
            "start": driver.start,
            "send": driver.send,
            "custom": driver.custom,
            "broadcast": driver.broadcast,
            "restart": driver.restart,
        }
    )
    await driver.close()


if __name__ == "__main__":
    run(main)
