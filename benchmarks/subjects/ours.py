"""maim_trio as users get it: `WebSocketServer`, hooks, an `async def on_message`."""

from __future__ import annotations

import sys
from typing import Any

import trio

from maim_trio.message import APIMessageBase
from maim_trio.server import WebSocketServer, create_server_config


async def on_auth(metadata: dict[str, Any]) -> bool:
    return str(metadata["api_key"]).startswith("k_")


def on_auth_extract_user(metadata: dict[str, Any]) -> str:
    return str(metadata["api_key"])


async def echo(message: APIMessageBase, metadata: dict[str, Any]) -> None:
    await server.send_message(message)


async def fanout(message: APIMessageBase, metadata: dict[str, Any]) -> None:
    await server.broadcast_message(message)


work, port, *tls = sys.argv[1:]
options: dict[str, Any] = {"ssl_enabled": True, "ssl_certfile": tls[0], "ssl_keyfile": tls[1]} if tls else {}
server = WebSocketServer(
    create_server_config(
        host="127.0.0.1",
        port=int(port),
        on_auth=on_auth,
        on_auth_extract_user=on_auth_extract_user,
        on_message=fanout if work == "fanout" else echo,
        **options,
    )
)
trio.run(server.run)
