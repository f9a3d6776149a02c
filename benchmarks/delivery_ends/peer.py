"""One end of the delivery benchmark: a client or a server of maim_message, under an interpreter that has it."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import Any

from journal import KEY, PLATFORM, Journal, Parameters, payload, say

STOP_TIMEOUT = 15.0


class End:
    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        self.journal = Journal(parameters.journal)
        self.endpoint: Any = None

    async def on_message(self, message: Any, meta: Any) -> None:
        self.journal.note("d", message.message_segment.data)

    def watch_acks(self, base: type) -> type:
        journal = self.journal

        class Watching(base):  # type: ignore[misc]
            async def _handle_message_event(self, event: Any) -> None:
                if event.payload.get("type") == "sys_ack":
                    journal.note("k", 0)
                await super()._handle_message_event(event)

        return Watching

    async def start(self) -> None:
        if self.parameters.role == "server":
            await self.start_server()
        else:
            await self.start_client()

    async def start_server(self) -> None:
        from maim_message.server import WebSocketServer, create_server_config

        async def on_auth(metadata: Any) -> bool:
            return True

        async def on_auth_extract_user(metadata: Any) -> str:
            return "user"

        config = create_server_config(
            host="127.0.0.1",
            port=self.parameters.port,
            on_auth=on_auth,
            on_auth_extract_user=on_auth_extract_user,
            on_message=self.on_message,
        )
        self.endpoint = self.watch_acks(WebSocketServer)(config)
        await self.endpoint.start()

    async def start_client(self) -> None:
        from maim_message.client import WebSocketClient, create_client_config

        url = f"ws://127.0.0.1:{self.parameters.port}/ws"
        config = create_client_config(url, KEY, platform=PLATFORM, on_message=self.on_message)
        config.reconnect_delay, config.max_reconnect_attempts = 0.1, 0
        config.ping_interval, config.ping_timeout, config.close_timeout = 1, 0.5, 1
        self.endpoint = self.watch_acks(WebSocketClient)(config)
        await self.endpoint.start()
        await self.endpoint.connect()

    async def send_all(self) -> None:
        from maim_message.client import APIMessageBase

        parameters, clock = self.parameters, asyncio.get_running_loop()
        begun = clock.time()
        for number in range(parameters.first, parameters.count):
            await asyncio.sleep(max(0.0, begun + (number - parameters.first) * parameters.pace - clock.time()))
            message = APIMessageBase.from_dict(payload(number))
            self.journal.note("t", number)
            try:
                accepted = await self.endpoint.send_message(message)
            except Exception:
                continue
            if any(accepted.values()) if isinstance(accepted, dict) else accepted:
                self.journal.note("a", number)
        say("sent")

    async def run(self) -> None:
        await self.start()
        say("ready")
        sending = None
        while line := await asyncio.to_thread(sys.stdin.readline):
            command = line.strip()
            if command == "go":
                sending = asyncio.create_task(self.send_all())
            elif command == "restart":
                await self.stop()
                await self.start()
                say("restarted")
            elif command == "stop":
                break
        if sending is not None:
            sending.cancel()
        await self.stop()
        os._exit(0)  # it may leave tasks behind that outlive being cancelled

    async def stop(self) -> None:
        try:
            await asyncio.wait_for(self.endpoint.stop(), STOP_TIMEOUT)
        except Exception:
            say("stop failed")


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what it prints, whatever one configures
    asyncio.run(End(Parameters.from_command_line()).run())
