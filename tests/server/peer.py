"""Clients made of bytes: they send what the test says, legal or not, to a server under test."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import trio.testing

from tests.transport.raw import CLOSE, PING, PONG, TEXT, RawPeer, masked, request

KEY = "key_of_peer_0123456789"


class Answer(NamedTuple):
    """The answer to an upgrade request; `body` only of a refusal."""

    status: int
    headers: dict[str, str]
    body: bytes = b""

    @property
    def code(self) -> str:
        """The machine-readable half of a refusal, which is one line of JSON."""
        assert self.body.endswith(b"\n")
        assert self.body.count(b"\n") == 1
        refusal = json.loads(self.body)
        assert set(refusal) == {"error", "code"}
        return refusal["code"]


class Peer(RawPeer):
    """One connection to a server."""

    async def ask(self, data: bytes) -> Answer:
        """Sends a request head and reads the answer to it."""
        await self.send(data)
        return await self.answer()

    async def answer(self) -> Answer:
        lines = (await self.head()).decode().split("\r\n")
        status = int(lines[0].split()[1])
        headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        return Answer(status, headers, b"" if status == 101 else await self.until_end())

    async def upgrade(self, *headers: bytes, key: str = KEY, platform: str = "", uuid: str = "") -> Answer:
        """Asks for a WebSocket with these credentials; "" leaves one out."""
        lines = {b"x-apikey": key, b"x-platform": platform, b"x-uuid": uuid}
        own = [name + b": " + value.encode() for name, value in lines.items() if value]
        return await self.ask(request(*own, *headers, target=b"/ws"))

    async def say(self, envelope: Any) -> None:
        """Sends a value as JSON in a text frame."""
        await self.send(text_frame(envelope))

    async def hear(self) -> Any:
        """The next message, decoded. Pings are answered."""
        while True:
            frame = await self.frame()
            if frame.opcode == PING:
                await self.send(masked(PONG, frame.payload))
            elif frame.opcode != PONG:
                assert frame.opcode == TEXT, f"closed with {frame.payload!r}"
                return json.loads(frame.payload)

    async def hear_all(self) -> list[Any]:
        """All further messages up to the close frame, which is left for `closed`."""
        messages = []
        while True:
            frame = await self.frame()
            if frame.opcode == TEXT:
                messages.append(json.loads(frame.payload))
            elif frame.opcode == CLOSE:
                self.unread = bytes([0x80 | CLOSE, len(frame.payload)]) + frame.payload + self.unread
                return messages

    async def hear_acks(self, count: int) -> list[str]:
        """The ids that the next messages acknowledge; they must be acks."""
        return [acked(await self.hear()) for _ in range(count)]

    async def closed(self) -> tuple[int, str]:
        """Code and reason of the close frame; what comes before it is dropped. It is answered."""
        while (frame := await self.frame()).opcode != CLOSE:
            pass
        self.unread = bytes([0x80 | CLOSE, len(frame.payload)]) + frame.payload + self.unread
        code = await self.close_frame()
        await self.send(masked(CLOSE, frame.payload))
        return code

    async def close(self, code: int = 1000, reason: str = "", *, settle: bool = True) -> None:
        """Begins to close and waits for the end; with `settle` also until the server has noticed."""
        await self.send(masked(CLOSE, code.to_bytes(2, "big") + reason.encode()))
        await self.until_end()
        await self.aclose()
        if settle:
            await trio.testing.wait_all_tasks_blocked()


async def joined(network: Any, *headers: bytes, **credentials: str) -> Peer:
    """A peer that was let in over memory streams."""
    peer = Peer(network.connect())
    answer = await peer.upgrade(*headers, **credentials)
    assert answer.status == 101, answer
    return peer


def text_frame(envelope: Any) -> bytes:
    """A value as JSON in a frame as clients send them; bytes go as they are."""
    return masked(TEXT, envelope if isinstance(envelope, bytes) else json.dumps(envelope).encode())


def message_payload(text: Any = "hello", *, to: str = "somebody", platform: str = "default") -> dict[str, Any]:
    """The payload of a standard message."""
    return {
        "message_info": {"platform": platform, "message_id": "m1", "time": 1703123456.5},
        "message_segment": {"type": "text", "data": text},
        "message_dim": {"api_key": to, "platform": platform},
    }


def standard(msg_id: str | None = None, text: Any = "hello", **dim: str) -> dict[str, Any]:
    """A standard message in its envelope."""
    return _envelope("sys_std", msg_id, message_payload(text, **dim))


def custom(kind: str, payload: dict[str, Any] | None = None, msg_id: str | None = None, **meta: Any) -> dict[str, Any]:
    """A custom message in its envelope."""
    return {**_envelope(kind, msg_id, payload or {}), "meta": meta}


def ack(msg_id: str) -> dict[str, Any]:
    """The envelope that acknowledges `msg_id`."""
    return {**_envelope("sys_ack", "a1", {"status": "received"}), "meta": {"uuid": "u", "acked_msg_id": msg_id}}


def acked(envelope: dict[str, Any]) -> str:
    """The id that an ack acknowledges."""
    assert envelope["type"] == "sys_ack", envelope
    return envelope["meta"]["acked_msg_id"]


def text_of(envelope: dict[str, Any]) -> Any:
    """The text of a standard message."""
    assert envelope["type"] == "sys_std", envelope
    return envelope["payload"]["message_segment"]["data"]


def _envelope(kind: str, msg_id: str | None, payload: dict[str, Any]) -> dict[str, Any]:
    envelope = {"ver": 1, "type": kind, "meta": {}, "payload": payload}
    return envelope if msg_id is None else {**envelope, "msg_id": msg_id}
