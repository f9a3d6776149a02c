"""Servers and clients that talk over memory streams instead of sockets, for tests in virtual time."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import trio
import trio.testing

from maim_trio.client import ClientConfig, MultiClientConfig, WebSocketClient, WebSocketMultiClient
from maim_trio.message import APIMessageBase, BaseMessageInfo, MessageDim, Seg
from maim_trio.server import ServerConfig, WebSocketServer

if TYPE_CHECKING:
    from maim_trio.client._url import Address

URL = "ws://memory:80/ws"


class MemoryListener(trio.abc.Listener[trio.StapledStream[Any, Any]]):
    """Accepts what `connect` makes, until it is closed."""

    def __init__(self, served_streams: set[trio.abc.Stream] | None = None) -> None:
        self._send, self._receive = trio.open_memory_channel[Any](1000)
        self._served_streams = served_streams

    def connect(self, ends: tuple[Any, Any] | None = None) -> trio.abc.Stream:
        """The client's end of a new connection; OSError when nobody listens. `ends`: (client's, server's)."""
        ours, theirs = ends or trio.testing.memory_stream_pair()
        self.hand_over(theirs)
        return ours

    def hand_over(self, theirs: Any) -> None:
        """Accepts a stream that somebody else has made the other end of; OSError when nobody listens."""
        if self._send.statistics().open_receive_channels == 0:
            raise ConnectionRefusedError("nobody listens")
        if self._served_streams is not None:
            theirs = CountedStream(theirs, self._served_streams)
        self._send.send_nowait(theirs)

    async def accept(self) -> trio.StapledStream[Any, Any]:
        return await self._receive.receive()

    async def aclose(self) -> None:
        with contextlib.suppress(trio.WouldBlock, trio.ClosedResourceError):
            while True:  # nobody will ever serve these
                self._receive.receive_nowait().close()
        self._receive.close()
        await trio.lowlevel.checkpoint()


class Network:
    """One address at which at most one server listens; clients dial it. `dials` counts attempts."""

    def __init__(self) -> None:
        self.listener: MemoryListener | None = None
        self.dials: list[float] = []
        self.open_streams: set[trio.abc.Stream] = set()
        """The clients' ends that are not closed yet."""
        self.served_streams: set[trio.abc.Stream] = set()
        """The servers' ends that are not closed yet."""

    def connect(self, ends: tuple[Any, Any] | None = None) -> trio.abc.Stream:
        """A raw peer's end of a new connection, of these two ends where they are given."""
        if self.listener is None:
            raise ConnectionRefusedError("nobody listens")
        return self.listener.connect(ends)

    def server(self, **config: Any) -> MemoryServer:
        return MemoryServer(self, ServerConfig(host="127.0.0.1", **config))

    def client(self, api_key: str = "key_of_client", **config: Any) -> MemoryClient:
        return MemoryClient(self, ClientConfig(url=config.pop("url", URL), api_key=api_key, **config))


class CountedStream(trio.abc.HalfCloseableStream):
    """A memory stream that stands in `open_streams` until it is closed."""

    def __init__(self, inner: Any, open_streams: set[trio.abc.Stream]) -> None:
        self.inner = inner
        self._open_streams = open_streams
        open_streams.add(self)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self.inner.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self.inner.receive_some(max_bytes)

    async def aclose(self) -> None:
        self._open_streams.discard(self)
        await self.inner.aclose()

    def close(self) -> None:
        """Closed before anybody has used it."""
        self._open_streams.discard(self)
        if isinstance(self.inner, trio.StapledStream):
            self.inner.send_stream.close()
            self.inner.receive_stream.close()


class MemoryServer(WebSocketServer):
    """A `WebSocketServer` whose listener is the network's."""

    def __init__(self, network: Network, config: ServerConfig) -> None:
        super().__init__(config)
        self.network = network

    @property
    def port(self) -> int:
        return 80

    async def open_listeners(self) -> Any:
        await trio.lowlevel.checkpoint()
        self.network.listener = MemoryListener(self.network.served_streams)
        return [self.network.listener]


class MemoryClient(WebSocketClient):
    """A `WebSocketClient` that dials the network."""

    def __init__(self, network: Network, config: ClientConfig) -> None:
        super().__init__(config)
        self.network = network

    async def open_stream(self, address: Address) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        self.network.dials.append(trio.current_time())
        return CountedStream(self.network.connect(), self.network.open_streams)


class Hosts(dict[str, Network]):
    """Networks by the name of the host; one that is asked for is there."""

    def __missing__(self, name: str) -> Network:
        self[name] = Network()
        return self[name]

    def client(self, *, default_config: ClientConfig | None = None, **config: Any) -> MemoryMultiClient:
        return MemoryMultiClient(self, MultiClientConfig(**config), default_config=default_config)

    def client_of(self, config: MultiClientConfig) -> MemoryMultiClient:
        return MemoryMultiClient(self, config)


class MemoryMultiClient(WebSocketMultiClient):
    """A `WebSocketMultiClient` that dials the network of the URL's host."""

    def __init__(
        self, hosts: Hosts, config: MultiClientConfig | None = None, *, default_config: ClientConfig | None = None
    ) -> None:
        super().__init__(config, default_config=default_config)
        self.hosts = hosts

    async def open_stream(self, config: ClientConfig, address: Address) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        network = self.hosts[address.host]
        network.dials.append(trio.current_time())
        return CountedStream(network.connect(), network.open_streams)


def text_message(text: Any = "hello", *, to: str = "key_of_client", platform: str = "default") -> APIMessageBase:
    """A standard text message for a receiver."""
    return APIMessageBase(
        message_info=BaseMessageInfo(platform=platform, message_id="m1", time=1703123456.5),
        message_segment=Seg(type="text", data=text),
        message_dim=MessageDim(api_key=to, platform=platform),
    )
