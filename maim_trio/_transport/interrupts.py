"""Where Ctrl-C lands: in what users have written, never in the middle of our own work.

trio raises KeyboardInterrupt in what runs when the signal comes. What is marked as protected it lets go on, and the
program's main task gets the exception at its next checkpoint. Only then does it look for marks, from the innermost
function outwards: until a signal comes they cost nothing.
"""

from __future__ import annotations

from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["interruptible", "protected", "uninterrupted"]

F = TypeVar("F", bound="Callable[..., Any]")
C = TypeVar("C", bound=type[Any])

_calls_users: set[CodeType] = set()


def interruptible(function: F) -> F:
    """For what calls users' functions: Ctrl-C may break these off, or an endless loop in one could not be ended."""
    _calls_users.add(function.__code__)
    return trio.lowlevel.disable_ki_protection(function)


def protected(function: F) -> F:
    """For the function of a task: nothing that it calls is interrupted, but what is `interruptible`."""
    return trio.lowlevel.enable_ki_protection(function)


def uninterrupted(cls: C) -> C:
    """The same for all methods of a class, whether tasks begin with them or users call them."""
    for function in vars(cls).values():
        if isinstance(function, FunctionType) and not _excepted(function):
            protected(function)
    return cls


def _excepted(function: FunctionType) -> bool:
    return function.__code__ in _calls_users or hasattr(function, "__wrapped__")  # a decorator's code is everybody's
