"""Both ends of a connection of the TCP mode: ours under test, a raw peer on the other one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from maim_trio._legacy._tcp.handshake import Registration, accept_tcp, open_tcp
from maim_trio._transport.flusher import Flusher
from maim_trio._transport.limits import Limits, LinkClosed
from maim_trio._transport.link import running
from tests.transport.conftest import fail_after, tcp_pair
from tests.transport.raw import memory_pair

from .raw import HEARTBEAT, TcpPeer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from maim_trio._legacy._tcp.link import TcpLink

LIMITS = Limits(
    max_message=1024 * 1024,
    max_queued=1024 * 1024,
    max_head=4096,
    handshake_timeout=5.0,
    send_timeout=6.0,
    close_timeout=7.0,
)

HERE = Path(__file__).parent
PATIENCE = 1000.0
"""Virtual seconds after which a test that waits for an event has failed."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests over memory streams run in virtual time: `autojump_clock` would have to be asked for by each."""
    for item in items:
        if item.path.parent == HERE and {"server", "client"} & {*getattr(item, "fixturenames", ())}:
            item.add_marker(pytest.mark.trio(run=_run_in_virtual_time), append=False)


def _run_in_virtual_time(function: Any, **options: Any) -> Any:
    return trio.run(function, **{**options, "clock": trio.testing.MockClock(autojump_threshold=0)})


async def collect(link: TcpLink, into: list[bytes]) -> LinkClosed:
    """Receives until the link ends; tells how it did."""
    try:
        while True:
            into += await link.receive()
    except LinkClosed as ended:
        return ended


class Served:
    """One server connection under test: what its owner has seen."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.link: TcpLink | None = None
        self.registration: Registration | None = None
        self.messages: list[bytes] = []
        self.ended: LinkClosed | None = None
        self.reports: list[str] = []
        self.opened = trio.Event()
        self.finished = trio.Event()

    @property
    def end(self) -> tuple[int, str, bool]:
        assert self.ended is not None
        return self.ended.code, self.ended.reason, self.ended.by_peer

    async def read(self, link: TcpLink) -> None:
        self.ended = await collect(link, self.messages)


class Server:
    """Serves connections of raw peers. What goes wrong ends the test."""

    def __init__(self, nursery: trio.Nursery, pair: Callable[[], Awaitable[tuple[Any, Any]]]) -> None:
        self.limits = LIMITS
        self.idle_timeout = 45.0
        self.handler: Callable[[Served, TcpLink], Awaitable[None]] = Served.read
        self.decide: Callable[[Registration], Awaitable[bool]] = self.let_in
        self.flusher = Flusher()
        self._nursery = nursery
        self._pair = pair
        nursery.start_soon(self.flusher.run)

    async def let_in(self, registration: Registration) -> bool:
        await trio.lowlevel.checkpoint()
        return registration.token != "wrong"

    async def dial(self) -> tuple[TcpPeer, Served]:
        """A raw peer before its handshake."""
        ours, theirs = await self._pair()
        served = Served(ours)
        self._nursery.start_soon(self._serve, served)
        return TcpPeer(theirs), served

    async def opened(self, platform: str = "qq") -> tuple[TcpPeer, Served]:
        """A raw peer that is registered."""
        peer, served = await self.dial()
        await peer.exchange_keys()
        await peer.register(platform)
        await served.opened.wait()
        assert await peer.tcp_frame() == (HEARTBEAT, b"")  # the greeting
        return peer, served

    async def _serve(self, served: Served) -> None:
        async def decide(registration: Registration) -> bool:
            served.registration = registration
            return await self.decide(registration)

        link = await accept_tcp(
            served.stream,
            decide,
            self.limits,
            flusher=self.flusher,
            idle_timeout=self.idle_timeout,
            report=served.reports.append,
        )
        if link is not None:
            served.link = link
            served.opened.set()
            async with running(link):
                await self.handler(served, link)
        served.finished.set()


async def in_memory() -> tuple[Any, Any]:
    await trio.lowlevel.checkpoint()
    return memory_pair()


@pytest.fixture
async def server(nursery: trio.Nursery) -> Server:
    """In virtual time."""
    nursery.start_soon(fail_after, PATIENCE)
    return Server(nursery, in_memory)


@pytest.fixture
async def socket_server(nursery: trio.Nursery) -> AsyncIterator[Server]:
    nursery.start_soon(fail_after, 20)
    opened: list[Any] = []

    async def pair() -> tuple[Any, Any]:
        ends = await tcp_pair()
        opened.extend(ends)
        return ends

    yield Server(nursery, pair)
    for stream in opened:
        await trio.aclose_forcefully(stream)


class Client:
    """Opens links to a raw server that the test drives."""

    def __init__(self) -> None:
        self.limits = LIMITS
        self.idle_timeout = 45.0
        self.stream, theirs = memory_pair()
        self.peer = TcpPeer(theirs)

    async def dial(self, platform: str = "qq", token: str | None = None) -> TcpLink:
        return await open_tcp(self.stream, platform, token, self.limits, idle_timeout=self.idle_timeout)

    async def opened(self, **options: Any) -> tuple[TcpPeer, TcpLink]:
        """(the raw server, which has not read the registration yet; our link)."""
        links: list[TcpLink] = []

        async def open_it() -> None:
            links.append(await self.dial(**options))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(open_it)
            await self.peer.exchange_keys()
        return self.peer, links[0]


@pytest.fixture
async def client(nursery: trio.Nursery) -> Client:
    """In virtual time."""
    nursery.start_soon(fail_after, PATIENCE)
    return Client()
