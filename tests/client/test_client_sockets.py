"""A client on real sockets: what memory streams cannot show."""

from __future__ import annotations

import socket
import struct

import pytest
import trio

from maim_trio.client import ClientConfig, WebSocketClient
from maim_trio.server import ServerConfig, WebSocketServer
from tests.client.raw import Peer
from tests.memory import text_message

KEY = "topsecret42"


def make_client(port, **config):
    quick = {"connect_timeout": 0.2, "reconnect_delay": 0.01, "max_reconnect_delay": 0.05, "max_reconnect_attempts": 0}
    return WebSocketClient(ClientConfig(f"ws://127.0.0.1:{port}/ws", KEY, **{**quick, **config}))


@pytest.fixture
def port():
    """A port that is free: it was bound a moment ago."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


async def test_a_server_that_comes_later_is_found(port):
    with trio.fail_after(10):
        async with make_client(port) as client:
            assert await client.connect() is False
            assert "refused" in client.get_last_error()
            async with WebSocketServer(ServerConfig(host="127.0.0.1", port=port)) as server:
                await client.wait_connected()
                assert server.get_connection_count() == 1
                assert await client.send_message(text_message())


async def test_a_server_that_restarts_is_found_again(port):
    config = ServerConfig(host="127.0.0.1", port=port)
    lost = trio.Event()
    with trio.fail_after(10):
        async with make_client(port, connect_timeout=5.0, on_disconnect=lambda *_: lost.set()) as client:
            async with WebSocketServer(config) as server:
                assert await client.connect()
                uuid = client.get_connection_uuid()
                assert set(server.get_connections()) == {uuid}
            await lost.wait()
            async with WebSocketServer(config) as server:
                await client.wait_connected()
                assert set(server.get_connections()) == {uuid}


async def test_a_reset_of_an_open_connection_is_followed_by_another(nursery):
    count, errors = 0, []

    async def resets_the_first(stream):
        nonlocal count
        count += 1
        peer = Peer(stream)
        await peer.accept()
        if count == 1:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            stream.socket.close()
        else:
            await peer.serve()

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, resets_the_first, listeners)
    port = listeners[0].socket.getsockname()[1]
    lost = trio.Event()

    def on_disconnect(_uuid, error):
        errors.append(error)
        lost.set()

    with trio.fail_after(10):
        async with make_client(port, connect_timeout=5.0, on_disconnect=on_disconnect) as client:
            await client.connect()
            await lost.wait()
            await client.wait_connected()
            assert "lost" in errors[0]
            assert await client.send_message(text_message())
    nursery.cancel_scope.cancel()


async def test_a_name_that_does_not_exist():
    config = ClientConfig("ws://nonexistent.invalid/ws", KEY, connect_timeout=0.3, auto_reconnect=False)
    async with WebSocketClient(config) as client:
        assert await client.connect() is False
        assert "could not be reached" in client.get_last_error()
        assert KEY not in client.get_last_error()
