"""Our side of the interop tests of the legacy half."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from maim_trio import MessageBase
from tests.interop.ours import Inbox
from tests.interop.peer_process import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

TOKEN = "token-of-the-interop-tests"
WRONG_TOKEN = "no-token-of-anybody"


class Heard(Inbox):
    """A handler that keeps what it was called with; `get_one` waits for the next message."""

    async def __call__(self, message: dict[str, Any]) -> None:
        await self.put(message, None)

    async def get_one(self) -> dict[str, Any]:
        return (await self.get())[0]


async def until(condition: Callable[[], bool]) -> None:
    """Waits for what has no event."""
    with trio.fail_after(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.02)


def text(words: str, *, platform: str = "qq") -> dict[str, Any]:
    return message_of({"type": "text", "data": words}, platform=platform)


def message_of(segment: dict[str, Any], *, platform: str = "qq", **info: Any) -> dict[str, Any]:
    """A standard message as it travels."""
    return {
        "message_info": {"platform": platform, "message_id": "m1", "time": 1703123456.5, **info},
        "message_segment": segment,
    }


def one_of_each_kind() -> list[dict[str, Any]]:
    """Messages as both libraries write them: what is absent inside of the parts is null."""
    user = {"platform": "qq", "user_id": "10001", "user_nickname": "小明", "user_cardname": None}
    group = {"platform": "qq", "group_id": "20002", "group_name": "测试群"}
    nested = [
        {"type": "text", "data": "看这张图 👇"},
        {"type": "seglist", "data": [{"type": "image", "data": "iVBORw0KGgo="}, {"type": "emoji", "data": "🙂"}]},
    ]
    return [
        text('你好, world\n\t"quoted" \\ \u2028 🎉'),
        message_of({"type": "seglist", "data": nested}, user_info=user, group_info=group),
        {**message_of({"type": "image", "data": "QUJD" * 700_000}), "raw_message": "[raw]"},
    ]


def message(words: Any, *, platform: str = "qq") -> MessageBase:
    return parsed(text(words, platform=platform))


def parsed(plain: dict[str, Any]) -> MessageBase:
    return MessageBase.from_dict(plain)
