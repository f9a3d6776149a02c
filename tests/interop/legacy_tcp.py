"""Our side of the interop tests over TCP: messages, tokens, servers and clients of ours."""

from __future__ import annotations

import itertools
import time
from collections import deque
from typing import Any

import trio

from maim_trio import BaseMessageInfo, MessageBase, Seg, UserInfo
from tests.interop.peer_process import PATIENCE

TOKEN = "token-of-the-tests-0123456789"
WRONG_TOKEN = "another-token-9876543210"

_numbers = itertools.count(1)


class Heard:
    """A handler that keeps what it was called with. `get` waits for the next call."""

    def __init__(self) -> None:
        self._calls: deque[Any] = deque()
        self._news = trio.Event()

    def __call__(self, message: Any) -> None:
        self._calls.append(message)
        self._news.set()

    async def get(self) -> Any:
        with trio.fail_after(PATIENCE):
            while not self._calls:
                self._news = trio.Event()
                await self._news.wait()
        return self._calls.popleft()

    def __len__(self) -> int:
        return len(self._calls)


def message(data: Any = "hello", *, kind: str = "text", platform: str = "qq", raw: str | None = None) -> MessageBase:
    """A message as an adapter sends it."""
    info = BaseMessageInfo(
        platform, f"m{next(_numbers)}", time.time(), user_info=UserInfo(platform, "10001", "小明", "群名片")
    )
    return MessageBase(info, Seg(kind, data), raw)


def one_of_each_kind() -> list[dict[str, Any]]:
    """Messages that between them are short and long, nested and not, in several scripts."""
    nested = [Seg("text", "看这张图 👇"), Seg("seglist", [Seg("image", "iVBORw0KGgo="), Seg("emoji", "🙂")])]
    return [
        message('你好, world\n\t"quoted" \\ \u2028 🎉', raw="raw").to_dict(),
        message(nested, kind="seglist").to_dict(),
        message("QUJD" * 500_000, kind="image").to_dict(),
        message({"sub_type": "poke", "ratio": 0.5, "none": None}, kind="notify").to_dict(),
    ]


async def until(condition: Any) -> None:
    """Waits for what no event tells."""
    with trio.fail_after(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.01)
