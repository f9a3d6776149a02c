"""One end of the delivery benchmark: a client or a server of this library."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import trio

from benchmarks.delivery_ends.journal import KEY, Journal, Parameters, payload, say
from maim_trio.client import WebSocketClient, create_client_config
from maim_trio.message import APIMessageBase
from maim_trio.server import WebSocketServer, create_server_config

COMMON: dict[str, Any] = {
    "handler_ordering": "per_connection",
    "ping_interval": 1.0,
    "ping_timeout": 0.5,
    "close_timeout": 1.0,
    "message_cache_max_size": 5000,
}


class End:
    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        self.journal = Journal(parameters.journal)
        common = {
            **COMMON,
            "outbox_path": parameters.outbox,
            "on_message": lambda message, metadata: self.journal.note("d", message.message_segment.data),
            "on_undelivered": self.gave_up,
        }
        self.endpoint: Any
        if parameters.role == "server":
            self.endpoint = WebSocketServer(create_server_config(host="127.0.0.1", port=parameters.port, **common))
        else:
            url = f"ws://127.0.0.1:{parameters.port}/ws"
            options = {"reconnect_delay": 0.1, "max_reconnect_delay": 0.3, "max_reconnect_attempts": 0}
            self.endpoint = WebSocketClient(create_client_config(url, KEY, **options, **common))
        self.watch_acks()

    def gave_up(self, envelope: Any, reason: str) -> None:
        self.journal.note("u", envelope["payload"]["message_segment"]["data"])

    def watch_acks(self) -> None:
        courier = self.endpoint.courier
        told = courier.acknowledged

        def acknowledged(session: Any, msg_id: str) -> None:
            self.journal.note("k", 0)
            told(session, msg_id)

        courier.acknowledged = acknowledged

    async def send_all(self) -> None:
        parameters, begun = self.parameters, trio.current_time()
        for number in range(parameters.first, parameters.count):
            await trio.sleep_until(begun + (number - parameters.first) * parameters.pace)
            message = APIMessageBase.from_dict(payload(number))
            self.journal.note("t", number)
            accepted = await self.endpoint.send_message(message)
            if any(accepted.values()) if isinstance(accepted, dict) else accepted:
                self.journal.note("a", number)
        say("sent")

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            await self.endpoint.start(nursery)
            if self.parameters.role == "client":
                await self.endpoint.connect()
            say("ready")
            async for line in trio.wrap_file(sys.stdin):
                command = line.strip()
                if command == "go":
                    nursery.start_soon(self.send_all)
                elif command == "restart":
                    await self.endpoint.stop()
                    await self.endpoint.start(nursery)
                    say("restarted")
                elif command == "stop":
                    break
            await self.endpoint.stop()
            print(json.dumps(self.endpoint.get_stats()), file=sys.stderr)
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    trio.run(End(Parameters.from_command_line()).run)
