"""Scripts of legacy servers: what the client under test gets to see, byte for byte."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

import trio

from tests.client.raw import GUID, Peer

if TYPE_CHECKING:
    from tests.client.raw import Script


async def accept(peer: Peer, *, ours: bool = True) -> None:
    """Opens the WebSocket; `ours` says so with a header, as maim_message's server does not."""
    await peer.read_head()
    key = peer.header("sec-websocket-key") or ""
    token = base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()
    lines = ["HTTP/1.1 101 OK", "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {token}"]
    lines += ["x-maim-legacy: 1"] if ours else []
    await peer.say("\r\n".join([*lines, "", ""]).encode())


async def welcomes(peer: Peer) -> None:
    """Our own kind of server: accepts and serves until the client leaves."""
    await accept(peer)
    await peer.serve()


async def old_server(peer: Peer) -> None:
    """maim_message's server, towards a client whose token is good."""
    await accept(peer, ours=False)
    await peer.serve()


def closes(code: int, reason: str = "", *, after: float = 0.0, ours: bool = True) -> Script:
    """Accepts, and closes after so many seconds."""

    async def script(peer: Peer) -> None:
        await accept(peer, ours=ours)
        await trio.sleep(after)
        await peer.close(code, reason)

    return script


def drops(*, after: float = 0.0) -> Script:
    """Accepts, and is gone after so many seconds, without a close frame."""

    async def script(peer: Peer) -> None:
        await accept(peer)
        await trio.sleep(after)

    return script


def sends(*messages: Any) -> Script:
    """Accepts, sends these, and serves until the client leaves."""

    async def script(peer: Peer) -> None:
        await accept(peer)
        for message in messages:
            await peer.send(message)
        await peer.serve()

    return script
