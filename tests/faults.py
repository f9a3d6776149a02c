"""A TCP proxy that does to connections what networks do: cuts, freezes, half-open links, delays, corruption.

It sits between a client and a server on loopback; every fault is a method or an attribute, and applies to the
connections that are there (`cut`, `half_open`, `corrupt`) or to all traffic from now on (`delay`, `rate`, `freeze`).
"""

from __future__ import annotations

import socket
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CHUNK = 64 * 1024
PIECE = 1024  # of a throttled stream


class _Pair:
    """One proxied connection."""

    def __init__(self, client: trio.SocketStream, server: trio.SocketStream) -> None:
        self.client = client
        self.server = server
        self.dead = False  # half-open: nothing is forwarded any more, and nobody is told
        self.corrupt = False  # the next bytes towards the server get one wrong bit
        self.overtakes = False  # another connection waits until the first bytes of this one are through
        self.close_after: int | None = None  # bytes towards the server until it is cut, in the middle of a frame

    def reset(self) -> None:
        """Ends both sides with an RST."""
        for stream in (self.client, self.server):
            if stream.socket.fileno() >= 0:
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                stream.socket.close()


class FaultProxy:
    """Forwards `port` to `target`. `accepting` False refuses new connections; `connections` counts those that came."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.accepting = True
        self.connections = 0
        self.delay = 0.0  # seconds, each way
        self.rate: float | None = None  # bytes per second, each way
        self._pairs: set[_Pair] = set()
        self._thawed = trio.Event()
        self._thawed.set()
        self._overtaken: trio.Event | None = None
        self._next_waits = False

    # -- faults

    def cut(self) -> int:
        """Resets every connection; returns how many there were."""
        pairs = list(self._pairs)
        for pair in pairs:
            pair.reset()
        return len(pairs)

    def freeze(self) -> None:
        """Nothing moves until `thaw`; connections stay."""
        if self._thawed.is_set():
            self._thawed = trio.Event()

    def thaw(self) -> None:
        self._thawed.set()

    def half_open(self) -> int:
        """Swallows everything on the connections there are, without ending them: what a dead network looks like."""
        for pair in self._pairs:
            pair.dead = True
        return len(self._pairs)

    def corrupt(self) -> None:
        """Flips one bit of the next bytes from each client."""
        for pair in self._pairs:
            pair.corrupt = True

    def close_after(self, count: int) -> None:
        """Resets each connection after `count` further bytes from its client."""
        for pair in self._pairs:
            pair.close_after = count

    def reorder(self) -> None:
        """The next connection reaches the target only behind the one after it, or when `in_order` says so."""
        self._next_waits = True

    def in_order(self) -> None:
        """Connections are forwarded as they come; one that waits goes on."""
        self._next_waits = False
        self._let_overtaken_go()

    # -- forwarding

    async def serve(self, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        listeners = await trio.open_tcp_listeners(self.port, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        task_status.started(self.port)
        await trio.serve_listeners(self._forward, listeners)

    async def _forward(self, client: trio.SocketStream) -> None:
        self.connections += 1
        if not self.accepting:
            await trio.aclose_forcefully(client)
            return
        await self._wait_for_turn()
        try:
            server = await trio.open_tcp_stream("127.0.0.1", self.target)
        except OSError:
            await trio.aclose_forcefully(client)
            return
        pair = _Pair(client, server)
        pair.overtakes = self._overtaken is not None
        self._pairs.add(pair)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._pump, pair, client, server, True)
                nursery.start_soon(self._pump, pair, server, client, False)
        finally:
            self._pairs.discard(pair)
            for stream in (client, server):
                stream.socket.close()  # at once: cancelled, an `aclose` of the first would keep us from the second

    def _let_overtaken_go(self) -> None:
        if self._overtaken is not None:
            self._overtaken.set()
            self._overtaken = None

    async def _wait_for_turn(self) -> None:
        if self._next_waits:
            self._next_waits = False
            overtaken = self._overtaken = trio.Event()
            await overtaken.wait()

    async def _pump(self, pair: _Pair, source: trio.SocketStream, sink: trio.SocketStream, upwards: bool) -> None:
        try:
            while data := await source.receive_some(CHUNK):
                await self._thawed.wait()
                if self.delay:
                    await trio.sleep(self.delay)
                if pair.dead:
                    continue
                await self._send(pair, sink, self._spoil(pair, data) if upwards else data)
                if upwards and pair.overtakes:
                    self._let_overtaken_go()
                if upwards and pair.close_after is not None and pair.close_after <= 0:
                    pair.reset()
            if pair.dead:
                await trio.sleep_forever()
            await sink.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pair.reset()

    def _spoil(self, pair: _Pair, data: bytes) -> bytes:
        if pair.corrupt:
            pair.corrupt = False
            middle = len(data) // 2
            data = data[:middle] + bytes([data[middle] ^ 0x10]) + data[middle + 1 :]
        if pair.close_after is not None:
            data, pair.close_after = data[: pair.close_after], pair.close_after - len(data)
        return data

    async def _send(self, pair: _Pair, sink: trio.SocketStream, data: bytes) -> None:
        if self.rate is None:
            await sink.send_all(data)
            return
        for start in range(0, len(data), PIECE):
            await sink.send_all(data[start : start + PIECE])
            if self.rate is not None:  # not taken back meanwhile
                await trio.sleep(PIECE / self.rate)


@asynccontextmanager
async def fault_proxy(target: int) -> AsyncIterator[FaultProxy]:
    """A running proxy in front of a port."""
    proxy = FaultProxy(target)
    async with trio.open_nursery() as nursery:
        await nursery.start(proxy.serve)
        yield proxy
        nursery.cancel_scope.cancel()
