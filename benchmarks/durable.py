"""What the durable outbox and inbox cost: messages per second and time per message, with and without them.

``python -m benchmarks.durable``: a client and a server of ours in one process, over loopback.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

import trio

from maim_trio.client import WebSocketClient, create_client_config
from maim_trio.server import WebSocketServer, create_server_config
from tests.memory import text_message

MESSAGES = 20_000
RECEIVED, SENDERS = 5_000, 50


async def measure(senders: int, outbox: str | None) -> float:
    """Messages per second until all are acknowledged."""
    async with WebSocketServer(
        create_server_config(host="127.0.0.1", port=0, on_message=lambda message, metadata: None, log_level="ERROR")
    ) as server:
        config = create_client_config(
            f"ws://127.0.0.1:{server.port}/ws", "key_of_client", outbox_path=outbox, message_cache_max_size=MESSAGES
        )
        async with WebSocketClient(config) as client:
            await client.connect()
            begun = time.perf_counter()
            async with trio.open_nursery() as nursery:
                for _ in range(senders):
                    nursery.start_soon(send, client, MESSAGES // senders)
            while client.get_stats()["outbox_size"]:  # noqa: ASYNC110 - the last acks
                await trio.sleep(0.001)
            return MESSAGES / (time.perf_counter() - begun)


async def send(client: WebSocketClient, count: int) -> None:
    message = text_message("x" * 200)
    for _ in range(count):
        if not await client.send_message(message):
            raise AssertionError(client.get_last_error())


async def receive(identities: int, ordering: str, outbox: str | None) -> float:
    """Messages per second until the handlers of a server have ended for all that so many clients have sent."""
    config = create_server_config(
        host="127.0.0.1",
        port=0,
        on_message=lambda message, metadata: None,
        handler_ordering=ordering,
        outbox_path=outbox,
        log_level="ERROR",
    )
    async with WebSocketServer(config) as server, AsyncExitStack() as stack:
        clients = []
        for _ in range(identities):
            url = f"ws://127.0.0.1:{server.port}/ws"
            client = WebSocketClient(create_client_config(url, "key_of_client", send_timeout=600.0))
            clients.append(await stack.enter_async_context(client))
            await client.connect()
        begun = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for client in clients:
                for _ in range(SENDERS // identities):
                    nursery.start_soon(send, client, RECEIVED // SENDERS)
        while server.stats.messages_processed < RECEIVED:  # noqa: ASYNC110
            await trio.sleep(0.001)
        return RECEIVED / (time.perf_counter() - begun)


def main() -> None:
    """Prints one line per number of senders, and one per kind of receiver."""
    for senders in (1, 10, 50, 200):
        with tempfile.TemporaryDirectory() as folder:
            without = trio.run(measure, senders, None)
            durable = trio.run(measure, senders, str(Path(folder) / "outbox.db"))
        report(f"{senders} senders", without, durable)
    for ordering, identities in itertools.product(("concurrent", "per_connection"), (1, 10, 50)):
        with tempfile.TemporaryDirectory() as folder:
            without = trio.run(receive, identities, ordering, None)
            durable = trio.run(receive, identities, ordering, str(Path(folder) / "outbox.db"))
        report(f"received from {identities}, {ordering}", without, durable)


def report(what: str, without: float, durable: float) -> None:
    cost = (1 / durable - 1 / without) * 1e6
    print(f"{what}: {without:8,.0f}/s without, {durable:8,.0f}/s durable, {cost:6.0f} µs per message", flush=True)


if __name__ == "__main__":
    main()
