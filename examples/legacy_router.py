"""The older half of maim_message: a router keeps a connection for each platform, each to a server of its own choice.

python examples/legacy_router.py        # two bots and the router in one program, on free ports
"""

from __future__ import annotations

import time
from typing import Any

import trio

from maim_trio import BaseMessageInfo, MessageBase, MessageServer, RouteConfig, Router, Seg, TargetConfig


def bot(name: str) -> MessageServer:
    """A bot that tells what it hears."""
    server = MessageServer("127.0.0.1", 0, log_level="ERROR")

    async def on_message(message: dict[str, Any]) -> None:
        message["message_segment"] = {"type": "text", "data": f"{name} got {message['message_segment']['data']!r}"}
        await server.broadcast_to_platform(message["message_info"]["platform"], message)

    server.register_message_handler(on_message)
    return server


def text(platform: str, words: str) -> MessageBase:
    info = BaseMessageInfo(platform=platform, message_id=f"id_{time.time_ns()}", time=time.time())
    return MessageBase(info, Seg("text", words))


async def main() -> None:
    send, heard = trio.open_memory_channel[str](10)

    async def on_message(message: dict[str, Any]) -> None:
        await send.send(f"{message['message_info']['platform']}: {message['message_segment']['data']}")

    async with bot("the old bot") as old, bot("the new bot") as new:
        old_url, new_url = (f"ws://127.0.0.1:{server.port}/ws" for server in (old, new))
        router = Router(RouteConfig({"qq": TargetConfig(old_url), "wechat": TargetConfig(old_url)}), log_level="ERROR")
        router.register_class_handler(on_message)
        async with router:
            for platform in ("qq", "wechat"):
                print("connect", platform, await router.connect(platform))
                await router.send_message(text(platform, "hello"))
                print("  " + await heard.receive())

            print("wechat moves, telegram comes, qq stays as it is")
            routes = {"qq": old_url, "wechat": new_url, "telegram": new_url}
            await router.update_config({"route_config": {name: {"url": url} for name, url in routes.items()}})
            for platform in routes:
                print("connect", platform, await router.connect(platform))
                await router.send_message(text(platform, "hello again"))
                print("  " + await heard.receive())
            connections = {name: stats["total_connections"] for name, stats in router.get_stats().items()}
            print("connections made:", connections)

            try:
                await router.send_message(text("discord", "anybody?"))
            except ValueError as error:
                print(error)


if __name__ == "__main__":
    trio.run(main)
