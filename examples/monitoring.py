"""How is the server doing? Numbers when you ask, numbers when they change, and the tree of its tasks.

python examples/monitoring.py           # a server under a little load, on a free port; it ends by itself
"""

from __future__ import annotations

import time
from typing import Any

import trio

from maim_trio.client import WebSocketClient, create_client_config
from maim_trio.message import APIMessageBase, BaseMessageInfo, MessageDim, Seg
from maim_trio.server import WebSocketServer, create_server_config

API_KEY, PLATFORM = "key-of-alice", "qq"
MANY_HANDLERS = 5  # for a server with work to do rather 1000


def text_message(text: str) -> APIMessageBase:
    return APIMessageBase(
        message_info=BaseMessageInfo(platform=PLATFORM, message_id=f"id_{time.time_ns()}", time=time.time()),
        message_segment=Seg(type="text", data=text),
        message_dim=MessageDim(api_key=API_KEY, platform=PLATFORM),
    )


async def watch(server: WebSocketServer, interval: float, high_load: trio.Event) -> None:
    """Looks every `interval` seconds. It is one task more in the program's nursery, and ends with it."""
    while True:
        stats = server.get_stats()
        busy = stats["active_handler_tasks"]
        users, connections = stats["current_users"], stats["current_connections"]
        print(f"watch: {users} users, {connections} connections, {busy} handlers at work")
        if busy > MANY_HANDLERS:
            print("watch: HIGH LOAD")
            high_load.set()
        await trio.sleep(interval)


def show_tasks(task: dict[str, Any], depth: int = 0) -> None:
    print("  " * depth + f"  {task['name']}")
    for child in task["children"]:
        show_tasks(child, depth + 1)


async def main() -> None:
    high_load, released, reported = trio.Event(), trio.Event(), trio.Event()

    async def on_message(message: APIMessageBase, _metadata: dict[str, Any]) -> None:
        if message.message_segment.data == "trouble":
            raise ValueError("this is what last_error will show")
        await released.wait()  # work that takes a while

    def on_stats(stats: dict[str, Any]) -> None:
        """Called every `stats_interval` seconds when something has changed. Give it to Prometheus, or whatever."""
        print(f"stats_callback: {stats['messages_received']} messages received, {stats['error_count']} errors")
        if stats["messages_processed"] == 10:
            reported.set()

    config = create_server_config(
        host="127.0.0.1",
        port=0,
        on_auth=lambda metadata: metadata["api_key"] == API_KEY,
        on_message=on_message,
        stats_callback=on_stats,
        stats_interval=0.1,  # 5 seconds unless you say otherwise
        log_level="CRITICAL",  # one handler fails on purpose, and its traceback would be logged
    )
    async with WebSocketServer(config) as server, trio.open_nursery() as nursery:
        nursery.start_soon(watch, server, 0.1, high_load)
        url = f"ws://127.0.0.1:{server.port}/ws"
        async with WebSocketClient(create_client_config(url, API_KEY, platform=PLATFORM)) as client:
            if not await client.connect():
                raise SystemExit(client.get_last_error())
            for text in [f"work {number}" for number in range(10)] + ["trouble"]:
                await client.send_message(text_message(text))
            await high_load.wait()
            status = server.get_coroutine_status()
            print(f"the tasks of the server, {status['active_handler_tasks']} of them handlers:")
            show_tasks(status["tasks"])
            released.set()
            await reported.wait()

            stats = server.get_stats()
            for name in ("messages_processed", "handler_errors", "last_error", "total_auth_requests", "uptime"):
                print(f"{name}: {stats[name]}")
            # Clients have the same: what they sent, and what of it was acknowledged.
            mine = client.get_stats()
            print(f"client: {mine['messages_sent']} sent, {mine['messages_acked']} acknowledged")
        nursery.cancel_scope.cancel()  # the end of watch()


if __name__ == "__main__":
    trio.run(main)
