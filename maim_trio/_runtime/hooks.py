"""Calling what users hand in: plain functions, coroutines functions, lambdas, partials, objects with `__call__`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import CoroutineType
from typing import Any, NamedTuple

Handler = Callable[..., Any]


class Outcome(NamedTuple):
    """What came of calling a hook: its value, or why there is none."""

    value: Any = None
    failure: str | None = None


NOTHING = Outcome()
"""What nearly every handler comes to."""


_PLAIN = (bool, str, type(None))
"""What plain functions nearly always return: to find out that it is not awaitable takes longer."""


async def call(function: Handler, *args: Any) -> Any:
    """Calls `function` and awaits whatever in its result is awaitable.

    No checkpoint of its own: a plain function stays one synchronous step.
    """
    return await result_of(function(*args))


async def result_of(value: Any) -> Any:
    """`value`, or what it comes to when it is awaitable."""
    while type(value) is CoroutineType or (value is not None and inspect.isawaitable(value)):
        value = await value
    return value


def waits(value: Any) -> bool:
    """Whether what a hook has returned has to be awaited."""
    kind = type(value)
    return kind is CoroutineType or (kind not in _PLAIN and inspect.isawaitable(value))


def split_errors(group: BaseExceptionGroup) -> tuple[Exception | None, BaseException]:
    """The errors in a group that is no `ExceptionGroup`, and what else is in it and has to go on: a cancellation, or
    what ends the program. A nursery in user code makes such groups when it is cancelled and its clean-up fails."""
    errors, rest = group.split(Exception)
    assert rest is not None
    return errors, rest


def two_arguments(handler: Handler) -> Handler:
    """`handler` as something that takes ``(payload, metadata)``; one that takes only ``(payload)`` is wrapped.

    Raises TypeError for a callable that fits neither and for what is no callable at all.
    """
    if not callable(handler):
        raise TypeError(f"a custom handler must be callable, not {type(handler).__name__}")
    try:
        signature = inspect.signature(handler)
    except ValueError:  # some built-ins have none: take them at their word
        return handler
    if _accepts(signature, 2):
        return handler
    if _accepts(signature, 1):
        return lambda payload, _metadata: handler(payload)
    raise TypeError(
        f"a custom handler takes (payload, metadata) or (payload); {_name(handler)}{signature} fits neither"
    )


def _accepts(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def _name(handler: Handler) -> str:
    return getattr(handler, "__qualname__", type(handler).__qualname__)
