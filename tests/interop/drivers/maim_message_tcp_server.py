"""Drives maim_message's own MessageServer in mode tcp; runs under an interpreter that has maim_message.

Commands: start {port, tokens}, send {platform, message}, custom {platform, type, content}, platforms, restart, stop.
A port of 0 lets the system choose; without tokens everybody is let in.
Events: listening {port}, message {message}, custom {message}, sent {accepted}, platforms {names}, stopped.
"""

from __future__ import annotations

import asyncio
from typing import Any

from hurry import hurry
from json_lines import Command, Lines, run
from maim_message import MessageServer


class Driver:
    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.tokens: list[str] = []
        self.server: MessageServer | None = None
        self.running: asyncio.Task[None] | None = None
        self.port = 0

    async def on_message(self, message: dict[str, Any]) -> None:
        self.lines.emit("message", message=message)

    async def on_custom(self, message: dict[str, Any]) -> None:
        self.lines.emit("custom", message=message)

    async def start(self, command: Command) -> None:
        self.tokens = command["tokens"]
        self.port = command["port"]
        await self.listen()

    async def listen(self) -> None:
        server = MessageServer(host="127.0.0.1", port=self.port, enable_token=bool(self.tokens), mode="tcp")
        for token in self.tokens:
            server.add_valid_token(token)
        server.register_message_handler(self.on_message)
        server.register_custom_message_handler("poke", self.on_custom)
        self.server, self.running = server, asyncio.create_task(server.run())
        while server.connection._server is None:  # noqa: ASYNC110 - it offers no event
            await asyncio.sleep(0.1)
        self.port = server.connection._server.sockets[0].getsockname()[1]
        self.lines.emit("listening", port=self.port)

    async def send(self, command: Command) -> None:
        accepted = await self.server.broadcast_to_platform(command["platform"], command["message"])
        self.lines.emit("sent", accepted=accepted)

    async def custom(self, command: Command) -> None:
        accepted = await self.server.send_custom_message(command["platform"], command["type"], command["content"])
        self.lines.emit("sent", accepted=accepted)

    async def platforms(self, _: Command) -> None:
        self.lines.emit("platforms", names=sorted(self.server.connection.platform_connections))

    async def close(self) -> None:
        if self.server is not None:
            await self.server.stop()
            self.server = None

    async def restart(self, _: Command) -> None:
        await self.close()
        await self.listen()


async def main(lines: Lines) -> None:
    hurry()
    driver = Driver(lines)
    await lines.serve(
        {
            "start": driver.start,
            "send": driver.send,
            "custom": driver.custom,
            "platforms": driver.platforms,
            "restart": driver.restart,
        }
    )
    await driver.close()


if __name__ == "__main__":
    run(main)
