"""Drives maim_message's own MessageClient or Router in mode tcp; runs under an interpreter that has maim_message.

Commands: connect {url, platform, token}, route {urls, tokens} (both by platform), send {message},
custom {platform, type, content}, stop.
Events: message {message}, custom {message}, sent {accepted}, stopped.
"""

from __future__ import annotations

import asyncio
from typing import Any

from hurry import hurry
from json_lines import Command, Lines, run
from maim_message import MessageBase, MessageClient, RouteConfig, Router, TargetConfig


class Driver:
    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.client: MessageClient | None = None
        self.router: Router | None = None
        self.running: asyncio.Task[None] | None = None

    async def on_message(self, message: dict[str, Any]) -> None:
        self.lines.emit("message", message=message)

    async def on_custom(self, message: dict[str, Any]) -> None:
        self.lines.emit("custom", message=message)

    async def connect(self, command: Command) -> None:
        client = self.client = MessageClient(mode="tcp")
        client.register_message_handler(self.on_message)
        client.register_custom_message_handler("poke", self.on_custom)
        await client.connect(**command)
        self.running = asyncio.create_task(self.run_again_and_again())

    async def run_again_and_again(self) -> None:
        """Its run() ends with the second connection, or when there is none, so it takes a loop to stay connected."""
        while True:
            await self.client.run()
            await asyncio.sleep(1)

    async def route(self, command: Command) -> None:
        targets = {
            platform: TargetConfig(url, command["tokens"].get(platform)) for platform, url in command["urls"].items()
        }
        router = self.router = Router(RouteConfig(targets))
        router.register_class_handler(self.on_message)
        router.register_custom_message_handler("poke", self.on_custom)
        self.running = asyncio.create_task(router.run())

    async def send(self, command: Command) -> None:
        message = command["message"]
        if self.router is not None:
            accepted = await self.router.send_message(MessageBase.from_dict(message))
        else:
            accepted = await self.client.send_message(message)
        self.lines.emit("sent", accepted=accepted)

    async def custom(self, command: Command) -> None:
        if self.router is not None:
            accepted = await self.router.send_custom_message(command["platform"], command["type"], command["content"])
        else:
            accepted = await self.client.send_custom_message(command["type"], command["content"])
        self.lines.emit("sent", accepted=accepted)


async def main(lines: Lines) -> None:
    hurry()
    driver = Driver(lines)
    await lines.serve({"connect": driver.connect, "route": driver.route, "send": driver.send, "custom": driver.custom})


if __name__ == "__main__":
    run(main)
