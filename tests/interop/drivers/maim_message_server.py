"""Drives maim_message's own WebSocketServer; runs under an interpreter that has maim_message.

Commands: start {port, keys}, send {message}, burst {messages}, custom {type, payload, uuid}, stats, restart, stop.
`keys` maps an API key to a user; a port of 0 lets the system choose.
Events: listening {port}, registered {uuid, user, platform}, gone {uuid}, message {message, user, platform},
custom {type, envelope}, acked {msg_id}, sent {results}, stats {stats}, stopped.
"""

from __future__ import annotations

import asyncio
from typing import Any

from json_lines import Command, Lines, run
from maim_message.server import APIMessageBase, WebSocketServer, create_server_config

STOP_TIMEOUT = 15.0
_TICK = 0.01  # seconds between looks at a flag of uvicorn, which offers no event


class ReportingServer(WebSocketServer):
    """The real server, which also tells the test what its network layer handed to it."""

    def __init__(self, config: Any, lines: Lines) -> None:
        super().__init__(config)
        self.lines = lines

    async def _handle_connect_event(self, event: Any) -> None:
        await super()._handle_connect_event(event)
        info = self.get_connection_info(event.metadata.uuid)
        if info is not None:
            self.lines.emit("registered", uuid=event.metadata.uuid, user=info["user_id"], platform=info["platform"])

    async def _handle_disconnect_event(self, event: Any) -> None:
        await super()._handle_disconnect_event(event)
        self.lines.emit("gone", uuid=event.metadata.uuid)

    async def _handle_message_event(self, event: Any) -> None:
        if event.payload.get("type") == "sys_ack":
            self.lines.emit("acked", msg_id=event.payload["meta"]["acked_msg_id"])
        await super()._handle_message_event(event)


class Driver:
    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.keys: dict[str, str] = {}
        self.server: ReportingServer | None = None
        self.starting: asyncio.Task[None] | None = None
        self.port = 0

    async def on_auth(self, metadata: dict[str, Any]) -> bool:
        return metadata["api_key"] in self.keys

    async def on_auth_extract_user(self, metadata: dict[str, Any]) -> str:
        return self.keys[metadata["api_key"]]

    async def on_message(self, message: APIMessageBase, metadata: dict[str, Any]) -> None:
        user = self.keys[metadata["api_key"]]
        self.lines.emit("message", message=message.to_dict(), user=user, platform=metadata["platform"])

    async def on_custom(self, envelope: dict[str, Any], metadata: dict[str, Any]) -> None:
        self.lines.emit("custom", type=envelope["type"], envelope=envelope, platform=metadata["platform"])

    async def start(self, command: Command) -> None:
        self.keys = command["keys"]
        self.port = command["port"]
        await self.listen()

    async def listen(self) -> None:
        config = create_server_config(
            host="127.0.0.1",
            port=self.port,
            on_auth=self.on_auth,
            on_auth_extract_user=self.on_auth_extract_user,
            on_message=self.on_message,
        )
        config.register_custom_handler("ping", self.on_custom)
        self.server = ReportingServer(config, self.lines)
        self.starting = asyncio.create_task(self.server.start())  # sleeps a second after it has begun to listen
        while not ((uvicorn := self.server.network_driver._uvicorn_server) and uvicorn.started):  # noqa: ASYNC110
            await asyncio.sleep(_TICK)
        listener = uvicorn.servers[0].sockets[0]
        self.port = listener.getsockname()[1]
        self.lines.emit("listening", port=self.port)

    async def send(self, command: Command) -> None:
        results = await self.server.send_message(APIMessageBase.from_dict(command["message"]))
        self.lines.emit("sent", results=results)

    async def burst(self, command: Command) -> None:
        for message in [APIMessageBase.from_dict(message) for message in command["messages"]]:
            await self.server.send_message(message)

    async def custom(self, command: Command) -> None:
        results = await self.server.send_custom_message(
            command["type"], command["payload"], connection_uuid=command["uuid"]
        )
        self.lines.emit("sent", results=results)

    async def stats(self, _: Command) -> None:
        self.lines.emit("stats", stats=self.server.get_stats())

    async def restart(self, _: Command) -> None:
        await self.close()
        await self.listen()

    async def close(self) -> None:
        if self.server is not None:
            await asyncio.wait_for(self.server.stop(), STOP_TIMEOUT)
            self.server = None


async def main(lines: Lines) -> None:
    driver = Driver(lines)
    await lines.serve(
        {
            "start": driver.start,
            "send": driver.send,
            "burst": driver.burst,
            "custom": driver.custom,
            "stats": driver.stats,
            "restart": driver.restart,
        }
    )
    await driver.close()


if __name__ == "__main__":
    run(main)
