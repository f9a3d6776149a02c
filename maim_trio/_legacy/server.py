"""The legacy server's public face."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Literal

import trio

from maim_trio._legacy.codec import custom_message, encode
from maim_trio._legacy.host import Host
from maim_trio._legacy.message import MessageBase
from maim_trio._legacy.settings import ServerSettings
from maim_trio._wire.credentials import UNKNOWN_PLATFORM
from maim_trio.errors import InvalidMessage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from maim_trio._legacy.connection import LegacyConnection

__all__ = ["MessageServer"]

PLATFORMS_MISSED = 100
"""Platforms without a connection that are named in the log."""


class MessageServer(Host):
    """A server for legacy clients, each of which is the one connection of its platform.

    ::

        server = MessageServer(host="127.0.0.1", port=18000)
        server.register_message_handler(on_message)
        async with server:
            await trio.sleep_forever()

    ``await server.start(nursery)`` … ``await server.stop()``, ``trio.run(server.run)`` and ``server.run_sync()`` do the
    same. `mode`: ``"ws"``, or ``"tcp"``, which needs the extra ``maim-trio[tcp]``. With `enable_token` a client needs
    one of the tokens of `add_valid_token`. `ssl_certfile` and `ssl_keyfile` (None: the key is in `ssl_certfile`) make
    it speak TLS, in mode ``"ws"``. `custom_logger`: an object with `debug`, `info`, `warning`, `error`. Raises
    ConfigError for values that cannot work, and for an `app`, which would need asyncio; `enable_custom_uvicorn_logger`
    is without effect.

    `options`, as in `ServerConfig`: `allowed_origins`, `close_timeout`, `enable_connection_log`, `enable_message_log`,
    `handler_ordering`, `handler_timeout`, `handshake_timeout`, `inbox_size`, `log_level`, `max_concurrent_handlers`,
    `max_concurrent_handlers_per_connection`, `max_connections`, `max_invalid_frames`, `max_message_size`,
    `message_cache_max_bytes` (here: what may wait to be written to one connection), `ping_interval`, `ping_timeout`,
    `send_timeout`, `shutdown_timeout`.
    """

    def __init__(
        self,
        host: str = "0.0.0.0",  # noqa: S104 - as in maim_message
        port: int = 18000,
        enable_token: bool = False,
        app: None = None,
        path: str = "/ws",
        ssl_certfile: str | None = None,
        ssl_keyfile: str | None = None,
        mode: Literal["ws", "tcp"] = "ws",
        custom_logger: Any = None,
        enable_custom_uvicorn_logger: bool | None = False,
        **options: Any,
    ) -> None:
        super().__init__(
            ServerSettings(
                host=host,
                port=port,
                enable_token=enable_token,
                app=app,
                path=path,
                ssl_certfile=ssl_certfile,
                ssl_keyfile=ssl_keyfile,
                mode=mode,
                custom_logger=custom_logger,
                enable_custom_uvicorn_logger=enable_custom_uvicorn_logger,
                **options,
            )
        )
        self._missed: set[str] = set()

    # -- who may come in

    def add_valid_token(self, token: str) -> None:
        """From here on clients with this token are let in. Has an effect only with `enable_token`."""
        if not isinstance(token, str) or not token:
            raise ValueError("a token must be a non-empty string")
        self._tokens.add(token)

    def remove_valid_token(self, token: str) -> None:
        """From here on clients with this token are refused; those that are connected stay."""
        self._tokens.discard(token)

    async def verify_token(self, token: str) -> bool:
        """Whether a client with this token would be let in. Always without `enable_token`."""
        await trio.lowlevel.checkpoint()
        return not self.config.enable_token or token in self._tokens

    # -- sending

    async def send_message(self, message: MessageBase) -> bool:
        """Sends a message to the client of its `message_info.platform`.

        True: it was handed to the connection, which says nothing of what the client does with it. False: the platform
        has no connection, or one that took nothing for `send_timeout` seconds. Cancelled, it was not sent. Raises
        InvalidMessage for a message that cannot be encoded.
        """
        await self._send_checkpoint()
        if not isinstance(message, MessageBase):
            raise InvalidMessage(f"only a MessageBase can be sent, not {type(message).__name__}")
        payload = message.to_json()
        return await self._send_to(message.message_info.platform, payload)

    async def send_custom_message(self, platform: str, message_type_name: str, message: Mapping[str, Any]) -> bool:
        """Sends a custom message with the content `message` to the client of a platform. Otherwise like
        `send_message`."""
        await self._send_checkpoint()
        return await self._send_to(
            platform, encode(custom_message(platform, message_type_name, message, time.monotonic()))
        )

    async def broadcast_to_platform(self, platform: str, message: Mapping[str, Any]) -> bool:
        """Sends a plain dict to the client of a platform. Otherwise like `send_message`."""
        await self._send_checkpoint()
        return await self._send_to(platform, encode(message))

    async def broadcast_message(self, message: Mapping[str, Any]) -> None:
        """Sends a plain dict to every client, also to those that have not said their platform.

        Returns when all have taken it, or after `send_timeout` seconds, in which those that do not keep up lose it.
        Raises InvalidMessage for what is no JSON object.
        """
        await self._send_checkpoint()
        payload = encode(message)
        if not self.is_running():
            return
        async with trio.open_nursery() as nursery:
            for connection in self._platforms.all():
                if connection.send_nowait(payload) is False:
                    nursery.start_soon(connection.send, payload, self.config.send_timeout)

    def get_platforms(self) -> set[str]:
        """The platforms that are connected right now."""
        return {connection.platform for connection in self._platforms.named() if connection.link.closed is None}

    async def _send_to(self, platform: str | None, payload: bytes) -> bool:
        connection = self._connection_of(platform)
        return connection is not None and await connection.send(payload, self.config.send_timeout)

    def _connection_of(self, platform: str | None) -> LegacyConnection | None:
        """One WARNING per platform that is not there, until it is: most programs do not look at what sending says."""
        if not self.is_running():
            return None
        connection = self._platforms.get(platform) if platform is not None else None
        if connection is not None and connection.link.closed is not None:
            connection = None  # it is about to end
        name = platform if isinstance(platform, str) else UNKNOWN_PLATFORM
        if connection is not None:
            self._missed.discard(name)
        elif name not in self._missed and len(self._missed) < PLATFORMS_MISSED:
            self._missed.add(name)
            self.log.warning("a message for platform %s was not sent: no client of that platform is connected", name)
        return connection

    # -- running

    def run_sync(self) -> None:
        """Runs the server in an event loop of its own, ``trio.run(server.run)``, until Ctrl-C or `stop` ends it."""
        with contextlib.suppress(KeyboardInterrupt):
            trio.run(self.run)

    async def start_server(self) -> None:
        """Runs the server, like `run`; returns at once when it runs already."""
        if self.is_running():
            await trio.lowlevel.checkpoint()
        else:
            await self.run()
