"""Listening sockets, on real addresses of this machine."""

from __future__ import annotations

import errno
import socket

import pytest
import trio

from maim_trio.server._listen import open_listeners


async def closed(listeners: list[trio.SocketListener]) -> list[trio.SocketListener]:
    for listener in listeners:
        await listener.aclose()
    return listeners


def ports(listeners: list[trio.SocketListener]) -> set[int]:
    return {listener.socket.getsockname()[1] for listener in listeners}


async def test_port_0_gives_one_free_port_on_all_addresses_of_a_host() -> None:
    for host in ("127.0.0.1", "localhost", ""):
        listeners = await open_listeners(host, 0)
        try:
            assert len(ports(listeners)) == 1
            assert 0 not in ports(listeners)
        finally:
            await closed(listeners)


async def test_a_client_gets_through() -> None:
    (listener,) = await open_listeners("127.0.0.1", 0)
    client = await trio.open_tcp_stream("127.0.0.1", ports([listener]).pop())
    accepted = await listener.accept()
    await accepted.send_all(b"hello")
    assert await client.receive_some() == b"hello"
    await client.aclose()
    await accepted.aclose()
    await listener.aclose()


async def test_a_taken_port_is_an_oserror_that_names_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=rf"127\.0\.0\.1, port {port}: .*in use") as caught:
            await open_listeners("127.0.0.1", port)
    assert caught.value.errno == errno.EADDRINUSE


async def test_an_address_of_another_machine_is_an_oserror_that_names_it() -> None:
    with pytest.raises(OSError, match=r"192\.0\.2\.1, port 0"):  # RFC 5737: nobody has this one
        await open_listeners("192.0.2.1", 0)
