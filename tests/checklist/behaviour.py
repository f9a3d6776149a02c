"""Behaviours: functions that show what rows of the table promise, each run once however many rows name it.

A coroutine function runs in virtual time, over memory streams; one marked `real_sockets` in real time. One that takes a
parameter gets the row, and runs for each of its rows.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import trio
import trio.testing

from tests.checklist import behaviours

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from tests.checklist.rows import Row

PATIENCE = 20.0
"""Seconds after which a behaviour over real sockets has failed."""
VIRTUAL_PATIENCE = 100_000.0


@cache
def all_behaviours() -> dict[str, Callable[..., Any]]:
    """Every public function that is defined in a module of `behaviours`, by name."""
    found: dict[str, Callable[..., Any]] = {}
    for module_info in pkgutil.iter_modules(behaviours.__path__):
        module = importlib.import_module(f"{behaviours.__name__}.{module_info.name}")
        for name, value in vars(module).items():
            if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_"):
                assert name not in found, f"two behaviours are called {name}"
                found[name] = value
    return found


def real_sockets(function: Callable[..., Any]) -> Callable[..., Any]:
    """Marks a behaviour whose point is the socket: it runs in real time."""
    function.real_sockets = True
    return function


def show(name: str, row: Row) -> None:
    """Runs a behaviour for a row; what it raises is what the row's test fails with."""
    function = all_behaviours()[name]
    if inspect.signature(function).parameters:
        _run(partial(function, row), function)
        return
    failure = _outcome(name)
    if failure is not None:
        raise failure[0].with_traceback(failure[1])


@cache
def _outcome(name: str) -> tuple[Exception, TracebackType | None] | None:
    function = all_behaviours()[name]
    try:
        _run(function, function)
    except Exception as error:
        return error, error.__traceback__
    return None


def _run(call: Callable[[], Any], function: Callable[..., Any]) -> None:
    if not inspect.iscoroutinefunction(function):
        call()
    elif getattr(function, "real_sockets", False):
        trio.run(_bounded, call, PATIENCE)
    else:
        trio.run(_bounded, call, VIRTUAL_PATIENCE, clock=trio.testing.MockClock(autojump_threshold=0))


async def _bounded(call: Callable[[], Any], seconds: float) -> None:
    with trio.fail_after(seconds):
        await call()
