"""Drives maim_message's legacy MessageClient and Router; runs under an interpreter that has maim_message.

Commands: client {url, platform, token}, router {routes}, update {routes}, send {message}, custom {platform, type,
content}, stop. `routes` maps a platform to {url, token}; a client takes `send` for its own platform.
Events: connected {platform}, disconnected {platform}, message {message}, custom {message}, sent {ok}, stopped.
"""

from __future__ import annotations

import asyncio
from typing import Any

from json_lines import Command, Lines, run
from maim_message import MessageBase, MessageClient, RouteConfig, Router

STOP_TIMEOUT = 8.0
_TICK = 0.02  # seconds between looks at what has no event


class Driver:
    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.one: MessageClient | None = None
        self.router: Router | None = None
        self.tasks: list[asyncio.Task[None]] = []

    async def on_message(self, message: dict[str, Any]) -> None:
        self.lines.emit("message", message=message)

    def on_custom(self, message: dict[str, Any]) -> None:
        self.lines.emit("custom", message=message)

    async def client(self, command: Command) -> None:
        self.one = MessageClient(mode="ws")
        self.one.register_message_handler(self.on_message)
        self.one.register_custom_message_handler("poke", self.on_custom)
        await self.one.connect(command["url"], command["platform"], token=command["token"])
        self._run(self.one.run())

    async def start_router(self, command: Command) -> None:
        self.router = Router(RouteConfig.from_dict({"route_config": command["routes"]}))
        self.router.register_class_handler(self.on_message)
        self.router.register_custom_message_handler("poke", self.on_custom)
        self._run(self.router.run())

    async def update(self, command: Command) -> None:
        await self.router.update_config({"route_config": command["routes"]})

    async def send(self, command: Command) -> None:
        if self.one is not None:
            ok = await self.one.send_message(command["message"])
        else:
            ok = await self.router.send_message(MessageBase.from_dict(command["message"]))
        self.lines.emit("sent", ok=ok)

    async def custom(self, command: Command) -> None:
        if self.one is not None:
            ok = await self.one.send_custom_message(command["type"], command["content"])
        else:
            ok = await self.router.send_custom_message(command["platform"], command["type"], command["content"])
        self.lines.emit("sent", ok=ok)

    def _run(self, coroutine: Any) -> None:
        self.tasks += [asyncio.create_task(coroutine), asyncio.create_task(self._watch())]

    async def _watch(self) -> None:
        """Reports who is connected, whenever that changes."""
        seen: set[str] = set()
        while True:
            clients = self.router.clients if self.router is not None else {self.one.platform: self.one}
            now = {platform for platform, client in clients.items() if client.is_connected()}
            for platform in now - seen:
                self.lines.emit("connected", platform=platform)
            for platform in seen - now:
                self.lines.emit("disconnected", platform=platform)
            seen = now
            await asyncio.sleep(_TICK)

    async def close(self) -> None:
        for task in self.tasks[1::2]:
            task.cancel()
        for thing in (self.one, self.router):
            if thing is not None:
                await asyncio.wait_for(asyncio.gather(thing.stop(), return_exceptions=True), STOP_TIMEOUT)


async def main(lines: Lines) -> None:
    driver = Driver(lines)
    await lines.serve(
        {
            "client": driver.client,
            "router": driver.start_router,
            "update": driver.update,
            "send": driver.send,
            "custom": driver.custom,
        }
    )
    await driver.close()


if __name__ == "__main__":
    run(main)
