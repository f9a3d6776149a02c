"""Servers played by a test: scripts that say byte for byte what the client under test gets to see."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import trio

from maim_trio._transport.frames import CLOSE, PING, PONG, TEXT, FrameParser, frame
from tests.memory import MemoryListener

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.memory import Network

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3


class Peer:
    """The server's end of one connection. `head` is the client's request, `code` the code of its close frame, `heard`
    all messages that came and were read."""

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        self.head = b""
        self.code: int | None = None
        self.pings = 0
        self._stream = stream
        self.heard: list[Any] = []
        self._parser = FrameParser(masked=True, max_message=1 << 30)
        self._messages: list[Any] = []

    async def read_head(self) -> bytes:
        while not self.head.endswith(b"\r\n\r\n"):
            data = await self._stream.receive_some()
            if not data:
                raise trio.BrokenResourceError
            self.head += data
        return self.head

    def header(self, name: str) -> str | None:
        found = re.search(rb"(?im)^" + name.encode() + rb": *(.*?)\r$", self.head)
        return None if found is None else found[1].decode()

    async def say(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def refuse(self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> None:
        """Answers the request with a plain HTTP status."""
        await self.read_head()
        lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        await self.say("\r\n".join([*lines, "", ""]).encode() + body)

    async def accept(self, *, ours: bool = True) -> None:
        """Opens the WebSocket; `ours` says so with the header of our protocol, as maim_message's server does not."""
        await self.read_head()
        key = self.header("sec-websocket-key") or ""
        accept = base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()
        lines = ["HTTP/1.1 101 OK", "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {accept}"]
        lines += ["x-maim-protocol: 1"] if ours else []
        await self.say("\r\n".join([*lines, "", ""]).encode())

    async def send(self, message: Mapping[str, Any]) -> None:
        await self.say(frame(TEXT, json.dumps(message).encode(), mask=False))

    async def read(self) -> Any:
        """The client's next message, decoded; None once it has closed or gone. Pings are answered."""
        while not self._messages:
            data = b"" if self.code is not None else await self._stream.receive_some()
            if not data:
                return None
            self._messages += [json.loads(message) for message in self._parser.feed(bytes(data))]
            for opcode, payload in self._parser.controls:
                if opcode == PING:
                    self.pings += 1
                    await self.say(frame(PONG, payload, mask=False))
            self._parser.controls.clear()
            if self._parser.close is not None:
                self.code = self._parser.close[0]
        self.heard.append(self._messages.pop(0))
        return self.heard[-1]

    @property
    def acked(self) -> list[str]:
        """The ids that the client has acknowledged, in order."""
        return [message["meta"]["acked_msg_id"] for message in self.heard if message["type"] == "sys_ack"]

    async def serve(self) -> int | None:
        """Reads until the client has closed, and answers its close; the code, None when there was none."""
        while await self.read() is not None:
            continue
        if self.code is not None:
            await self.say(frame(CLOSE, self.code.to_bytes(2, "big"), mask=False))
        return self.code

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Sends a close frame (an empty one for 1005) and waits for the answer."""
        payload = b"" if code == 1005 else code.to_bytes(2, "big") + reason.encode()
        await self.say(frame(CLOSE, payload, mask=False))
        while await self.read() is not None:
            continue


def standard(text: Any = "hello", *, msg_id: str | None = "msg_1", **meta: Any) -> dict[str, Any]:
    """The envelope of a standard message, as a server sends it."""
    payload = {
        "message_info": {"platform": "default", "message_id": "m1", "time": 1703123456.5},
        "message_segment": {"type": "text", "data": text},
        "message_dim": {"api_key": "key_of_client", "platform": "default"},
    }
    envelope = {"ver": 1, "msg_id": msg_id, "type": "sys_std", "meta": meta, "payload": payload}
    return {name: value for name, value in envelope.items() if value is not None}


def numbered(count: int) -> list[dict[str, Any]]:
    """Standard messages whose texts and ids are the numbers from 0."""
    return [standard(n, msg_id=str(n)) for n in range(count)]


def custom(kind: str, payload: dict[str, Any], *, msg_id: str | None = "custom_1", **meta: Any) -> dict[str, Any]:
    """The envelope of a custom message."""
    envelope = {"ver": 1, "msg_id": msg_id, "type": kind, "meta": meta, "payload": payload}
    return {name: value for name, value in envelope.items() if value is not None}


Script = Callable[[Peer], Awaitable[object]]


async def serve_scripts(
    network: Network, scripts: Sequence[Script], *, task_status: trio.TaskStatus[list[Peer]] = trio.TASK_STATUS_IGNORED
) -> None:
    """Plays `scripts`, one per connection, the last one for all further ones. Reports the list of peers so far."""
    peers: list[Peer] = []
    network.listener = MemoryListener()
    async with trio.open_nursery() as nursery:
        task_status.started(peers)
        while True:
            stream = await network.listener.accept()
            peers.append(Peer(stream))
            nursery.start_soon(_play, stream, peers[-1], scripts[min(len(peers), len(scripts)) - 1])


async def _play(stream: trio.abc.HalfCloseableStream, peer: Peer, script: Script) -> None:
    try:
        await script(peer)
    except trio.BrokenResourceError:
        return  # the client has gone, which is for the test to judge
    finally:
        await trio.aclose_forcefully(stream)


# -- scripts


async def welcomes(peer: Peer) -> None:
    """Our own kind of server: accepts and serves until the client leaves."""
    await peer.accept()
    await peer.serve()


async def acks(peer: Peer) -> None:
    """Our own kind of server: accepts, and acknowledges what comes until the client leaves."""
    await peer.accept()
    while (message := await peer.read()) is not None:
        if message["type"] != "sys_ack":
            meta = {"uuid": "u", "acked_msg_id": message["msg_id"]}
            await peer.send({"ver": 1, "msg_id": "a", "type": "sys_ack", "meta": meta, "payload": {}})
    await peer.serve()


async def old_server(peer: Peer) -> None:
    """maim_message's server, towards a client whose key is good."""
    await peer.accept(ours=False)
    await peer.serve()


async def silent(peer: Peer) -> None:
    """Accepts TCP and never says anything."""
    await peer.read_head()
    await trio.sleep_forever()


async def hangs_up(_peer: Peer) -> None:
    """Ends the connection without a word."""
    await trio.lowlevel.checkpoint()


def refuses(status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Script:
    async def script(peer: Peer) -> None:
        await peer.refuse(status, headers, body)

    return script


def says(data: bytes) -> Script:
    """Answers the request with these bytes and hangs up."""

    async def script(peer: Peer) -> None:
        await peer.read_head()
        await peer.say(data)

    return script


def closes(code: int, reason: str = "", *, after: float = 0.0, ours: bool = True) -> Script:
    """Accepts, and closes after so many seconds."""

    async def script(peer: Peer) -> None:
        await peer.accept(ours=ours)
        await trio.sleep(after)
        await peer.close(code, reason)

    return script


def drops(*, after: float = 0.0) -> Script:
    """Accepts, and is gone after so many seconds, without a close frame."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        await trio.sleep(after)

    return script


def sends(*messages: Mapping[str, Any]) -> Script:
    """Accepts, sends these, and serves until the client leaves."""

    async def script(peer: Peer) -> None:
        await peer.accept()
        for message in messages:
            await peer.send(message)
        await peer.serve()

    return script
