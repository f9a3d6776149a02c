"""What a constructor says when it is not called as it has to be."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, TypeVar, cast

from maim_trio._runtime.checked import refuse_unknown
from maim_trio.errors import Misused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from maim_trio._runtime.checked import Checked

__all__ = ["takes"]

F = TypeVar("F", bound="Callable[..., None]")


def takes(config: type[Checked], example: str) -> Callable[[F], F]:
    """For the constructor of what is configured by a `config`, its first argument: anything else that is given to it is
    named, and `example` says how to do it."""

    def decorate(init: F) -> F:
        first, *others = list(inspect.signature(init).parameters.values())[1:]
        by_name = [parameter.name for parameter in others]

        @functools.wraps(init)
        def checked(self: object, *arguments: Any, **named: Any) -> None:
            name = type(self).__name__
            refuse_unknown(config, named, also=[first.name, *by_name])
            if fields := sorted(named.keys() - {first.name, *by_name}):
                raise Misused(f"{name} takes {', '.join(fields)} in its {config.__name__}, as in {example}")
            given = arguments or ((named[first.name],) if first.name in named else ())
            if not _fits(given, config, optional=first.default is None):
                but = f", not {', '.join(type(argument).__name__ for argument in given)}" if given else ""
                raise Misused(f"{name} takes a {config.__name__}{but}, as in {example}")
            if len(arguments) > 1:
                raise Misused(f"{name} takes nothing but its {config.__name__} without a name{_named(by_name)}")
            init(self, *arguments, **named)

        return cast("F", checked)

    return decorate


def _fits(given: Sequence[Any], config: type[Checked], *, optional: bool) -> bool:
    if not given or given[0] is None:
        return optional
    return isinstance(given[0], config)


def _named(names: list[str]) -> str:
    return f": write {', '.join(f'{name}=…' for name in names)}" if names else ""
