"""Legacy servers, clients and routers over memory streams, and peers of them that are made of bytes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import trio

from maim_trio import BaseMessageInfo, MessageBase, MessageClient, MessageServer, RouteConfig, Router, Seg, TargetConfig
from tests.memory import CountedStream, MemoryListener, Network
from tests.server.peer import Answer, Peer
from tests.transport.raw import request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from maim_trio._legacy.dial import Target

URL = "ws://memory:80/ws"
TOKEN = "token-of-the-tests-0123456789"


class MemoryMessageServer(MessageServer):
    """A `MessageServer` whose listener is the network's."""

    def __init__(self, network: Network, **settings: Any) -> None:
        super().__init__("127.0.0.1", 80, **settings)
        self.network = network

    @property
    def port(self) -> int:
        return 80

    async def open_listeners(self) -> Any:
        await trio.lowlevel.checkpoint()
        self.network.listener = MemoryListener(self.network.served_streams)
        return [self.network.listener]


class MemoryMessageClient(MessageClient):
    """A `MessageClient` that dials the network."""

    def __init__(self, network: Network, **settings: Any) -> None:
        super().__init__(**settings)
        self.network = network

    async def open_stream(self, target: Target) -> trio.abc.Stream:
        return await _dial(self.network)


class MemoryRouter(Router):
    """A `Router` that dials the network of the URL's host."""

    def __init__(self, networks: Mapping[str, Network], config: RouteConfig, **options: Any) -> None:
        super().__init__(config, **options)
        self.networks = networks

    async def open_stream(self, target: Target) -> trio.abc.Stream:
        return await _dial(self.networks[target.address.host])


async def _dial(network: Network) -> trio.abc.Stream:
    await trio.lowlevel.checkpoint()
    network.dials.append(trio.current_time())
    return CountedStream(network.connect(), network.open_streams)


def routes(**tokens: str | None) -> RouteConfig:
    """One platform per keyword, each at the host ``memory`` with its token."""
    return RouteConfig({platform: TargetConfig(URL, token) for platform, token in tokens.items()})


def text(words: Any = "hello", *, platform: str | None = "qq") -> MessageBase:
    """A standard message."""
    return MessageBase(BaseMessageInfo(platform, "m1", 1703123456.5), Seg("text", words))


def words_of(message: Mapping[str, Any]) -> Any:
    """What `text` was given."""
    return message["message_segment"]["data"]


class LegacyPeer(Peer):
    """A client made of bytes."""

    async def join(self, *headers: bytes, platform: str = "", token: str = "", target: bytes = b"/ws") -> Answer:
        """Asks for a WebSocket with these credentials in headers; "" leaves one out."""
        lines = {b"platform": platform, b"Authorization": token}
        own = [name + b": " + value.encode() for name, value in lines.items() if value]
        return await self.ask(request(*own, *headers, target=target))

    async def say_text(self, words: Any) -> None:
        await self.say(text(words).to_dict())

    async def hear_text(self) -> Any:
        return words_of(await self.hear())


async def joined(network: Network, platform: str = "qq", token: str = "", *headers: bytes) -> LegacyPeer:
    """A client made of bytes that was let in."""
    peer = LegacyPeer(network.connect())
    answer = await peer.join(*headers, platform=platform, token=token)
    assert answer.status == 101, answer
    return peer


class Heard(list[Any]):
    """A handler that keeps what it was called with."""

    def __call__(self, message: Any) -> None:
        self.append(json.loads(json.dumps(message)))

    @property
    def words(self) -> list[Any]:
        return [words_of(message) for message in self]
