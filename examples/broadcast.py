"""One message for many: everybody, everybody on a platform, everything that one user has open.

python examples/broadcast.py            # server and three clients in one program, on a free port
"""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from typing import Any

import trio

from maim_trio.client import WebSocketClient, create_client_config
from maim_trio.message import APIMessageBase, BaseMessageInfo, MessageDim, Seg
from maim_trio.server import AuthResult, WebSocketServer, create_server_config

# Alice is there twice: one user, two platforms, two connections.
CLIENTS = [("alice", "wechat"), ("alice", "qq"), ("bob", "qq")]


def announcement(text: str) -> APIMessageBase:
    return APIMessageBase(
        message_info=BaseMessageInfo(platform="server", message_id=f"id_{time.time_ns()}", time=time.time()),
        message_segment=Seg(type="text", data=text),
        # A broadcast goes to everybody, whatever stands here. It must not be empty, though.
        message_dim=MessageDim(api_key="server", platform="server"),
    )


class Listeners:
    """The clients, and a count of what they have received."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[str](100)

    async def connect(self, user: str, platform: str, url: str, stack: AsyncExitStack) -> None:
        async def on_message(message: APIMessageBase, _metadata: dict[str, Any]) -> None:
            await self._send.send(f"{user} on {platform}: {message.message_segment.data}")

        async def on_notice(payload: dict[str, Any]) -> None:
            await self._send.send(f"{user} on {platform}: notice, {payload['text']}")

        config = create_client_config(url, f"key-of-{user}", platform=platform, on_message=on_message)
        config.register_custom_handler("notice", on_notice)
        client = await stack.enter_async_context(WebSocketClient(config))
        if not await client.connect():
            raise SystemExit(client.get_last_error())

    async def show(self, results: dict[str, bool]) -> None:
        """What sending returned: connection id -> handed over? And then what really arrived."""
        print(f"  handed over to {sum(results.values())} of {len(results)} connections")
        with trio.fail_after(10):
            for line in sorted([await self._receive.receive() for _ in results]):
                print("  " + line)


def on_auth(metadata: dict[str, Any]) -> AuthResult:
    return AuthResult(True, metadata["api_key"].removeprefix("key-of-"))  # a real server asks a database


async def main() -> None:
    listeners = Listeners()
    async with (
        WebSocketServer(create_server_config(host="127.0.0.1", port=0, on_auth=on_auth)) as server,
        AsyncExitStack() as stack,  # closes the clients, however many there are
    ):
        for user, platform in CLIENTS:
            await listeners.connect(user, platform, f"ws://127.0.0.1:{server.port}/ws", stack)
        print(f"{server.get_user_count()} users, {server.get_connection_count()} connections")

        print("to everybody")
        await listeners.show(await server.broadcast_message(announcement("Welcome!")))
        print("to everybody on qq")
        await listeners.show(await server.broadcast_message(announcement("Hello, QQ"), platform="qq"))
        print("a custom message to everybody")
        await listeners.show(await server.broadcast_custom_message("notice", {"text": "maintenance at noon"}))
        print("a custom message to all that alice has open")
        await listeners.show(await server.send_custom_message("notice", {"text": "for you"}, target_user="alice"))
        print("to everybody on telegram, where nobody is")
        await listeners.show(await server.broadcast_message(announcement("Anybody?"), platform="telegram"))


if __name__ == "__main__":
    trio.run(main)
