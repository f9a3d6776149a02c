"""A server that stops in order: on Ctrl-C, and on SIGTERM, which service managers and `docker stop` send.

    python examples/graceful_shutdown.py            # on port 18040 until it is told to stop
    python examples/graceful_shutdown.py 9000       # on another port; 0 takes any free one

The first signal lets nobody new in and gives the handlers that run 10 seconds. A second one ends them at once.
"""

from __future__ import annotations

import signal
import sys
from typing import Any

import trio

from maim_trio.server import APIMessageBase, WebSocketServer, create_server_config


async def on_message(message: APIMessageBase, metadata: dict[str, Any]) -> None:
    """Work that should not be left half done: the text says how many seconds it takes."""
    seconds = float(message.message_segment.data)
    print(f"working {seconds:g} s for {metadata['platform']}", flush=True)
    try:
        await trio.sleep(seconds)
        print("work is done", flush=True)
    except trio.Cancelled:
        # Only after the second signal, or when the 10 seconds are over. Tidy up without waiting, and pass it on.
        print("work was broken off", flush=True)
        raise


def on_disconnect(_connection_uuid: str, metadata: dict[str, Any]) -> None:
    # Clients are told 1001, "going away": ours come back by themselves once there is a server again.
    print(f"connection closed with {metadata['close_code']}", flush=True)


async def stop_on_signal(server: WebSocketServer, scope: trio.CancelScope, *, task_status: Any) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()  # from here on Ctrl-C is ours
        number = await anext(signals)
        print(f"{signal.Signals(number).name}: stopping", flush=True)
        async with trio.open_nursery() as nursery:

            async def stop() -> None:
                await server.stop()  # returns when handlers and connections have ended, within its limits
                nursery.cancel_scope.cancel()

            nursery.start_soon(stop)
            await anext(signals)
            print("again: stopping now", flush=True)
            scope.cancel()


async def main(port: int) -> None:
    config = create_server_config(
        host="127.0.0.1",
        port=port,
        on_auth=lambda metadata: metadata["api_key"] == "test_key_123",
        on_message=on_message,
        on_disconnect=on_disconnect,
        shutdown_timeout=10.0,  # seconds for the handlers
        close_timeout=5.0,  # seconds for saying goodbye to clients that do not answer
    )
    server = WebSocketServer(config)
    async with trio.open_nursery() as nursery:
        await nursery.start(stop_on_signal, server, nursery.cancel_scope)
        await nursery.start(server.run)  # an OSError when the port is taken
        print(f"serving at ws://127.0.0.1:{server.port}{config.path}; Ctrl-C stops it", flush=True)
    print("stopped", flush=True)


if __name__ == "__main__":
    try:
        trio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 18040)
    except* OSError as group:  # the port is taken; what a nursery lets out comes in groups
        raise SystemExit("; ".join(map(str, group.exceptions))) from None
