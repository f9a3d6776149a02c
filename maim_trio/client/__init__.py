"""The API-Server's clients, with one connection and with many, and their configurations."""

from __future__ import annotations

from maim_trio.client._client import WebSocketClient
from maim_trio.client._config import ClientConfig, create_client_config, create_ssl_client_config
from maim_trio.client._connections import ConnectionEntry
from maim_trio.client._multi import WebSocketMultiClient
from maim_trio.client._multi_config import (
    MultiClientConfig,
    create_multi_client_config,
    create_multi_client_config_with_connections,
)
from maim_trio.message import APIMessageBase, BaseMessageInfo, MessageDim, Seg

__all__ = [
    "APIMessageBase",
    "BaseMessageInfo",
    "ClientConfig",
    "ConnectionEntry",
    "MessageDim",
    "MultiClientConfig",
    "Seg",
    "WebSocketClient",
    "WebSocketMultiClient",
    "create_client_config",
    "create_multi_client_config",
    "create_multi_client_config_with_connections",
    "create_ssl_client_config",
]
