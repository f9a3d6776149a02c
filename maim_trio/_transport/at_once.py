"""Awaiting a coroutine by hand, with a look at what it waits for."""

from __future__ import annotations

from types import coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import outcome
import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator

__all__ = ["at_once", "driven"]

T = TypeVar("T")


def _trap_of_a_checkpoint() -> Any:
    checkpoint = trio.lowlevel.cancel_shielded_checkpoint()  # noqa: ASYNC105 - it is looked at, not awaited
    trap = checkpoint.send(None)
    checkpoint.close()
    return trap


_CHECKPOINT = _trap_of_a_checkpoint()
"""What comes to trio from a coroutine that only lets others have their turn; were it another object each time,
`at_once` would do no more than ``await`` does."""


def at_once(running: Coroutine[Any, Any, T]) -> Awaitable[T]:
    """``await running``, but where it only lets others have their turn it goes on. Cancellation is noticed as ever.

    For what is not to be a checkpoint though its library makes it one: each is a turn of trio's loop.
    """
    return driven(running, _is_checkpoint)


def _is_checkpoint(trap: object) -> bool:
    return trap is _CHECKPOINT


@coroutine
def driven(running: Coroutine[Any, Any, T], goes_on: Callable[[object], bool]) -> Generator[Any, Any, T]:
    """``await running``, with `goes_on` asked, synchronously, whenever it is about to leave off, with what it tells
    trio then. True: it does not leave off; it is answered as after a checkpoint.

    It does by hand what ``yield from`` does (PEP 380), as that cannot tell whether it is about to yield.
    """
    try:
        trap = running.send(None)
        while True:
            if goes_on(trap):
                trap = running.send(outcome.Value(None))
                continue
            try:
                answer = yield trap
            except BaseException as error:  # noqa: ASYNC103 - it goes on in what is awaited, which decides
                trap = running.throw(error)
            else:
                trap = running.send(answer)
    except StopIteration as end:
        value: T = end.value
        return value
