"""Awaiting a coroutine, and being told when it begins to wait."""

from __future__ import annotations

from types import coroutine
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

__all__ = ["stepped"]

T = TypeVar("T")


@coroutine
def stepped(running: Coroutine[Any, Any, T], on_wait: Callable[[], None]) -> Generator[Any, Any, T]:
    """``await running``, with `on_wait` called once, synchronously, at its first checkpoint, before the task leaves
    off. A coroutine that comes to its end without one is one synchronous step.

    It does by hand what ``yield from`` does (PEP 380), as that cannot tell whether it is about to yield.
    """
    try:
        trap = running.send(None)
        on_wait()
        while True:
            try:
                answer = yield trap
            except BaseException as error:  # noqa: ASYNC103 - it goes on in what is awaited, which decides
                trap = running.throw(error)
            else:
                trap = running.send(answer)
    except StopIteration as end:
        value: T = end.value
        return value
