"""The legacy client: one connection, as one platform."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

import trio

from maim_trio._legacy.codec import custom_message, encode
from maim_trio._legacy.core import ClientCore
from maim_trio._legacy.dial import make_target
from maim_trio._legacy.message import MessageBase
from maim_trio._legacy.settings import ClientSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MessageClient"]


class MessageClient(ClientCore):
    """A client that is one platform for a legacy server, and that keeps its connection.

    ::

        client = MessageClient()
        client.register_message_handler(on_message)
        async with client:
            if not await client.connect("ws://127.0.0.1:18000/ws", platform="qq"):
                raise SystemExit(client.get_last_error())
            await client.send_message(message)

    ``await client.start(nursery)`` … ``await client.stop()`` and, after `connect`, ``await client.run()`` do the same.
    `mode` is accepted and not needed: the URL says it. `custom_logger`: an object with `debug`, `info`, `warning`,
    `error`. Raises ConfigError for values that cannot work.

    `options`, as in `ClientConfig`: `close_timeout`, `connect_timeout`, `enable_connection_log`, `enable_message_log`,
    `handler_ordering`, `handler_timeout`, `inbox_size`, `log_level`, `max_concurrent_handlers`,
    `max_concurrent_handlers_per_connection`, `max_invalid_frames`, `max_message_size`, `max_reconnect_delay`,
    `message_cache_max_bytes`, `message_cache_max_size`, `message_cache_ttl` (what is kept to be sent while there is no
    connection), `ping_interval`, `ping_timeout`, `reconnect_delay`, `reconnect_reset_after`, `send_timeout`,
    `shutdown_timeout`.
    """

    def __init__(self, mode: Literal["ws", "tcp"] = "ws", custom_logger: Any = None, **options: Any) -> None:
        super().__init__(ClientSettings(mode=mode, custom_logger=custom_logger, **options))

    # -- connecting

    @property
    def platform(self) -> str | None:
        """What `connect` was told; None before."""
        target = self._keeper.target
        return target.platform if target is not None else None

    async def connect(
        self, url: str, platform: str, token: str | None = None, ssl_verify: str | bool | None = None
    ) -> bool:
        """Says where to connect to and as which platform; a client that runs does it now and returns whether it has.

        Before `start` or `run` this returns False, and they connect. A client that runs tries for `connect_timeout`
        seconds, and is at once False when the server refuses it; `get_last_error` says why. Attempts go on in the
        background in either case, until it is stopped. A connection to another server or as another platform is closed.

        `ssl_verify`, for ``wss://``: the path of a CA file, None or True for the system's authorities, False to trust
        everybody. Raises ConfigError for values that cannot work. Cancelling it leaves the attempts to the background.
        """
        return await self.connect_to(make_target(url, platform, token, ssl_verify))

    def get_last_error(self) -> str | None:
        """Why it is not connected, in a sentence; None while it is, or before anything went wrong."""
        return None if self.is_connected() else self._keeper.last_error

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        """Keeps the connection that `connect` has described until `stop()` is called or it is cancelled.

        ``await nursery.start(client.run)`` returns the client once it runs. Raises NotRunning, a RuntimeError, when
        `connect` was not called before.
        """
        self._raise_aimless()
        await super().run(task_status=task_status)

    # -- sending

    async def send_message(self, message: Mapping[str, Any] | MessageBase) -> bool:
        """Sends a message to the server: a plain dict, or a MessageBase.

        True: it was handed to the connection or, while there is none, is kept to be sent first thing, for
        `message_cache_ttl` seconds. This protocol has no acknowledgements, so what was handed to a connection that then
        breaks may be lost. False: the client does not run, or no more is kept (`message_cache_max_size` messages,
        `message_cache_max_bytes` bytes); while connected it waits up to `send_timeout` seconds for room first.

        Cancelled, it was not sent. Raises InvalidMessage for what cannot be encoded, and NotRunning, a RuntimeError,
        before `connect`.
        """
        await self._send_checkpoint()
        self._raise_aimless()
        return await self._send(message.to_json() if isinstance(message, MessageBase) else encode(message))

    async def send_custom_message(self, message_type_name: str, message: Mapping[str, Any]) -> bool:
        """Sends a custom message with the content `message`. Otherwise like `send_message`."""
        await self._send_checkpoint()
        target = self._raise_aimless()
        return await self._send(encode(custom_message(target.platform, message_type_name, message, time.monotonic())))
