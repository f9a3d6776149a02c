"""What can be set on legacy servers and clients beside the arguments that maim_message has.

The names and their meaning are those of the API-Server's configurations; what the legacy protocol has no use for is not
there.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from maim_trio._runtime.checked import Checked, anything, flag, one_of, option, seconds, strings, text, whole
from maim_trio._runtime.config import level, upper
from maim_trio._transport.limits import Limits
from maim_trio._transport.tls import server_context
from maim_trio.errors import ConfigError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

__all__ = ["MODES", "ClientSettings", "ServerSettings", "Settings"]

MODES = ("ws", "tcp")
MAX_HEAD = 16 * 1024
"""Bytes of the head of a request or an answer."""


def _path(value: Any) -> str | None:
    return None if isinstance(value, str) and value.startswith("/") else "must be a string that begins with '/'"


def _free_of_app(value: Any) -> str | None:
    if value is None:
        return None
    return "cannot be used: asyncio's applications do not run on trio; leave it out, this server listens by itself"


@dataclasses.dataclass(kw_only=True)
class Settings(Checked):
    """What servers and clients have in common. Sizes are bytes, times seconds."""

    mode: str = option("ws", one_of(*MODES))
    max_message_size: int = option(104_857_600, whole(1024, 1 << 40))
    message_cache_max_bytes: int = option(64 * 1024 * 1024, whole(1))
    ping_interval: float = option(20.0, seconds())
    ping_timeout: float = option(10.0, seconds(0.001))
    close_timeout: float = option(10.0, seconds(0.001))
    shutdown_timeout: float = option(10.0, seconds())
    send_timeout: float = option(20.0, seconds(0.001))
    inbox_size: int = option(1000, whole(1))
    max_concurrent_handlers: int = option(1000, whole(1))
    max_concurrent_handlers_per_connection: int = option(100, whole(1))
    handler_timeout: float | None = option(None, seconds(0.001, optional=True))
    handler_ordering: str = option("concurrent", one_of("concurrent", "per_connection"))
    max_invalid_frames: int = option(100, whole(1))
    log_level: str = option("INFO", level, normalise=upper)
    enable_connection_log: bool = option(True, flag)
    enable_message_log: bool = option(True, flag)
    custom_logger: Any = option(None, anything, in_files=False)

    @property
    def first_timeout(self) -> float:
        """For the opening handshake."""
        raise NotImplementedError

    def limits(self) -> Limits:
        """The bounds of one connection."""
        return Limits(
            max_message=self.max_message_size,
            max_queued=self.message_cache_max_bytes,
            max_head=MAX_HEAD,
            handshake_timeout=self.first_timeout,
            send_timeout=self.send_timeout,
            close_timeout=self.close_timeout,
        )


@dataclasses.dataclass(kw_only=True)
class ServerSettings(Settings):
    """Everything about a `MessageServer`."""

    owner: ClassVar[str] = "MessageServer"

    host: str = option("0.0.0.0", text())  # noqa: S104 - maim_message's default
    port: int = option(18000, whole(0, 65535))
    enable_token: bool = option(False, flag)
    app: None = option(None, _free_of_app, in_files=False)
    path: str = option("/ws", _path)
    ssl_certfile: str | None = option(None, text(optional=True))
    ssl_keyfile: str | None = option(None, text(optional=True))
    enable_custom_uvicorn_logger: bool | None = option(False, anything)
    ping_timeout: float = option(20.0, seconds(0.001))
    handshake_timeout: float = option(10.0, seconds(0.001))
    max_connections: int = option(10_000, whole(1))
    allowed_origins: Sequence[str] | None = option(None, strings)

    @property
    def first_timeout(self) -> float:
        return self.handshake_timeout

    def problem(self) -> str | None:
        """One sentence about the first thing that keeps the server from being used, or None."""
        if self.ssl_keyfile and not self.ssl_certfile:
            return "ssl_keyfile needs ssl_certfile: the certificate that the key belongs to"
        if self.ssl_certfile and self.mode == "tcp":
            return "ssl_certfile cannot be used with mode 'tcp', which has no TLS"
        try:
            self.tls_context()
        except ConfigError as error:
            return str(error)
        return super().problem()

    def tls_context(self) -> ssl.SSLContext | None:
        """The TLS settings, None without TLS. Raises ConfigError for files that are missing or do not fit.

        Without `ssl_keyfile` the key is looked for in the file of the certificate.
        """
        if not self.ssl_certfile:
            return None
        keyfile = self.ssl_keyfile or self.ssl_certfile
        return server_context(certfile=self.ssl_certfile, keyfile=keyfile, ca_certs=None, verify_clients=False)


@dataclasses.dataclass(kw_only=True)
class ClientSettings(Settings):
    """Everything about a `MessageClient` but where it connects to."""

    owner: ClassVar[str] = "MessageClient"

    connect_timeout: float = option(10.0, seconds(0.001))
    reconnect_delay: float = option(1.0, seconds())
    max_reconnect_delay: float = option(30.0, seconds())
    reconnect_reset_after: float = option(10.0, seconds())
    message_cache_ttl: float = option(300.0, seconds(0.001))
    message_cache_max_size: int = option(1000, whole(1))

    @property
    def first_timeout(self) -> float:
        return self.connect_timeout
