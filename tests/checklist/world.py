"""What behaviours play in: servers and clients over memory streams, callbacks that remember, certificates."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import trio
import trio.testing
import trustme

from tests.client.raw import Peer, Script, serve_scripts
from tests.memory import URL, Hosts, Network, text_message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from maim_trio.client import WebSocketClient
    from maim_trio.message import APIMessageBase
    from maim_trio.server import WebSocketServer
    from tests.checklist.rows import Row

KEY = "key_of_client"
"""The key that `Network.client` and `text_message` take by default."""
settle = trio.testing.wait_all_tasks_blocked


def user_is_key(metadata: Mapping[str, Any]) -> str:
    """The documents' simplest `on_auth_extract_user`."""
    key: str = metadata["api_key"]
    return key


class Recorder:
    """A callback that keeps what it was called with, and lets a test wait for it."""

    def __init__(self, answer: Any = None) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self._answer = answer
        self._called = trio.Event()

    def __call__(self, *args: Any) -> Any:
        self.calls.append(args)
        self._called.set()
        self._called = trio.Event()
        return self._answer

    async def wait(self, count: int = 1) -> tuple[Any, ...]:
        """The arguments of the call of this number, once there were so many."""
        while len(self.calls) < count:
            await self._called.wait()
        return self.calls[count - 1]


class Gate:
    """A handler that waits until it is opened; `running` tells how many calls wait."""

    def __init__(self) -> None:
        self.begun: list[Any] = []
        self.running = 0
        self.opened = trio.Event()

    async def __call__(self, message: Any, *_metadata: Any) -> None:
        self.begun.append(content(message) if not isinstance(message, dict) else message)
        self.running += 1
        try:
            await self.opened.wait()
        finally:
            self.running -= 1


def content(message: APIMessageBase) -> Any:
    return message.message_segment.data


@asynccontextmanager
async def linked(
    server: Mapping[str, Any] | None = None, client: Mapping[str, Any] | None = None
) -> AsyncIterator[tuple[WebSocketServer, WebSocketClient]]:
    """A server and a client that is connected to it, with these fields of their configurations."""
    network = Network()
    async with network.server(**(server or {})) as running, network.client(**(client or {})) as dialling:
        assert await dialling.connect()
        yield running, dialling


class Talk(NamedTuple):
    """A server, client or multi client under examination, connected to what is on the far side.

    `say` and `say_custom` send to it from the far side, `reply` from it to the far side; `heard` is what came there.
    """

    subject: Any
    far: Any
    heard: Recorder
    network: Network
    say: Callable[[Any], Any]
    say_custom: Callable[[str, dict[str, Any]], Any]
    reply: Callable[[str], Any]


SIDES = {
    "WebSocketServer": "server",
    "ServerConfig": "server",
    "WebSocketClient": "client",
    "ClientConfig": "client",
    "WebSocketMultiClient": "multi",
    "MultiClientConfig": "multi",
    "ConnectionEntry": "multi",
}
NAME = "wechat"
"""The one connection of a multi client that talks."""


def side_of(row: Row) -> str:
    """Which side a row of a class, of its configuration or of one of its dicts is about."""
    return SIDES[row.of.partition(".")[0]]


@asynccontextmanager
async def talking(side: str, **fields: Any) -> AsyncIterator[Talk]:
    """A talk with a subject of a side ("server", "client", "multi") whose configuration has these fields."""
    network, heard = Network(), Recorder()
    if side == "server":
        async with network.server(**fields) as server, network.client(on_message=heard) as client:
            assert await client.connect()
            yield Talk(
                server, client, heard, network,
                lambda text: client.send_message(text_message(text)),
                client.send_custom_message,
                lambda text: server.send_message(text_message(text)),
            )  # fmt: skip
        return
    async with network.server(on_message=heard) as server, made(side, network, **fields) as subject:
        assert await subject.connect() in (True, {NAME: True})
        yield Talk(
            subject, server, heard, network,
            lambda text: server.send_message(text_message(text)),
            lambda kind, payload: server.send_custom_message(kind, payload, target_platform="default"),
            lambda text: subject.send_message(*([NAME] if side == "multi" else []), text_message(text)),
        )  # fmt: skip


def made(side: str, network: Network, **fields: Any) -> Any:
    """A subject that is not started yet; a multi client has one connection, `NAME`."""
    if side == "server":
        return network.server(**fields)
    if side == "client":
        return network.client(**fields)
    return Hosts(memory=network).client(connections={NAME: {"url": URL, "api_key": KEY}}, **fields)


@asynccontextmanager
async def scripted(network: Network, *scripts: Script) -> AsyncIterator[list[Peer]]:
    """Has a server play scripts, one per connection; its peers come to stand in the list."""
    async with trio.open_nursery() as nursery:
        yield await nursery.start(serve_scripts, network, scripts)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def beside(function: Callable[[], Any]) -> AsyncIterator[None]:
    """Runs `function` while the body runs; both have to end."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(function)
        yield


class Certificates(NamedTuple):
    """Paths of PEM files: the authority, the server's pair (for localhost), a client's pair, another authority."""

    authority: str
    certfile: str
    keyfile: str
    client_certfile: str
    client_keyfile: str
    other_authority: str


@cache
def certificates() -> Certificates:
    """Made once; the files are removed at the end of the program."""
    folder = Path(tempfile.mkdtemp(prefix="maim-trio-checklist-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    authority, other = (trustme.CA(key_type=trustme.KeyType.ECDSA) for _ in range(2))
    files = Certificates(*(str(folder / f"{name}.pem") for name in Certificates._fields))
    authority.cert_pem.write_to_path(files.authority)
    other.cert_pem.write_to_path(files.other_authority)
    for identity, certfile, keyfile in (
        ("localhost", files.certfile, files.keyfile),
        ("client@bot.example", files.client_certfile, files.client_keyfile),
    ):
        issued = authority.issue_cert(identity, key_type=trustme.KeyType.ECDSA)
        issued.cert_chain_pems[0].write_to_path(certfile)
        issued.private_key_pem.write_to_path(keyfile)
    return files
