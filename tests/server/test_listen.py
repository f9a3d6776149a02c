"""Listening sockets, on real addresses of this machine."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

import pytest
import trio
import trio.testing

from maim_trio.server._listen import AT_ONCE, open_listeners, serve
from tests.memory import MemoryListener


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


class Served:
    """What `serve` hands over."""

    def __init__(self) -> None:
        self.addresses: list[Any] = []
        self.streams: list[Any] = []
        self.said: list[str] = []
        self.came, self.told = trio.Event(), trio.Event()

    async def handle(self, stream: Any, address: Any) -> None:
        self.streams.append(stream)
        self.addresses.append(address)
        self.came.set()

    def report(self, text: str, *words: str) -> None:
        self.said.append(text % words)
        self.told.set()


async def test_whoever_has_come_is_served_with_the_address_it_has(nursery: trio.Nursery) -> None:
    (listener,), served = await open_listeners("127.0.0.1", 0), Served()
    port, count = ports([listener]).pop(), 2 * AT_ONCE + 1
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    nursery.start_soon(serve, [listener], served.handle, nursery, served.report)
    while len(served.streams) < count:
        await trio.lowlevel.checkpoint()
    assert sorted(served.addresses) == sorted(client.getsockname() for client in clients)
    assert served.addresses == [stream.socket.getpeername() for stream in served.streams]
    for client, stream in zip(clients, served.streams, strict=True):
        client.close()
        await stream.aclose()


async def test_when_it_is_cancelled_nobody_listens_any_more(nursery: trio.Nursery) -> None:
    (listener,), served = await open_listeners("127.0.0.1", 0), Served()
    port = ports([listener]).pop()
    with trio.CancelScope() as scope:
        scope.cancel()
        await serve([listener], served.handle, nursery, served.report)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port))


async def test_a_listener_without_sockets_has_no_addresses(nursery: trio.Nursery) -> None:
    listener, served = MemoryListener(), Served()
    nursery.start_soon(serve, [listener], served.handle, nursery, served.report)
    listener.connect()
    await served.came.wait()
    assert served.addresses == [None]


@pytest.mark.skipif(os.name != "posix", reason="limits of open files are POSIX's")
async def test_without_room_for_another_socket_it_says_so_and_goes_on(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    import resource

    (listener,), served = await open_listeners("127.0.0.1", 0), Served()
    client = socket.create_connection(("127.0.0.1", ports([listener]).pop()))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    last = os.dup(client.fileno())
    resource.setrlimit(resource.RLIMIT_NOFILE, (last + 2, before[1]))  # one more, for `serve` itself
    try:
        nursery.start_soon(serve, [listener], served.handle, nursery, served.report)
        await served.told.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        os.close(last)
    assert "no connection can be accepted" in served.said[0]
    await served.came.wait()
    client.close()
    await served.streams[0].aclose()


class Overloaded(MemoryListener):
    """Has no room for another connection twice, and then raises something else."""

    def __init__(self) -> None:
        super().__init__()
        self.asked_at: list[float] = []

    async def accept(self) -> Any:
        self.asked_at.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        if len(self.asked_at) < 3:
            raise OSError(errno.EMFILE, "Too many open files")
        raise OSError(errno.EBADF, "Bad file descriptor")


async def test_without_room_for_a_connection_it_waits_and_complains(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    listener, said = Overloaded(), []
    with pytest.RaisesGroup(pytest.RaisesExc(OSError, match="Bad file descriptor")):
        await serve([listener], Served().handle, nursery, lambda *words: said.append(words))
    assert [at - listener.asked_at[0] for at in listener.asked_at] == pytest.approx([0, 0.1, 0.2])
    assert said == [("no connection can be accepted now: %s", "Too many open files")] * 2


async def test_what_is_accepted_is_closed_when_it_has_been_served(nursery: trio.Nursery) -> None:
    async def hello(stream: trio.abc.Stream, _address: Any) -> None:
        await stream.send_all(b"hello")

    listener = MemoryListener()
    nursery.start_soon(serve, [listener], hello, nursery, print)
    client = listener.connect()
    assert await client.receive_some() == b"hello"
    assert await client.receive_some() == b""
    nursery.cancel_scope.cancel()
