"""The three kinds of stream, and both ends of a connection with a raw peer on the other one."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
import trustme

from maim_trio._transport import frames
from maim_trio._transport.flusher import Flusher
from maim_trio._transport.handshake import Accept, Refuse, Request, accept_link, open_link
from maim_trio._transport.limits import Limits, LinkClosed
from maim_trio._transport.link import Link, running
from maim_trio._transport.tls import client_stream, server_stream

from .raw import RawPeer, accept_token, is_closed, memory_pair, request, switching

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MIB = 1024 * 1024
LIMITS = Limits(max_message=MIB, max_queued=MIB, handshake_timeout=5.0, send_timeout=5.0, close_timeout=5.0)
PATIENCE = 20.0
"""Seconds after which a test that waits for an event has failed."""


@pytest.fixture(scope="session")
def tls_contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """(server's, client's)."""
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", key_type=trustme.KeyType.ECDSA).configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


class Network:
    """Makes connections of one kind: tcp, tls or memory."""

    def __init__(self, kind: str, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
        self.kind = kind
        self.contexts = contexts
        self._opened: list[trio.abc.Stream] = []

    async def pair(self) -> tuple[Any, Any]:
        """(the server's end, the client's end) of a new connection; TLS has not shaken hands yet."""
        if self.kind == "memory":
            ends: tuple[Any, Any] = memory_pair()
        else:
            ends = await tcp_pair()
        if self.kind == "tls":
            ends = (
                server_stream(ends[0], self.contexts[0]),
                client_stream(ends[1], self.contexts[1], "localhost"),
            )
        self._opened += ends
        return ends

    async def aclose(self) -> None:
        for stream in self._opened:
            await trio.aclose_forcefully(stream)


async def tcp_pair() -> tuple[trio.SocketStream, trio.SocketStream]:
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    client = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
    server = await listener.accept()
    await listener.aclose()
    return server, client


@pytest.fixture(params=["tcp", "tls", "memory"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def network(kind: str, tls_contexts: tuple[ssl.SSLContext, ssl.SSLContext], nursery: trio.Nursery) -> Any:
    nursery.start_soon(fail_after, PATIENCE)
    network = Network(kind, tls_contexts)
    yield network
    await network.aclose()


@pytest.fixture
async def tcp_network(tls_contexts: tuple[ssl.SSLContext, ssl.SSLContext], nursery: trio.Nursery) -> Any:
    nursery.start_soon(fail_after, PATIENCE)
    network = Network("tcp", tls_contexts)
    yield network
    await network.aclose()


@pytest.fixture
async def memory_network(tls_contexts: tuple[ssl.SSLContext, ssl.SSLContext], nursery: trio.Nursery) -> Network:
    """In virtual time: pytest-trio takes the clock only from the test's own parameters."""
    assert isinstance(trio.lowlevel.current_clock(), trio.testing.MockClock), "the test must ask for autojump_clock"
    nursery.start_soon(fail_after, 3600)
    return Network("memory", tls_contexts)


async def fail_after(seconds: float) -> None:
    """A lost event is a failed test, not a hanging one."""
    await trio.sleep(seconds)
    raise AssertionError(f"the test was not through after {seconds} s")


async def accept(_: Request) -> Accept | Refuse:
    return Accept()


class Served:
    """One server connection under test: what its owner has seen."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.link: Link | None = None
        self.messages: list[bytes] = []
        self.ended: LinkClosed | None = None
        self.opened = trio.Event()
        self.finished = trio.Event()

    async def echo(self, link: Link) -> None:
        """The usual handler: answers each message, to the end."""
        try:
            while True:
                for message in await link.receive():
                    self.messages.append(message)
                    binary = isinstance(message, frames.Binary)
                    link.send_nowait(frames.frame(2 if binary else 1, message, mask=link.client))
        except LinkClosed as ended:
            self.ended = ended

    @property
    def end(self) -> tuple[int, str, bool]:
        assert self.ended is not None
        return self.ended.code, self.ended.reason, self.ended.by_peer


class Server:
    """Serves connections with `handler`, through `decide`. What goes wrong ends the test."""

    def __init__(self, network: Network, nursery: trio.Nursery) -> None:
        self.limits = LIMITS
        self.decide: Callable[[Request], Awaitable[Accept | Refuse]] = accept
        self.handler: Callable[[Served, Link], Awaitable[None]] = Served.echo
        self.reports: list[str] = []
        self.flusher: Flusher | None = Flusher()
        self._network = network
        self._nursery = nursery
        nursery.start_soon(self.flusher.run)

    async def dial(self) -> tuple[RawPeer, Served]:
        """A raw peer before its handshake."""
        ours, theirs = await self._network.pair()
        served = Served(ours)
        self._nursery.start_soon(self._serve, served)
        return RawPeer(theirs), served

    async def opened(self, *extra: bytes) -> tuple[RawPeer, Served]:
        """A raw peer after its handshake."""
        peer, served = await self.dial()
        await peer.send(request(*extra))
        head = await peer.head()
        assert head.startswith(b"HTTP/1.1 101 "), head
        await served.opened.wait()
        return peer, served

    async def _serve(self, served: Served) -> None:
        try:
            link = await accept_link(
                served.stream, self.decide, self.limits, flusher=self.flusher, report=self.reports.append
            )
            if link is not None:
                served.link = link
                served.opened.set()
                async with running(link):
                    await self.handler(served, link)
        finally:
            served.finished.set()
        assert is_closed(served.stream)


@pytest.fixture
def server(network: Network, nursery: trio.Nursery) -> Server:
    return Server(network, nursery)


@pytest.fixture
def memory_server(memory_network: Network, nursery: trio.Nursery) -> Server:
    """In virtual time."""
    return Server(memory_network, nursery)


class Client:
    """Opens links to a raw server that the test drives."""

    def __init__(self, network: Network) -> None:
        self.limits = LIMITS
        self.stream: Any = None
        self._network = network

    async def dial(self) -> tuple[RawPeer, Callable[..., Awaitable[Link]]]:
        """(the raw server, what opens the link)."""
        theirs, self.stream = await self._network.pair()

        async def dial(**options: Any) -> Link:
            options = {"host": "localhost:1", "target": "/ws", "limits": self.limits, **options}
            return await open_link(self.stream, **options)

        return RawPeer(theirs), dial

    async def opened(self, *extra: bytes, glued: bytes = b"") -> tuple[RawPeer, Link]:
        """(the raw server, our link) after the handshake."""
        peer, dial = await self.dial()
        links: list[Link] = []

        async def open_it() -> None:
            links.append(await dial())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(open_it)
            await peer.send(switching(accept_token(await peer.head()), *extra) + glued)
        return peer, links[0]


@pytest.fixture
def client(network: Network) -> Client:
    return Client(network)


@pytest.fixture
def memory_client(memory_network: Network) -> Client:
    """In virtual time."""
    return Client(memory_network)
