"""The job that the servers written by hand do, whatever library carries it: envelopes, acknowledgements, the echo.

With msgspec, as one would write it today: a typed decode of what comes, a dictionary encoded for what leaves. What a
server has to bring is a connection with `uuid`, `key` and `send(payload)`; the last one may be a coroutine function.
"""

from __future__ import annotations

import time
import uuid
from typing import Any

import msgspec

from maim_trio.message import APIMessageBase


class Envelope(msgspec.Struct):
    type: str
    payload: msgspec.Raw
    msg_id: str | None = None
    meta: dict[str, Any] = {}
    ver: int = 1


decode = msgspec.json.Decoder(Envelope).decode
decode_message = msgspec.json.Decoder(APIMessageBase).decode
encode = msgspec.json.Encoder().encode


class Connection:
    """What is remembered of one client."""

    def __init__(self, key: str, connection_uuid: str) -> None:
        self.key = key
        self.uuid = connection_uuid
        self.seen: set[str] = set()
        self.unacked: dict[str, bytes] = {}

    def taken(self, frame: bytes) -> tuple[bytes | None, APIMessageBase | None]:
        """What a frame calls for: an acknowledgement, and a message for the handler."""
        envelope = decode(frame)
        if envelope.type == "sys_ack":
            self.unacked.pop(envelope.meta["acked_msg_id"], None)
            return None, None
        acknowledgement = None
        if envelope.msg_id is not None:
            acknowledgement = self._acknowledgement(envelope.msg_id)
            if envelope.msg_id in self.seen:
                return acknowledgement, None
            self.seen.add(envelope.msg_id)
        return acknowledgement, decode_message(envelope.payload)

    def _acknowledgement(self, msg_id: str) -> bytes:
        now = time.time()
        return encode({"ver": 1, "msg_id": str(uuid.uuid4()), "type": "sys_ack",
                       "meta": {"uuid": self.uuid, "acked_msg_id": msg_id, "timestamp": now},
                       "payload": {"status": "received", "server_timestamp": now}})  # fmt: skip


def wrapped(message: APIMessageBase) -> tuple[str, bytes]:
    """A message in its envelope, and the envelope's id."""
    msg_id = f"msg_{uuid.uuid4().hex[:12]}_{int(time.time())}"
    meta = {"sender_user": "server", "target_user": "", "platform": "qq", "timestamp": time.time()}
    return msg_id, encode({"ver": 1, "msg_id": msg_id, "type": "sys_std", "meta": meta, "payload": message})


def receivers(work: str, users: dict[str, Any], message: APIMessageBase) -> list[Any]:
    """Whom a message goes to: everybody in a fan-out, else whom it is for."""
    return list(users.values()) if work == "fanout" else [users[message.message_dim.api_key]]


def is_welcome(key: str) -> bool:
    """What `on_auth` says."""
    return key.startswith("k_")
