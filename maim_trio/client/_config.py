"""The client's configuration."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from maim_trio._runtime.checked import (
    flag,
    knows_its_names,
    one_of,
    option,
    optional_flag,
    refuse_unknown,
    seconds,
    string_map,
    text,
    whole,
)
from maim_trio._runtime.config import CommonConfig
from maim_trio._transport.tls import client_context
from maim_trio.client._url import parse_url
from maim_trio.errors import ConfigError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping


def _url(value: Any) -> str | None:
    if not isinstance(value, str):
        return "must be a string"
    if not value:
        return None  # missing, which is not wrong yet
    try:
        parse_url(value)
    except ConfigError as error:
        return f"cannot be used: {error}"
    return None


@dataclasses.dataclass
class ClientConfig(CommonConfig):
    """Everything about a `WebSocketClient`. A wrong type or range raises `ConfigError` naming the field.

    Hooks, `custom_handlers` and the log flags may be assigned at any time and are read live; `url`, `api_key`,
    `platform` and `headers` are read at the next connect, the other fields when the client starts.

    Connection
        `url` (``ws://host:port/ws``) and `api_key` are required; `platform`; `connection_uuid` (None: made once per
        client, stable across reconnects); `headers` that the handshake carries in addition; `max_message_size` bytes.
    Reconnecting
        `auto_reconnect`; `max_reconnect_attempts` in a row (0 = no limit); `reconnect_delay` and
        `max_reconnect_delay` seconds, exponential with full jitter; the row begins anew once a connection has lived
        for `reconnect_reset_after` seconds.
    Times, in seconds
        `connect_timeout`, `ping_interval` (0 = never), `ping_timeout`, `close_timeout`, `shutdown_timeout`,
        `send_timeout`, `handler_timeout`.
    Callbacks
        `on_message(message, metadata)`, `custom_handlers`, `on_connect(connection_uuid, config)`,
        `on_disconnect(connection_uuid, error)`.
    Handlers, delivery and log
        as on the server.
    """

    section: ClassVar[str] = "client"

    url: str = option("", _url, secret=True)
    api_key: str = option("", text(), secret=True)
    platform: str = option("default", text())
    connection_uuid: str | None = option(None, text(optional=True))
    auto_reconnect: bool = option(True, flag)
    max_reconnect_attempts: int = option(5, whole(0))
    reconnect_delay: float = option(1.0, seconds())
    max_reconnect_delay: float = option(30.0, seconds())
    reconnect_reset_after: float = option(10.0, seconds())
    ping_timeout: float = option(10.0, seconds(0.001))
    connect_timeout: float = option(10.0, seconds(0.001))
    when_full: str = option("wait", one_of("refuse", "wait", "close"))
    headers: dict[str, str] = option({}, string_map, secret=True, normalise=dict)
    ssl_enabled: bool | None = option(None, optional_flag)
    ssl_verify: bool = option(True, flag)
    ssl_check_hostname: bool = option(True, flag)
    max_size: int | None = option(None, whole(1024, 1 << 40, optional=True))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_size is not None:  # an older name of the same thing
            self.max_message_size = self.max_size
        self._tls_by_url = self.ssl_enabled is None
        if self.ssl_enabled is None:
            self.ssl_enabled = self.url.startswith("wss://")

    def update(self, changes: Mapping[str, Any]) -> set[str]:
        """Sets all of `changes` or, with ConfigError (a ValueError), none. Returns the names that really changed."""
        follows = self._tls_by_url and self.ssl_enabled == self.url.startswith("wss://")
        changed = super().update(changes)
        if self.ssl_enabled is None or (follows and "ssl_enabled" not in changes):
            vars(self)["ssl_enabled"] = self.url.startswith("wss://")  # not as if somebody had set it
        if "max_size" in changed and self.max_size is not None:
            self.max_message_size = self.max_size
        return changed

    @property
    def uses_tls(self) -> bool:
        """Whether the connection is encrypted: by the URL, or because `ssl_enabled` says so."""
        return bool(self.ssl_enabled) or self.url.startswith("wss://")

    def tls_context(self) -> ssl.SSLContext:
        """The TLS settings of the next connection. Raises ConfigError for files that are missing or do not fit."""
        return client_context(
            ca_certs=self.ssl_ca_certs,
            certfile=self.ssl_certfile,
            keyfile=self.ssl_keyfile,
            verify=self.ssl_verify,
            check_hostname=self.ssl_check_hostname,
        )

    def problem(self) -> str | None:
        """One sentence about the first thing that keeps this configuration from being used, or None."""
        problem = super().problem()
        if problem is None and self.uses_tls:
            try:
                self.tls_context()
            except ConfigError as error:
                return str(error)
        return problem

    def get_missing_fields(self) -> set[str]:
        """The names of required fields that have no value yet."""
        return {name for name in ("url", "api_key") if not getattr(self, name)}


def create_ssl_client_config(
    url: str | None = None,
    api_key: str | None = None,
    *,
    host: str = "localhost",
    port: int = 18044,
    path: str = "/ws",
    **kwargs: Any,
) -> ClientConfig:
    """A `ClientConfig` for a TLS connection, from a URL or from `host`, `port` and `path`. ``ws://`` becomes ``wss://``.

    Raises ConfigError, also for unknown names.
    """
    refuse_unknown(ClientConfig, kwargs, also=("host", "port", "path"))
    if url is None:
        url = f"wss://{f'[{host}]' if ':' in host else host}:{port}{path}"
    elif url.startswith("ws://"):
        url = "wss://" + url.removeprefix("ws://")
    return ClientConfig(url=url, api_key=api_key or "", **{"ssl_enabled": True, **kwargs})


@knows_its_names(ClientConfig)
def create_client_config(url: str, api_key: str, **kwargs: Any) -> ClientConfig:
    """A `ClientConfig` from the two required values and keywords. Raises ConfigError, also for unknown names."""
    return ClientConfig(url=url, api_key=api_key, **kwargs)
