"""Drives maim_message's own WebSocketClient; runs under an interpreter that has maim_message.

Commands: connect {url, api_key, platform}, send {message}, burst {messages}, custom {type, payload}, stats, stop.
Events: connected {uuid}, disconnected {error}, connect_result {ok}, message {message, meta}, custom {type, payload},
acked {msg_id}, other {data}, sent {ok}, stats {stats, last_error, connected}, stopped.
"""

from __future__ import annotations

import asyncio
from typing import Any

from json_lines import Command, Lines, run
from maim_message.client import APIMessageBase, WebSocketClient, create_client_config

RECONNECT_DELAY = 0.2  # seconds; the default of 2 would only make the tests longer
STOP_TIMEOUT = 8.0


class ReportingClient(WebSocketClient):
    """The real client, which also tells the test what its network layer handed to it."""

    def __init__(self, config: Any, lines: Lines) -> None:
        super().__init__(config)
        self.lines = lines

    async def _handle_connect_event(self, event: Any) -> None:
        await super()._handle_connect_event(event)
        self.lines.emit("connected", uuid=event.connection_uuid)

    async def _handle_disconnect_event(self, event: Any) -> None:
        await super()._handle_disconnect_event(event)
        self.lines.emit("disconnected", error=event.error)

    async def _handle_message_event(self, event: Any) -> None:
        if event.payload.get("type") == "sys_ack":
            self.lines.emit("acked", msg_id=event.payload["meta"]["acked_msg_id"])
        elif not event.payload.get("type", "").startswith(("sys_std", "custom_")):
            self.lines.emit("other", data=event.payload)
        await super()._handle_message_event(event)


class Driver:
    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.client: ReportingClient | None = None
        self.attempts: set[asyncio.Task[None]] = set()

    async def on_message(self, message: APIMessageBase, meta: dict[str, Any]) -> None:
        self.lines.emit("message", message=message.to_dict(), meta=meta)

    async def on_custom(self, payload: dict[str, Any]) -> None:  # the peer's client passes one argument
        self.lines.emit("custom", type="custom_pong", payload=payload)

    async def connect(self, command: Command) -> None:
        config = create_client_config(
            command["url"], command["api_key"], platform=command["platform"], on_message=self.on_message
        )
        config.reconnect_delay = RECONNECT_DELAY
        config.register_custom_handler("pong", self.on_custom)
        self.client = ReportingClient(config, self.lines)
        await self.client.start()
        attempt = asyncio.create_task(self.report_result(self.client))
        self.attempts.add(attempt)

    async def report_result(self, client: ReportingClient) -> None:
        self.lines.emit("connect_result", ok=await client.connect())

    async def send(self, command: Command) -> None:
        message = APIMessageBase.from_dict(command["message"])
        self.lines.emit("sent", ok=await self.client.send_message(message))

    async def burst(self, command: Command) -> None:
        messages = [APIMessageBase.from_dict(message) for message in command["messages"]]
        results = await asyncio.gather(*(self.client.send_message(message) for message in messages))
        self.lines.emit("sent", ok=all(results))

    async def custom(self, command: Command) -> None:
        self.lines.emit("sent", ok=await self.client.send_custom_message(command["type"], command["payload"]))

    async def stats(self, _: Command) -> None:
        client = self.client
        self.lines.emit(
            "stats", stats=client.get_stats(), last_error=client.get_last_error(), connected=client.is_connected()
        )

    async def close(self) -> None:
        if self.client is not None:
            await asyncio.wait_for(self.client.stop(), STOP_TIMEOUT)
        await asyncio.gather(*self.attempts, return_exceptions=True)


async def main(lines: Lines) -> None:
    driver = Driver(lines)
    await lines.serve(
        {
            "connect": driver.connect,
            "send": driver.send,
            "burst": driver.burst,
            "custom": driver.custom,
            "stats": driver.stats,
        }
    )
    await driver.close()


if __name__ == "__main__":
    run(main)
