"""How many handlers run at a time, for how long, and what becomes of those that misbehave."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from tests.checklist.world import (
    NAME,
    SIDES,
    Gate,
    Recorder,
    content,
    settle,
    side_of,
    talking,
)
from tests.memory import text_message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.checklist.rows import Row
    from tests.checklist.world import Talk

EACH_SIDE = sorted(set(SIDES.values()))


async def handlers_run_concurrently() -> None:
    for side in EACH_SIDE:
        gate = Gate()
        async with talking(side, on_message=gate) as talk:
            for number in range(20):
                await talk.say(number)
            await settle()
            assert gate.running == 20
            gate.opened.set()


async def running_handlers_are_counted() -> None:
    for side in EACH_SIDE:
        async with _waiting_handlers(side, 3) as (talk, gate):
            assert talk.subject.get_stats()["active_handler_tasks"] == 3
            gate.opened.set()
            await settle()
            assert talk.subject.get_stats()["active_handler_tasks"] == 0


async def messages_are_handled_in_order_when_wanted(row: Row) -> None:
    finished = []

    async def slower_at_first(message: Any, _metadata: Any) -> None:
        await trio.sleep(10 - content(message))
        finished.append(content(message))

    async with talking(_plain_side(row), on_message=slower_at_first, handler_ordering="per_connection") as talk:
        for number in range(5):
            await talk.say(number)
        await trio.sleep(100)
    assert finished == list(range(5))


async def handlers_are_bounded_together(row: Row) -> None:
    async with _waiting_handlers(_plain_side(row), 5, max_concurrent_handlers=3) as (_, gate):
        assert gate.running == 3
        gate.opened.set()
        await settle()
        assert sorted(gate.begun) == list(range(5))


async def handlers_are_bounded_per_connection(row: Row) -> None:
    async with _waiting_handlers(_plain_side(row), 5, max_concurrent_handlers_per_connection=2) as (talk, gate):
        assert gate.running == 2
        if row.of == "ServerConfig":
            async with talk.network.client("another_key") as other:
                assert await other.connect()
                await other.send_message(text_message(99))
                await settle()
                assert gate.running == 3, "another connection has slots of its own"
        gate.opened.set()


async def what_the_inbox_does_not_hold_is_not_acked(row: Row) -> None:
    fields = {"max_concurrent_handlers": 1, "inbox_size": 2}
    async with _waiting_handlers(_plain_side(row), 8, **fields) as (talk, gate):
        assert talk.far.get_stats()["messages_acked"] == 1 + 2, "one runs, two wait acked, the others wait unacked"
        gate.opened.set()
        await settle()
        assert talk.far.get_stats()["messages_acked"] == 8
        assert sorted(gate.begun) == list(range(8))


async def a_slow_handler_is_cancelled(row: Row) -> None:
    side = side_of(row)
    limits = {} if side == "multi" else {"handler_timeout": 5.0}
    gate = Gate()
    async with talking(side, on_message=gate, **limits) as talk:
        if side == "multi":
            talk.subject.update_connection(NAME, handler_timeout=5.0)
        await talk.say("hi")
        await settle()
        assert gate.running == 1
        await trio.sleep(5.5)
        assert gate.running == 0
        assert talk.subject.get_stats()["handler_timeouts"] == 1


async def handlers_get_shutdown_timeout(row: Row) -> None:
    side = SIDES.get(row.of, "server")
    async with _waiting_handlers(side, 2, shutdown_timeout=4.0) as (talk, gate):
        began = trio.current_time()
        await talk.subject.stop()
        assert trio.current_time() == began + 4.0
        assert gate.running == 0
    async with _waiting_handlers(side, 2, shutdown_timeout=4.0) as (talk, gate):
        began = trio.current_time()
        gate.opened.set()
        await talk.subject.stop()
        assert trio.current_time() == began, "no longer than they need"


async def a_raising_handler_harms_nobody(row: Row) -> None:
    heard = Recorder()

    async def raises(message: Any, metadata: Any) -> None:
        if content(message) == "raise":
            raise ZeroDivisionError
        heard(message, metadata)

    side = SIDES.get(row.of.partition(".")[0], "server")
    async with talking(side, on_message=raises) as talk:
        for text in ("raise", "next"):
            await talk.say(text)
        message, _ = await heard.wait()
        assert content(message) == "next"
        stats = talk.subject.get_stats()
        assert (stats["handler_errors"], stats["error_count"]) == (1, 1)
        if side != "multi":  # whose last_error is about its connections
            assert stats["last_error"] == "on_message raised ZeroDivisionError"
        assert talk.subject.is_running()


async def a_blocking_handler_is_named(row: Row) -> None:
    lines = Recorder()

    def blocks(_message: Any, _metadata: Any) -> None:
        time.sleep(0.02)

    async with talking(_plain_side(row), on_message=blocks, debug_slow_step=0.01, custom_logger=_Logger(lines)) as talk:
        await talk.say("hi")
        await lines.wait()


class _Logger:
    """Hands on what is said about the handler: on a machine that stalls, other tasks may be named as well."""

    def __init__(self, warning: Recorder) -> None:
        self.warning = lambda line: warning(line) if "on_message blocked the event loop" in line else None
        self.debug = self.info = self.error = lambda _line: None


def _plain_side(row: Row) -> str:
    """The side of a field that servers and single clients have."""
    return {"ServerConfig": "server", "ClientConfig": "client"}[row.of]


@asynccontextmanager
async def _waiting_handlers(side: str, messages: int, **fields: Any) -> AsyncIterator[tuple[Talk, Gate]]:
    """A talk with a subject that was sent so many messages; its handlers wait at a gate."""
    gate = Gate()
    own = fields if side != "multi" else {}
    async with talking(side, on_message=gate, **own) as talk:
        if side == "multi" and fields:
            talk.subject.update_connection(NAME, **fields)
        for number in range(messages):
            await talk.say(number)
        await settle()
        yield talk, gate
