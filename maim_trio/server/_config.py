"""The server's configuration."""

from __future__ import annotations

import dataclasses
import ipaddress
from typing import TYPE_CHECKING, Any, ClassVar

from maim_trio._runtime.checked import flag, hook, one_of, option, seconds, strings, text, whole
from maim_trio._runtime.config import CommonConfig
from maim_trio._transport.tls import server_context
from maim_trio.errors import ConfigError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from maim_trio._runtime.hooks import Handler


def _path(value: Any) -> str | None:
    return None if isinstance(value, str) and value.startswith("/") else "must be a string that begins with '/'"


@dataclasses.dataclass
class ServerConfig(CommonConfig):
    """Everything about a `WebSocketServer`. A wrong type or range raises `ConfigError` naming the field.

    Hooks, `custom_handlers` and the log flags may be assigned at any time and are read live; the other fields are
    read when the server starts. Every callback may be a coroutine function, a plain function, or any callable.

    Network
        `host`, `port` (0 = any free one, see `WebSocketServer.port`), `path`;
        `max_message_size` bytes; `max_connections`, `max_connections_per_user` (None = no limit of its own);
        `allowed_origins`: the web pages that may connect, e.g. ``["https://chat.example"]``. None lets every page in
        that brings a valid key, and only pages of this very host when nobody is authenticated.
    Callbacks
        `on_auth(metadata)` → bool or `AuthResult`, `on_auth_extract_user(metadata)` → user id, both together within
        `auth_timeout` seconds; `on_message(message, metadata)`; `on_connect(uuid, metadata)`,
        `on_disconnect(uuid, metadata)`; `custom_handlers` by type.
    Times, in seconds
        `handshake_timeout`, `auth_timeout`, `ping_interval` (0 = never), `ping_timeout`, `close_timeout`,
        `shutdown_timeout`, `send_timeout` (a peer that takes no byte for so long is cut off), `handler_timeout`.
    Handlers
        `max_concurrent_handlers`, `max_concurrent_handlers_per_connection`, `handler_ordering` (``"concurrent"`` or
        ``"per_connection"``), `inbox_size` messages per identity, `max_invalid_frames` per minute and connection.
    Delivery
        `enable_message_cache`; `message_cache_ttl` seconds, for messages and for clients that are away;
        `message_cache_max_size` messages and `message_cache_max_bytes` bytes per client; `when_full` (``"refuse"``,
        ``"wait"`` up to `send_timeout`, ``"close"``); `outbox_path`, a file in which they survive the process;
        `on_undelivered(envelope, reason)` for each message that is given up.
    Log
        `log_level`, `enable_connection_log`, `enable_message_log` (ids, sizes and types at DEBUG), `custom_logger`.
    """

    section: ClassVar[str] = "server"

    host: str = option("0.0.0.0", text())  # noqa: S104 - the documented default
    port: int = option(18000, whole(0, 65535))
    path: str = option("/ws", _path)
    on_auth: Handler | None = option(None, hook, in_files=False)
    on_auth_extract_user: Handler | None = option(None, hook, in_files=False)
    allowed_origins: Sequence[str] | None = option(None, strings)
    max_connections: int = option(10_000, whole(1))
    max_connections_per_user: int | None = option(None, whole(1, optional=True))
    max_invalid_frames: int = option(100, whole(1))
    handshake_timeout: float = option(10.0, seconds(0.001))
    auth_timeout: float = option(8.0, seconds(0.001))
    ping_timeout: float = option(20.0, seconds(0.001))
    when_full: str = option("refuse", one_of("refuse", "wait", "close"))
    ssl_enabled: bool = option(False, flag)
    ssl_verify: bool = option(False, flag)

    def get_missing_fields(self) -> set[str]:
        """The names of required fields that have no value yet."""
        needed = {"ssl_certfile", "ssl_keyfile"} if self.ssl_enabled else set()
        if self.ssl_enabled and self.ssl_verify:
            needed.add("ssl_ca_certs")
        return {name for name in needed if not getattr(self, name)}

    def tls_context(self) -> ssl.SSLContext:
        """The TLS settings of the server. Raises ConfigError for files that are missing or do not fit."""
        return server_context(
            certfile=self.ssl_certfile or "",
            keyfile=self.ssl_keyfile or "",
            ca_certs=self.ssl_ca_certs,
            verify_clients=self.ssl_verify,
        )

    def problem(self) -> str | None:
        """One sentence about the first thing that keeps this configuration from being used, or None."""
        problem = super().problem()
        if problem is None and self.ssl_enabled:
            try:
                self.tls_context()
            except ConfigError as error:
                return str(error)
        return problem

    def is_loopback(self) -> bool:
        """Whether only programs on this machine can reach `host`."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine can reach a server that listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def create_server_config(**kwargs: Any) -> ServerConfig:
    """A `ServerConfig` from keywords. Raises ConfigError for wrong values and unknown names."""
    return ServerConfig(**kwargs)


def create_ssl_server_config(
    host: str = "0.0.0.0",  # noqa: S104 - the documented default
    port: int = 18044,
    ssl_certfile: str | None = None,
    ssl_keyfile: str | None = None,
    **kwargs: Any,
) -> ServerConfig:
    """A `ServerConfig` for a TLS server. The files are looked at by `validate()` and when a server is made of it."""
    return ServerConfig(
        host=host, port=port, ssl_enabled=True, ssl_certfile=ssl_certfile, ssl_keyfile=ssl_keyfile, **kwargs
    )
