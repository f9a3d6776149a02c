"""Servers and clients that are not made as they have to be: what was wrong, and what to do."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest

from maim_trio.client import MultiClientConfig, WebSocketClient, WebSocketMultiClient, create_client_config
from maim_trio.client_factory import create_multi_client
from maim_trio.errors import ConfigError
from maim_trio.server import ServerConfig, WebSocketServer

if TYPE_CHECKING:
    from collections.abc import Callable

SERVER = ServerConfig()
CLIENT = create_client_config("ws://127.0.0.1:1/ws", "a-key")
MANY = MultiClientConfig()
OF_SERVERS = ", as in WebSocketServer(create_server_config(port=18040))"
OF_CLIENTS = ", as in WebSocketClient(create_client_config(url, api_key))"
OF_MANY = ", as in WebSocketMultiClient(create_multi_client_config(connections={…}))"


@pytest.mark.parametrize(
    ("make", "arguments", "named", "said"),
    [
        (WebSocketServer, (), {"port": 1}, f"WebSocketServer takes port in its ServerConfig{OF_SERVERS}"),
        (WebSocketServer, (SERVER,), {"path": "/", "port": 1}, f"takes path, port in its ServerConfig{OF_SERVERS}"),
        (WebSocketServer, (), {"prot": 1}, "ServerConfig has no field prot; did you mean port?"),
        (WebSocketServer, ("127.0.0.1", 1), {}, f"WebSocketServer takes a ServerConfig, not str, int{OF_SERVERS}"),
        (WebSocketServer, (CLIENT,), {}, f"WebSocketServer takes a ServerConfig, not ClientConfig{OF_SERVERS}"),
        (WebSocketServer, (), {"config": {}}, f"WebSocketServer takes a ServerConfig, not dict{OF_SERVERS}"),
        (WebSocketServer, (SERVER, SERVER), {}, "WebSocketServer takes nothing but its ServerConfig without a name"),
        (WebSocketClient, (), {}, f"WebSocketClient takes a ClientConfig{OF_CLIENTS}"),
        (WebSocketClient, (None,), {}, f"WebSocketClient takes a ClientConfig, not NoneType{OF_CLIENTS}"),
        (WebSocketClient, ("ws://x", "k"), {}, f"WebSocketClient takes a ClientConfig, not str, str{OF_CLIENTS}"),
        (WebSocketClient, (SERVER,), {}, f"WebSocketClient takes a ClientConfig, not ServerConfig{OF_CLIENTS}"),
        (WebSocketClient, (CLIENT,), {"on_message": print}, f"takes on_message in its ClientConfig{OF_CLIENTS}"),
        (WebSocketMultiClient, (CLIENT,), {}, f"takes a MultiClientConfig, not ClientConfig{OF_MANY}"),
        (WebSocketMultiClient, (), {"connections": {}}, f"takes connections in its MultiClientConfig{OF_MANY}"),
        (WebSocketMultiClient, (MANY, CLIENT), {}, "its MultiClientConfig without a name: write default_config=…"),
    ],
)
def test_it_says_what_was_wrong_and_what_to_do(
    make: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        make(*arguments, **named)
    assert isinstance(caught.value, TypeError)
    assert str(caught.value).endswith(said)


@pytest.mark.parametrize("connections", ["ws://x", CLIENT, [("a", {})]])
def test_connections_that_are_no_dict_of_them(connections: Any) -> None:
    with pytest.raises(ConfigError, match="connections is not a dict of connections by name"):
        create_multi_client(connections)


def test_what_is_right_is_made() -> None:
    assert WebSocketServer().config == ServerConfig()
    assert WebSocketServer(config=SERVER).config is SERVER
    assert WebSocketClient(CLIENT).config is CLIENT
    assert WebSocketMultiClient(MANY, default_config=CLIENT).config is MANY


def test_the_signature_is_that_of_the_constructor() -> None:
    assert list(inspect.signature(WebSocketServer).parameters) == ["config"]
