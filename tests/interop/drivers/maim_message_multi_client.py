"""Drives maim_message's own WebSocketMultiClient; runs under an interpreter that has maim_message.

Commands: connect {url, connections}, send {name, message}, custom {name, type, payload}, disconnect {name}, stats,
stop. `connections` maps a name to its {api_key, platform}.
Events: connected {name, uuid}, disconnected {name, error}, connect_result {results}, received {name, message}, message
{message}, custom {payload}, acked {name, msg_id}, sent {ok}, disconnect_result {results}, stats {connected, errors},
stopped. `received` is what its network layer handed over, `message` what its `on_message` was called with.
"""

from __future__ import annotations

import asyncio
from typing import Any

from json_lines import Command, Lines, run
from maim_message.client import APIMessageBase, WebSocketMultiClient
from maim_message.ws_config import MultiClientConfig

RECONNECT_DELAY = 0.2  # seconds
STOP_TIMEOUT = 8.0


class ReportingClient(WebSocketMultiClient):
    """The real client, which also tells the test what its network layer handed to it."""

    def __init__(self, config: Any, lines: Lines) -> None:
        super().__init__(config)
        self.lines = lines

    async def _handle_connect_event(self, event: Any) -> None:
        await super()._handle_connect_event(event)
        self.lines.emit("connected", name=self.name_of(event), uuid=event.connection_uuid)

    async def _handle_disconnect_event(self, event: Any) -> None:
        await super()._handle_disconnect_event(event)
        self.lines.emit("disconnected", name=self.name_of(event), error=event.error)

    async def _handle_message_event(self, event: Any) -> None:
        envelope = event.payload
        if envelope.get("type") == "sys_ack":
            self.lines.emit("acked", name=self.name_of(event), msg_id=envelope["meta"]["acked_msg_id"])
        elif envelope.get("type") == "sys_std":
            self.lines.emit("received", name=self.name_of(event), message=envelope["payload"])
        await super()._handle_message_event(event)

    def name_of(self, event: Any) -> str | None:
        """None once it was disconnected on purpose: the client has forgotten the name by then."""
        return self.uuid_to_name.get(event.connection_uuid)


class Driver:
    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.client: ReportingClient | None = None

    async def on_message(self, message: APIMessageBase, _: dict[str, Any]) -> None:
        self.lines.emit("message", message=message.to_dict())

    async def on_custom(self, payload: dict[str, Any]) -> None:  # one argument, and no word of the connection
        self.lines.emit("custom", payload=payload)

    async def connect(self, command: Command) -> None:
        config = MultiClientConfig(on_message=self.on_message)
        self.client = ReportingClient(config, self.lines)
        for name, entry in command["connections"].items():
            self.client.register_connection(name, command["url"], reconnect_delay=RECONNECT_DELAY, **entry)
        self.client.register_custom_handler("pong", self.on_custom)  # what the config knows is not looked at
        await self.client.start()
        self.lines.emit("connect_result", results=await self.client.connect())

    async def send(self, command: Command) -> None:
        message = APIMessageBase.from_dict(command["message"])
        self.lines.emit("sent", ok=await self.client.send_message(command["name"], message))

    async def custom(self, command: Command) -> None:
        sent = await self.client.send_custom_message(command["name"], command["type"], command["payload"])
        self.lines.emit("sent", ok=sent)

    async def disconnect(self, command: Command) -> None:
        self.lines.emit("disconnect_result", results=await self.client.disconnect(command["name"]))

    async def stats(self, _: Command) -> None:
        names = list(self.client.named_connections)
        connected = {name: self.client.is_connected(name) for name in names}
        errors = {name: self.client.get_last_error(name) for name in names}
        self.lines.emit("stats", connected=connected, errors=errors)

    async def close(self) -> None:
        if self.client is not None:
            await asyncio.wait_for(self.client.stop(), STOP_TIMEOUT)


async def main(lines: Lines) -> None:
    driver = Driver(lines)
    await lines.serve(
        {
            "connect": driver.connect,
            "send": driver.send,
            "custom": driver.custom,
            "disconnect": driver.disconnect,
            "stats": driver.stats,
        }
    )
    await driver.close()


if __name__ == "__main__":
    run(main)
