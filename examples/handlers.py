"""What handlers may do: several things at once, blocking work, deadlines, and going wrong.

python examples/handlers.py             # server and client in one program, on a free port

Each message has its handler call, in a task of its own, so a handler does its work itself: it starts nothing that
outlives it, it may take its time, and what it raises is logged and harms nobody else.
"""

from __future__ import annotations

import time
from typing import Any

import trio

from maim_trio.client import WebSocketClient, create_client_config
from maim_trio.message import APIMessageBase, BaseMessageInfo, MessageDim, Seg
from maim_trio.server import WebSocketServer, create_server_config

API_KEY, PLATFORM = "key-of-alice", "qq"


def text_message(text: str) -> APIMessageBase:
    return APIMessageBase(
        message_info=BaseMessageInfo(platform=PLATFORM, message_id=f"id_{time.time_ns()}", time=time.time()),
        message_segment=Seg(type="text", data=text),
        message_dim=MessageDim(api_key=API_KEY, platform=PLATFORM),
    )


async def several_things_at_once() -> str:
    """asyncio.gather is a nursery here. It waits for all; when one fails the others are cancelled."""
    results: dict[str, int] = {}

    async def look_up(name: str, value: int) -> None:
        await trio.sleep(0.1)
        results[name] = value

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look_up, "weather", 18)
        nursery.start_soon(look_up, "traffic", 3)
    return f"{sorted(results.items())}"


def blocks() -> int:
    time.sleep(0.1)  # a database driver or a library that knows nothing of trio
    return 42


async def handle(text: str) -> str:
    match text:
        case "at once":
            return await several_things_at_once()
        case "blocking":
            # In a thread. Called directly, it would stop everything else: messages, pings, timeouts.
            return str(await trio.to_thread.run_sync(blocks))
        case "slow":
            with trio.fail_after(0.1):  # asyncio.wait_for; TooSlowError when the time is over
                await trio.sleep_forever()
        case "invalid":
            raise ValueError("there is no such thing")
    raise RuntimeError("a bug")


async def on_message(message: APIMessageBase, _metadata: dict[str, Any]) -> None:
    """Expected errors are answered. All others are left alone: the library logs them, with a traceback, and counts."""
    text = message.message_segment.data
    try:
        answer = await handle(text)
    except trio.TooSlowError:
        answer = "took too long, please try again"
    except ValueError as error:
        answer = f"invalid: {error}"
    await server.send_message(text_message(f"{text} -> {answer}"))


server = WebSocketServer(
    create_server_config(
        host="127.0.0.1",
        port=0,
        on_auth=lambda metadata: metadata["api_key"] == API_KEY,
        on_message=on_message,
        handler_timeout=30.0,  # for all handlers: who takes longer is cancelled
        log_level="CRITICAL",  # the traceback of "unexpected" would be logged
    )
)


async def main() -> None:
    async with server:
        config = create_client_config(f"ws://127.0.0.1:{server.port}/ws", API_KEY, platform=PLATFORM)
        async with WebSocketClient(config) as client:
            answers = client.messages()
            if not await client.connect():
                raise SystemExit(client.get_last_error())
            for text in ("at once", "blocking", "slow", "invalid", "unexpected"):
                await client.send_message(text_message(text))
            for _ in range(4):  # in the order in which the handlers finish
                print((await anext(answers))[0].message_segment.data)
        stats = server.get_stats()
        print(f"handled: {stats['messages_processed']}, failed: {stats['handler_errors']} ({stats['last_error']})")


if __name__ == "__main__":
    trio.run(main)
