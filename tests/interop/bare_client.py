"""A client that somebody wrote by hand on a WebSocket library of another program."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tests.conftest import needs
from tests.interop.ours import ALICE, PLATFORM, url_of
from tests.peers import node, node_modules_dir

if TYPE_CHECKING:
    from tests.interop.conftest import StartPeer
    from tests.interop.peer_process import PeerProcess

LIBRARIES = ("websockets", "aiohttp", "node-ws")


class BareClient:
    """A WebSocket in another program, with just enough around it to speak in envelopes."""

    def __init__(self, peer: PeerProcess) -> None:
        self.peer = peer

    async def open(self, server: Any, api_key: str = ALICE, *, where: str = "query") -> None:
        """Ask for a connection, with the credentials in the query or in the headers."""
        if where == "query":
            url, headers = f"{url_of(server)}?api_key={quote(api_key)}&platform={PLATFORM}", {}
        else:
            url, headers = url_of(server), {"X-ApiKey": api_key, "X-Platform": PLATFORM}
        await self.peer.do("connect", url=url, headers=headers)

    async def send(self, frame: str, *, binary: bool = False) -> None:
        await self.peer.do("send", text=frame, binary=binary)

    async def receive(self) -> dict[str, Any]:
        """The next frame, which has to be one JSON object in a text frame."""
        return json.loads((await self.peer.expect("frame"))["text"])


async def start_bare_client(library: str, start_peer: StartPeer) -> BareClient:
    """A client on one of the `LIBRARIES`, not yet connected."""
    if library == "node-ws":
        modules = str(needs(node_modules_dir))
        return BareClient(await start_peer("Node's ws", node(), "node_ws_client.cjs", modules))
    return BareClient(await start_peer(library, Path(sys.executable), f"{library}_client.py"))
