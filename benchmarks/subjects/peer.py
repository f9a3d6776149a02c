"""maim_message's own server, its logging off. Runs under the interpreter of its own environment."""

import asyncio
import logging
import sys

from maim_message.server import WebSocketServer, create_server_config

logging.disable(logging.CRITICAL)
work, port, *tls = sys.argv[1:]


async def on_auth(metadata):
    return metadata["api_key"].startswith("k_")


async def on_auth_extract_user(metadata):
    return metadata["api_key"]


async def echo(message, metadata):
    await server.send_message(message)


async def fanout(message, metadata):
    for user in list(server.user_connections):
        message.message_dim.api_key = user
        await server.send_message(message)


async def main():
    global server
    options = {"ssl_enabled": True, "ssl_certfile": tls[0], "ssl_keyfile": tls[1]} if tls else {}
    config = create_server_config(
        host="127.0.0.1",
        port=int(port),
        on_auth=on_auth,
        on_auth_extract_user=on_auth_extract_user,
        on_message=fanout if work == "fanout" else echo,
        **options,
    )
    server = WebSocketServer(config)
    await server.start()
    await asyncio.Event().wait()


asyncio.run(main())
