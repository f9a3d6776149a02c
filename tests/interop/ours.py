"""Our side of the interop tests: users and keys, messages, and a place where handlers put what they get."""

from __future__ import annotations

import itertools
import json
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import trio

from maim_trio.message import APIMessageBase
from tests.interop.peer_process import PATIENCE

if TYPE_CHECKING:
    from maim_trio.server import WebSocketServer

ALICE, BOB, CAROL, DAVE, ERIN = (f"key-of-{name}" for name in ("alice", "bob", "carol", "dave", "erin"))
USERS = {key: key.removeprefix("key-of-") for key in (ALICE, BOB, CAROL, DAVE, ERIN)}
WRONG_KEY = "key-of-nobody"
PLATFORM = "qq"
KEYS_BY_NAME = {"wechat": ALICE, "qq": BOB, "telegram": CAROL}
"""The connections of a client with many; the name of each is its platform too."""

_numbers = itertools.count(1)


async def on_auth(metadata: Any) -> bool:
    return metadata["api_key"] in USERS


async def on_auth_extract_user(metadata: Any) -> str:
    return USERS[metadata["api_key"]]


class Inbox:
    """What a handler was called with, in order. `get` waits for the next call."""

    def __init__(self) -> None:
        self._calls: deque[tuple[Any, ...]] = deque()
        self._news = trio.Event()

    async def put(self, first: Any, second: Any) -> None:
        """The handler: fits every callback that takes two arguments."""
        self._calls.append((first, second))
        self._news.set()

    async def get(self) -> tuple[Any, Any]:
        with trio.fail_after(PATIENCE):
            while not self._calls:
                self._news = trio.Event()
                await self._news.wait()
        return self._calls.popleft()

    def __len__(self) -> int:
        return len(self._calls)


def url_of(server: WebSocketServer) -> str:
    return f"ws://127.0.0.1:{server.port}/ws"


def message_to(api_key: str, segment: dict[str, Any], *, platform: str = PLATFORM, **info: Any) -> dict[str, Any]:
    """The payload of a standard message, as a plain dict: what every program here can make of its own message class."""
    return {
        "message_info": {"platform": platform, "message_id": f"m{next(_numbers)}", "time": time.time(), **info},
        "message_segment": segment,
        "message_dim": {"api_key": api_key, "platform": platform},
    }


def text_to(api_key: str, text: str, *, platform: str = PLATFORM) -> dict[str, Any]:
    return message_to(api_key, {"type": "text", "data": text}, platform=platform)


def one_of_each_kind(api_key: str) -> list[dict[str, Any]]:
    """Messages that between them use every part of the schema."""
    user = {"platform": PLATFORM, "user_id": "10001", "user_nickname": "小明", "user_cardname": "群名片"}
    group = {"platform": PLATFORM, "group_id": "20002", "group_name": "测试群"}
    nested = [
        {"type": "text", "data": "看这张图 👇"},
        {"type": "seglist", "data": [{"type": "image", "data": "iVBORw0KGgo="}, {"type": "emoji", "data": "🙂"}]},
    ]
    return [
        text_to(api_key, '你好, world\n\t"quoted" \\ \u2028 🎉'),
        message_to(api_key, {"type": "seglist", "data": nested}, sender_info={"user_info": user, "group_info": group}),
        message_to(
            api_key,
            {"type": "image", "data": "QUJD" * 10_000},
            receiver_info={"user_info": user},
            format_info={"content_format": ["text", "image"], "accept_format": ["text"]},
            additional_config={"reply_to": None, "depth": [1, 2.5, {"deep": True}]},
        ),
        message_to(
            api_key,
            {"type": "notify", "data": {"sub_type": "poke", "target": 10001, "ratio": 0.5}},
            template_info={"template_items": {"a": "b"}, "template_name": {"t": "n"}, "template_default": False},
        ),
    ]


def parsed(payload: dict[str, Any]) -> APIMessageBase:
    return APIMessageBase.from_dict(payload)


def envelope(type_: str, payload: dict[str, Any], **fields: Any) -> str:
    """The text of a frame, as a hand-written client makes it."""
    return json.dumps(
        {"ver": 1, "msg_id": f"msg_{next(_numbers)}", "type": type_, "meta": {}, "payload": payload, **fields}
    )


def ack_for(received: dict[str, Any]) -> str:
    """The frame with which a hand-written client acks an envelope."""
    meta = {"acked_msg_id": received["msg_id"], "timestamp": time.time()}
    return envelope("sys_ack", {"status": "received", "client_timestamp": time.time()}, meta=meta)
