"""A handler that knows its limits: so many at work, so many waiting, urgent messages first, the rest is told "busy".

python examples/load_aware.py           # server and client in one program, on a free port

Every message has a handler of its own, at the same time as the others: up to `max_concurrent_handlers`. What they work
with (a database, a language model) can often do less at once. The limit for that belongs into the handler.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import trio

from maim_trio.client import WebSocketClient, create_client_config
from maim_trio.message import APIMessageBase, BaseMessageInfo, MessageDim, Seg
from maim_trio.server import WebSocketServer, create_server_config

API_KEY, PLATFORM = "key-of-alice", "qq"


def text_message(text: str, api_key: str = API_KEY, platform: str = PLATFORM) -> APIMessageBase:
    return APIMessageBase(
        message_info=BaseMessageInfo(platform=PLATFORM, message_id=f"id_{time.time_ns()}", time=time.time()),
        message_segment=Seg(type="text", data=text),
        message_dim=MessageDim(api_key=api_key, platform=platform),
    )


class LoadAwareHandler:
    """An object can be a handler, too. At most `at_work` messages are worked on at once, and `waiting` wait."""

    def __init__(self, at_work: int, waiting: int) -> None:
        self.limiter = trio.CapacityLimiter(at_work)
        self.urgent_limiter = trio.CapacityLimiter(1)  # a place of their own: they never wait behind the others
        self.waiting = waiting
        self.most_at_work = 0

    async def __call__(self, message: APIMessageBase, metadata: dict[str, Any]) -> None:
        text = message.message_segment.data
        limiter = self.urgent_limiter if "urgent" in text else self.limiter
        if limiter.statistics().tasks_waiting >= self.waiting:
            await answer(metadata, f"busy: {text}")  # at once, rather than late
            return
        async with limiter:
            self.most_at_work = max(self.most_at_work, self.limiter.borrowed_tokens)
            with trio.move_on_after(5) as scope:  # seconds; nothing may keep its place for ever
                await self.work(text)
            await answer(metadata, f"too slow: {text}" if scope.cancelled_caught else f"done: {text}")

    async def work(self, _text: str) -> None:
        await trio.sleep(0.1)


async def answer(metadata: dict[str, Any], text: str) -> None:
    await server.send_message(text_message(text, metadata["api_key"], metadata["platform"]))


handler = LoadAwareHandler(at_work=3, waiting=6)
server = WebSocketServer(
    create_server_config(
        host="127.0.0.1",
        port=0,
        on_auth=lambda metadata: metadata["api_key"] == API_KEY,
        on_message=handler,
        # What the library does by itself: beyond these, messages wait in the inbox of their client, then it is not
        # read any more until there is room. Nothing is lost, and one busy client does not starve the others.
        max_concurrent_handlers=200,
        max_concurrent_handlers_per_connection=50,
        inbox_size=1000,
    )
)


async def main() -> None:
    async with server:
        config = create_client_config(f"ws://127.0.0.1:{server.port}/ws", API_KEY, platform=PLATFORM)
        async with WebSocketClient(config) as client:
            answers = client.messages()
            if not await client.connect():
                raise SystemExit(client.get_last_error())
            for number in range(20):
                await client.send_message(text_message(f"message {number}"))
            await client.send_message(text_message("urgent message"))
            print("sent 20 messages and an urgent one, all at once")

            order = [(await anext(answers))[0].message_segment.data for _ in range(21)]
            counts = Counter(text.partition(":")[0] for text in order)
            print(f"done: {counts['done']}, busy: {counts['busy']}, at most {handler.most_at_work} at work")
            done = [text for text in order if text.startswith("done")]
            print("the urgent one was finished as number", done.index("done: urgent message") + 1, "of", len(done))


if __name__ == "__main__":
    trio.run(main)
