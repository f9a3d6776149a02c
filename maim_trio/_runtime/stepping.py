"""Awaiting a coroutine, and being told when it waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from maim_trio._transport.at_once import driven

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

__all__ = ["watched"]

T = TypeVar("T")


def watched(running: Coroutine[Any, Any, T], on_wait: Callable[[], None]) -> Awaitable[T]:
    """``await running``, with `on_wait` called, synchronously, at each checkpoint, before the task leaves off. A
    coroutine that comes to its end without one is one synchronous step."""

    def leaves_off(_: object) -> bool:
        on_wait()
        return False

    return driven(running, leaves_off)
