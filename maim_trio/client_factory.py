"""The factories for clients and their configurations, under the import path of the reference documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from maim_trio._runtime.checked import knows_its_names
from maim_trio.client import (
    ClientConfig,
    ConnectionEntry,
    WebSocketClient,
    WebSocketMultiClient,
    create_client_config,
    create_multi_client_config,
    create_multi_client_config_with_connections,
    create_ssl_client_config,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "create_client",
    "create_client_config",
    "create_multi_client",
    "create_multi_client_config",
    "create_multi_client_config_with_connections",
    "create_ssl_client_config",
]


@knows_its_names(ClientConfig)
def create_client(url: str, api_key: str, **kwargs: Any) -> WebSocketClient:
    """A `WebSocketClient` with a new `ClientConfig` of these values. Raises ConfigError for wrong ones."""
    return WebSocketClient(create_client_config(url, api_key, **kwargs))


def create_multi_client(
    connections: Mapping[str, Mapping[str, Any] | ConnectionEntry] | None = None, **kwargs: Any
) -> WebSocketMultiClient:
    """A `WebSocketMultiClient` with a new `MultiClientConfig` of these values. Raises ConfigError for wrong ones."""
    given = {} if connections is None else connections
    return WebSocketMultiClient(create_multi_client_config_with_connections(given, **kwargs))
