"""A legacy adapter as they are written, on maim_message's own Router; runs under an interpreter that has maim_message.

Commands: start {url, platform, token}, send {message}, custom {type, content}, stop.
Events: connected, lost, message {message}, custom {message}, sent {ok}, stopped.
"""

from __future__ import annotations

import asyncio
from typing import Any

from json_lines import Command, Lines, run
from maim_message import MessageBase, RouteConfig, Router, TargetConfig

_TICK = 0.02  # seconds between looks at a connection that offers no event


class Adapter:
    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.platform = ""
        self.router: Router | None = None
        self.tasks: list[asyncio.Task[None]] = []

    async def on_message(self, message: dict[str, Any]) -> None:
        self.lines.emit("message", message=MessageBase.from_dict(message).to_dict())

    async def on_custom(self, message: dict[str, Any]) -> None:
        self.lines.emit("custom", message=message)

    async def start(self, command: Command) -> None:
        self.platform = command["platform"]
        target = TargetConfig(url=command["url"], token=command.get("token"))
        self.router = Router(RouteConfig(route_config={self.platform: target}))
        self.router.register_class_handler(self.on_message)
        self.router.register_custom_message_handler("pong", self.on_custom)
        self.tasks = [asyncio.create_task(self.router.run()), asyncio.create_task(self.watch())]

    async def watch(self) -> None:
        connected = False
        while True:
            if self.router.check_connection(self.platform) is not connected:
                connected = not connected
                self.lines.emit("connected" if connected else "lost")
            await asyncio.sleep(_TICK)

    async def send(self, command: Command) -> None:
        message = MessageBase.from_dict(command["message"])
        self.lines.emit("sent", ok=await self.router.send_message(message))

    async def custom(self, command: Command) -> None:
        sent = await self.router.send_custom_message(self.platform, command["type"], command["content"])
        self.lines.emit("sent", ok=sent)

    async def close(self) -> None:
        if self.router is not None:
            await self.router.stop()


async def main(lines: Lines) -> None:
    adapter = Adapter(lines)
    await lines.serve({"start": adapter.start, "send": adapter.send, "custom": adapter.custom})
    await adapter.close()


if __name__ == "__main__":
    run(main)
