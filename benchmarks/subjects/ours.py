"""maim_trio as users get it: `WebSocketServer`, hooks, an `async def on_message`."""

from __future__ import annotations

import argparse
import logging
from typing import Any

import trio

from maim_trio.message import APIMessageBase
from maim_trio.server import WebSocketServer, create_server_config

parser = argparse.ArgumentParser()
parser.add_argument("work")
parser.add_argument("port", type=int)
parser.add_argument("tls", nargs="*", help="certificate and key")
parser.add_argument("--log", help="write the log to this file, at the default level")
parser.add_argument("--outbox", help="keep a durable outbox in this file")
arguments = parser.parse_args()


async def on_auth(metadata: dict[str, Any]) -> bool:
    return str(metadata["api_key"]).startswith("k_")


def on_auth_extract_user(metadata: dict[str, Any]) -> str:
    return str(metadata["api_key"])


async def echo(message: APIMessageBase, metadata: dict[str, Any]) -> None:
    await server.send_message(message)


async def fanout(message: APIMessageBase, metadata: dict[str, Any]) -> None:
    await server.broadcast_message(message)


async def wait(message: APIMessageBase, metadata: dict[str, Any]) -> None:
    await trio.sleep(0.1)
    await server.send_message(message)


if arguments.log:
    logging.basicConfig(filename=arguments.log, level=logging.INFO)
options: dict[str, Any] = {}
if arguments.tls:
    options |= {"ssl_enabled": True, "ssl_certfile": arguments.tls[0], "ssl_keyfile": arguments.tls[1]}
server = WebSocketServer(
    create_server_config(
        host="127.0.0.1",
        port=arguments.port,
        on_auth=on_auth,
        on_auth_extract_user=on_auth_extract_user,
        on_message={"echo": echo, "fanout": fanout, "wait": wait}[arguments.work],
        outbox_path=arguments.outbox,
        **options,
    )
)
trio.run(server.run)
