"""The proxy that the tests and benchmarks of delivery go through really does what it says."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from tests.faults import PIECE, FaultProxy, fault_proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NOTHING = 0.2  # seconds in which what must not arrive would have arrived long ago


@asynccontextmanager
async def echo_behind_proxy() -> AsyncIterator[FaultProxy]:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, echo, 0)
        async with fault_proxy(listeners[0].socket.getsockname()[1]) as proxy:
            yield proxy
        nursery.cancel_scope.cancel()


async def echo(stream: trio.SocketStream) -> None:
    try:
        async for data in stream:
            await stream.send_all(data)
    except trio.BrokenResourceError:
        return


async def connect(proxy: FaultProxy) -> trio.SocketStream:
    """A connection through the proxy that is known to work."""
    stream = await trio.open_tcp_stream("127.0.0.1", proxy.port)
    await stream.send_all(b"hello")
    assert await receive(stream, 5) == b"hello"
    return stream


async def receive(stream: trio.SocketStream, count: int) -> bytes:
    received = b""
    with trio.fail_after(10):
        while len(received) < count:
            data = await stream.receive_some()
            assert data, f"it ended after {received!r}"
            received += data
    return received


async def hears_nothing(stream: trio.SocketStream) -> None:
    with trio.move_on_after(NOTHING):
        raise AssertionError(await stream.receive_some())


async def is_reset(stream: trio.SocketStream) -> None:
    with trio.fail_after(10), pytest.raises(trio.BrokenResourceError):
        await read_on(stream)


async def read_on(stream: trio.SocketStream) -> None:
    while True:
        assert await stream.receive_some(), "it ended in an orderly way"


async def test_without_faults_it_only_forwards():
    async with echo_behind_proxy() as proxy, await connect(proxy) as stream:
        await stream.send_all(b"x" * 1_000_000)
        assert await receive(stream, 1_000_000) == b"x" * 1_000_000
        await stream.send_eof()
        assert await stream.receive_some() == b""
        assert proxy.connections == 1


async def test_a_cut_resets_every_connection():
    async with echo_behind_proxy() as proxy, await connect(proxy) as first, await connect(proxy) as second:
        assert proxy.cut() == 2
        await is_reset(first)
        await is_reset(second)
        async with await connect(proxy):
            assert proxy.connections == 3


async def test_frozen_nothing_moves_and_thawed_everything_arrives():
    async with echo_behind_proxy() as proxy, await connect(proxy) as stream:
        proxy.freeze()
        await stream.send_all(b"later")
        await hears_nothing(stream)
        proxy.thaw()
        assert await receive(stream, 5) == b"later"


async def test_a_half_open_link_swallows_everything_and_tells_nobody():
    async with echo_behind_proxy() as proxy, await connect(proxy) as stream:
        assert proxy.half_open() == 1
        await stream.send_all(b"gone")
        await hears_nothing(stream)
        async with await connect(proxy):
            await hears_nothing(stream)


async def test_delay_delays():
    async with echo_behind_proxy() as proxy, await connect(proxy) as stream:
        proxy.delay = 0.05
        begun = trio.current_time()
        await stream.send_all(b"x")
        await receive(stream, 1)
        assert trio.current_time() - begun >= 0.1


async def test_a_rate_throttles():
    async with echo_behind_proxy() as proxy, await connect(proxy) as stream:
        proxy.rate = PIECE * 50
        begun = trio.current_time()
        await stream.send_all(b"x" * PIECE * 5)
        await receive(stream, PIECE * 5)
        assert trio.current_time() - begun >= 0.08


async def test_corruption_flips_one_bit_once():
    async with echo_behind_proxy() as proxy, await connect(proxy) as stream:
        proxy.corrupt()
        await stream.send_all(b"\0\0\0")
        assert await receive(stream, 3) == b"\0\x10\0"
        await stream.send_all(b"\0\0\0")
        assert await receive(stream, 3) == b"\0\0\0"


async def test_it_can_close_in_the_middle_of_what_is_sent():
    got = b""

    async def collect(stream: trio.SocketStream) -> None:
        nonlocal got
        try:
            async for data in stream:
                got += data
                begun.set()
        except trio.BrokenResourceError:
            ended.set()

    begun, ended = trio.Event(), trio.Event()
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, collect, 0)
        behind = listeners[0].socket.getsockname()[1]
        async with fault_proxy(behind) as proxy, await trio.open_tcp_stream("127.0.0.1", proxy.port) as stream:
            await stream.send_all(b"a")
            await begun.wait()
            proxy.close_after(3)
            await stream.send_all(b"bcdefgh")
            with trio.fail_after(10):
                await ended.wait()
            await is_reset(stream)
        nursery.cancel_scope.cancel()
    assert b"abcd".startswith(got)  # an RST may overtake what came before it


async def test_new_connections_can_be_refused():
    async with echo_behind_proxy() as proxy, await connect(proxy) as stream:
        proxy.accepting = False
        async with await trio.open_tcp_stream("127.0.0.1", proxy.port) as refused:
            with trio.fail_after(10):
                assert await refused.receive_some() == b""
        await stream.send_all(b"x")
        assert await receive(stream, 1) == b"x"


async def test_a_connection_can_be_overtaken_by_the_next():
    order: list[bytes] = []

    async def note(stream: trio.SocketStream) -> None:
        order.append(bytes(await stream.receive_some()))
        await stream.send_all(b"x")

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, note, 0)
        async with fault_proxy(listeners[0].socket.getsockname()[1]) as proxy:
            proxy.reorder()
            async with await trio.open_tcp_stream("127.0.0.1", proxy.port) as first:
                await first.send_all(b"first")
                await hears_nothing(first)
                async with await trio.open_tcp_stream("127.0.0.1", proxy.port) as second:
                    await second.send_all(b"second")
                    await receive(second, 1)
                    await receive(first, 1)
            assert order == [b"second", b"first"]
            proxy.reorder()
            async with await trio.open_tcp_stream("127.0.0.1", proxy.port) as alone:
                await alone.send_all(b"alone")
                await hears_nothing(alone)
                proxy.in_order()
                await receive(alone, 1)
        nursery.cancel_scope.cancel()
