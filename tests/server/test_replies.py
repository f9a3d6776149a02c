"""When the reply of a handler is written: that of a message that comes alone does not wait for what is behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import lockstep
from benchmarks.lockstep import Load

if TYPE_CHECKING:
    from maim_trio.message import APIMessageBase
    from maim_trio.server import WebSocketServer

ROUNDS = 6


@dataclass(frozen=True)
class Replies(Load):
    """Each message is answered so many times."""

    times: int = 1

    @property
    def delivered(self) -> int:
        return self.sent * self.times


async def left_waiting(load: Replies) -> list[list[bool]]:
    """Of each handler: whether anything waited to be written after each of its sends."""
    seen: list[list[bool]] = []

    async def reply(server: WebSocketServer, message: APIMessageBase) -> None:
        seen.append([])
        for _ in range(load.times):
            await server.send_message(message)
            seen[-1].append(any(link.queued_bytes for link in server.links))

    await lockstep.run(load, ROUNDS, lambda _: None, reply)
    return seen[-ROUNDS * load.connections :]


async def test_the_only_reply_is_written_when_it_is_sent() -> None:
    assert await left_waiting(Replies(connections=1, outstanding=1)) == [[False]] * ROUNDS


async def test_the_replies_to_what_came_together_are_written_with_the_last() -> None:
    assert await left_waiting(Replies(connections=3, outstanding=1)) == [[True], [True], [False]] * ROUNDS


async def test_handlers_that_send_more_than_once_write_when_they_have_ended() -> None:
    assert await left_waiting(Replies(connections=1, outstanding=1, times=2)) == [[True, True]] * ROUNDS
