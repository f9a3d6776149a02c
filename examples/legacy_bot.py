"""The older half of maim_message: a bot's server, and an adapter that is the platform qq for it.

python examples/legacy_bot.py           # both in one program, on a free port
"""

from __future__ import annotations

import time
from typing import Any

import trio

from maim_trio import BaseMessageInfo, GroupInfo, MessageBase, MessageClient, MessageServer, Seg, UserInfo

TOKEN = "token-of-the-qq-adapter"


class Bot:
    """What MaiBot is to its adapters."""

    def __init__(self, port: int = 0) -> None:
        self.server = MessageServer("127.0.0.1", port, enable_token=True, log_level="ERROR")
        self.server.add_valid_token(TOKEN)
        self.server.register_message_handler(self.on_message)
        self.server.register_custom_message_handler("poke", self.on_poke)

    async def on_message(self, plain: dict[str, Any]) -> None:
        """Legacy handlers get the message as a plain dict."""
        message = MessageBase.from_dict(plain)
        user = message.message_info.user_info
        print(f"bot: {user.user_nickname} says {message.message_segment.data!r}")
        answer = Seg("seglist", [Seg("reply", message.message_info.message_id), Seg("text", "Hello from the bot!")])
        # user_info and group_info say where it is to go: what comes from a platform already has them.
        if not await self.server.send_message(MessageBase(message.message_info, answer)):
            print("bot: the answer was not sent, the platform has gone")

    async def on_poke(self, message: dict[str, Any]) -> None:
        print(f"bot: poked by {message['content']['user_id']} on {message['platform']}")
        await self.server.send_custom_message(message["platform"], "poke_back", message["content"])


class Adapter:
    """What stands between a platform and the bot."""

    def __init__(self) -> None:
        self.client = MessageClient(log_level="CRITICAL")  # one token below is wrong on purpose
        self.client.register_message_handler(self.on_message)
        self.client.register_custom_message_handler("poke_back", self.on_poke_back)
        self._answers, self._heard = trio.open_memory_channel[str](10)

    async def on_message(self, message: dict[str, Any]) -> None:
        kinds = [segment["type"] for segment in message["message_segment"]["data"]]
        await self._answers.send(f"adapter: an answer of {' and '.join(kinds)} for group {self.group_of(message)}")

    async def on_poke_back(self, message: dict[str, Any]) -> None:
        await self._answers.send(f"adapter: {message['content']['user_id']} is poked back")

    def group_of(self, message: dict[str, Any]) -> str:
        return message["message_info"]["group_info"]["group_id"]

    async def show_answer(self) -> None:
        with trio.fail_after(10):
            print(await self._heard.receive())


def from_platform(text: str) -> MessageBase:
    info = BaseMessageInfo(
        platform="qq",
        message_id=f"id_{time.time_ns()}",
        time=time.time(),
        user_info=UserInfo("qq", "10001", "Ming"),
        group_info=GroupInfo("qq", "20002", "a group"),
    )
    return MessageBase(info, Seg("text", text))


async def main() -> None:
    bot, adapter = Bot(), Adapter()
    async with adapter.client as client:
        async with bot.server:
            port = bot.server.port
            url = f"ws://127.0.0.1:{port}/ws"
            if not await client.connect(url, "qq", "a-wrong-token"):
                print("adapter:", client.get_last_error())
            print("adapter: connected:", await client.connect(url, "qq", TOKEN))

            await client.send_message(from_platform("Hello, bot!"))
            await adapter.show_answer()
            await client.send_custom_message("poke", {"user_id": "10001"})
            await adapter.show_answer()

        # The bot is away. What is sent meanwhile is kept, and leaves first when there is a bot again.
        print("adapter: kept:", await client.send_message(from_platform("Are you there?")))
        async with Bot(port).server:
            await adapter.show_answer()


if __name__ == "__main__":
    try:
        trio.run(main)
    except* KeyboardInterrupt:  # Ctrl-C, wherever it has met the program: all connections are closed by now
        print("interrupted")
