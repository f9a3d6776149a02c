"""A legacy adapter and a bot on the API-Server, which talk through the bridge; neither knows of it.

python examples/bridge.py               # bot, bridge and adapter, on free ports

The bridge runs as its users start it, as a program of its own. The adapter is written for maim_message's legacy half:
on its wire nothing tells it from one that runs on maim_message and asyncio.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from maim_trio import BaseMessageInfo, GroupInfo, MessageBase, MessageClient, Seg, UserInfo
from maim_trio.message import APIMessageBase, ReceiverInfo
from maim_trio.server import AuthResult, WebSocketServer, create_server_config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PLATFORM, KEY, TOKEN = "qq", "key-of-the-qq-adapter", "token-of-the-adapters"


def bot() -> WebSocketServer:
    """A bot that answers whoever writes to it."""

    async def on_message(message: APIMessageBase, metadata: dict[str, Any]) -> None:
        info = message.message_info
        sender = info.sender_info
        name = sender.user_info.user_nickname if sender and sender.user_info else "somebody"
        print(f"bot: {name} says {message.message_segment.data!r}")
        # Back to where it came from: message_dim stays, and who sent it is now whom the answer is for.
        info.sender_info, info.receiver_info = None, sender and ReceiverInfo(sender.group_info, sender.user_info)
        message.message_segment = Seg("text", f"Hello, {name}!")
        await server.send_message(message)

    def on_auth(metadata: dict[str, Any]) -> AuthResult:
        return AuthResult(metadata["api_key"] == KEY, "qq-adapter")

    server = WebSocketServer(create_server_config(host="127.0.0.1", port=0, on_auth=on_auth, on_message=on_message))
    return server


@asynccontextmanager
async def bridge_to(api_url: str) -> AsyncIterator[str]:
    """A running bridge; gives the URL for adapters."""
    command = [sys.executable, "-m", "maim_trio", "bridge", "--platform", PLATFORM]
    command += ["--legacy", "ws://127.0.0.1:0/ws", "--api", api_url]
    secrets = {**os.environ, "MAIM_API_KEY": KEY, "MAIM_LEGACY_TOKEN": TOKEN}  # not where `ps` shows them
    process = await trio.lowlevel.open_process(command, env=secrets, stderr=subprocess.PIPE)
    assert process.stderr is not None
    try:
        yield await url_said_by(process.stderr)
    finally:
        process.terminate()  # SIGTERM: it ends in order
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 15):
            async for _ in process.stderr:  # what it says at its end
                pass
            print("bridge: ended with status", await process.wait())
            await process.stderr.aclose()


async def url_said_by(log: trio.abc.ReceiveStream) -> str:
    """Where the bridge listens, from its log: the port was for the system to choose."""
    said = b""
    async for chunk in log:
        said += chunk
        found = said.partition(b" ready for adapters of qq on port ")[2].partition(b"\n")
        if found[1]:
            return f"ws://127.0.0.1:{int(found[0])}/ws"
    raise SystemExit(said.decode())


async def main() -> None:
    answered = trio.Event()

    async def on_message(data: dict[str, Any]) -> None:
        message = MessageBase.from_dict(data)
        group = message.message_info.group_info
        print(f"adapter: for group {group.group_id if group else None}: {message.message_segment.data!r}")
        answered.set()

    adapter = MessageClient(log_level="ERROR")
    adapter.register_message_handler(on_message)
    async with bot() as server, bridge_to(f"ws://127.0.0.1:{server.port}/ws") as url, adapter:
        if not await adapter.connect(url, PLATFORM, TOKEN):
            raise SystemExit(adapter.get_last_error())
        user, group = UserInfo(PLATFORM, 10001, "Ann"), GroupInfo(PLATFORM, 20002)
        info = BaseMessageInfo(PLATFORM, 1, time.time(), group_info=group, user_info=user)
        await adapter.send_message(MessageBase(info, Seg("text", "Good morning")))
        with trio.fail_after(30):
            await answered.wait()


if __name__ == "__main__":
    trio.run(main)
