"""The API-Server: `WebSocketServer` and its configuration, and all of `maim_trio.message`."""

from __future__ import annotations

from maim_trio.message import *  # noqa: F403
from maim_trio.message import __all__ as _message_names
from maim_trio.server._auth import AuthResult
from maim_trio.server._config import ServerConfig, create_server_config, create_ssl_server_config
from maim_trio.server._manager import ConfigManager, get_config_manager
from maim_trio.server._server import WebSocketServer

__all__ = [
    "AuthResult",
    "ConfigManager",
    "ServerConfig",
    "WebSocketServer",
    "create_server_config",
    "create_ssl_server_config",
    "get_config_manager",
    *_message_names,
]
