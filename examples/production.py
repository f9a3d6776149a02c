"""A server as it might run in production: configuration from a file and the environment, limits, a quiet log.

    python examples/production.py                           # with production.toml beside it
    python examples/production.py /etc/chat/server.toml     # with another file
    MAIM_PORT=9000 python examples/production.py            # a variable MAIM_<FIELD> wins over the file

It runs until SIGTERM or Ctrl-C. It prints where it serves; everything else goes into the log.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import signal
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import trio

from maim_trio.errors import ConfigError
from maim_trio.message import APIMessageBase, BaseMessageInfo, MessageDim, Seg
from maim_trio.server import AuthResult, ServerConfig, WebSocketServer

logger = logging.getLogger("production")


def load(path: Path) -> tuple[ServerConfig, dict[str, dict[str, str]]]:
    """The table [server] of the file, and over it what the environment says; and the table [users].

    ConfigError names what is wrong with the configuration, and where.
    """
    config = ServerConfig.from_toml(path)
    from_env = ServerConfig.from_env()
    names = [field.name for field in dataclasses.fields(config) if f"MAIM_{field.name.upper()}" in os.environ]
    config.update({name: getattr(from_env, name) for name in names})
    return config, tomllib.loads(path.read_text(encoding="utf-8"))["users"]


class Chat:
    """What this server does: the callbacks, and what they need to know."""

    def __init__(self, config: ServerConfig, users: dict[str, dict[str, str]]) -> None:
        self.by_digest = {user["sha256"]: (name, user["tier"]) for name, user in users.items()}
        config.on_auth = self.on_auth
        config.on_message = self.on_message
        self.server = WebSocketServer(config)

    async def on_auth(self, metadata: dict[str, Any]) -> AuthResult:
        """Asked before a client is let in. What it raises is told to nobody but the log; the client gets HTTP 500."""
        digest = hashlib.sha256(metadata["api_key"].encode()).hexdigest()
        if digest not in self.by_digest:
            # Never log a key, not even a wrong one: it may be a right one with a typing error.
            logger.warning("wrong key from %s (%s)", metadata["client_ip"], metadata["user_agent"])
            return AuthResult(False, error_message="ask the administrator for a key")
        name, tier = self.by_digest[digest]
        return AuthResult(True, f"prod_{tier}_{name}")

    async def on_message(self, message: APIMessageBase, metadata: dict[str, Any]) -> None:
        """Each call is a task of its own; `handler_timeout` bounds it, and what it raises harms nobody else."""
        text = message.message_segment.data
        if message.message_segment.type != "text" or not text.strip():
            await self.reply(metadata, "send me text")
        elif not text.startswith("/"):
            await self.reply(metadata, f"you said: {text}")
        elif metadata["user_id"].startswith("prod_premium_"):
            await self.command(text, metadata)
        else:
            logger.warning("%s may not use commands", metadata["user_id"])
            await self.reply(metadata, "commands are for premium users")

    async def command(self, text: str, metadata: dict[str, Any]) -> None:
        try:
            if text == "/status":
                stats = self.server.get_stats()
                await self.reply(metadata, f"{stats['current_users']} users, {stats['messages_received']} messages")
            else:
                raise ValueError(f"unknown command {text.split()[0]}")
        except ValueError as error:  # what the user did wrong the user is told; everything else is for the log alone
            await self.reply(metadata, str(error))

    async def reply(self, metadata: dict[str, Any], text: str) -> None:
        message = APIMessageBase(
            message_info=BaseMessageInfo(platform="chat", message_id=f"id_{time.time_ns()}", time=time.time()),
            message_segment=Seg(type="text", data=text),
            message_dim=MessageDim(api_key=metadata["api_key"], platform=metadata["platform"]),
        )
        await self.server.send_message(message)


async def main(path: Path) -> None:
    config, users = load(path)
    chat = Chat(config, users)
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with chat.server as server:
            print(f"serving at ws://{config.host}:{server.port}{config.path}", flush=True)
            await anext(signals)
    print("stopped", flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s - %(name)s - %(levelname)s - %(message)s")
    try:
        trio.run(main, Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("production.toml"))
    except ConfigError as error:
        sys.exit(f"configuration: {error}")
