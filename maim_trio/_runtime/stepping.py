"""Awaiting a coroutine, and being told when it waits."""

from __future__ import annotations

from types import coroutine
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

__all__ = ["watched"]

T = TypeVar("T")


@coroutine
def watched(running: Coroutine[Any, Any, T], on_wait: Callable[[], None]) -> Generator[Any, Any, T]:
    """``await running``, with `on_wait` called, synchronously, at each checkpoint, before the task leaves off. A
    coroutine that comes to its end without one is one synchronous step.

    It does by hand what ``yield from`` does (PEP 380), as that cannot tell whether it is about to yield.
    """
    try:
        trap = running.send(None)
        while True:
            on_wait()
            try:
                answer = yield trap
            except BaseException as error:  # noqa: ASYNC103 - it goes on in what is awaited, which decides
                trap = running.throw(error)
            else:
                trap = running.send(answer)
    except StopIteration as end:
        value: T = end.value
        return value
