"""JSON values as Python objects: which ones are, and how the errors about them read.

JSON means RFC 8259: null, true, false, finite numbers, strings without lone surrogates, lists, and objects whose keys
are strings. msgspec also writes dates, bytes, sets, enums, dataclasses, numbers as keys, and NaN as null. None of these
comes back as what it was, so none of them leaves.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any, Final

import msgspec

from maim_trio.errors import InvalidMessage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["PARSE_ERRORS", "invalid", "is_json", "json_value", "kind_of", "parse_error", "too_deep"]

PARSE_ERRORS: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)
"""What decoding raises, whatever the input: malformed, ill-typed, not UTF-8, nested deeper than the stack allows."""

_ATOMS: Final = frozenset({str, int, bool, type(None)})
_STRINGS: Final = frozenset({str})
# Deeper than msgspec reads or writes at the default recursion limit; here it ends a walk around a cycle.
_MAX_DEPTH: Final = 1000
# Error texts travel back to peers and into logs, and a path holds keys of any length.
_MAX_PATH: Final = 200


def is_json(value: object) -> bool:
    """Whether `value` consists of exact JSON types and finite numbers only. Fast.

    Tuples, and subclasses of dict and list, count as no. Strings are not looked into: encoding finds lone surrogates.
    """
    pending: list[Iterator[object]] = [iter((value,))]
    while pending:
        for item in pending[-1]:
            kind = type(item)
            if kind in _ATOMS:
                continue
            if kind is float:
                if not isfinite(item):  # type: ignore[arg-type]
                    return False
                continue
            children = _children(item)
            if children is None or len(pending) == _MAX_DEPTH:
                return False
            # One C loop instead of a turn per element for what most containers are.
            if not _ATOMS.issuperset(map(type, children)):
                pending.append(iter(children))
                break
        else:
            pending.pop()
    return True


def _children(container: object) -> Iterable[object] | None:
    """What a JSON list or object holds; None when it is neither."""
    if type(container) is list:
        return container
    if type(container) is dict and _STRINGS.issuperset(map(type, container)):
        return container.values()
    return None


def json_value(value: object, path: str) -> Any:
    """A copy of `value` in exact JSON types: tuples become lists, subclasses of dict and list become plain ones.

    Raises InvalidMessage that names the place, `path` being the place of `value` itself.
    """
    try:
        return _copy(value, path)
    except RecursionError:
        raise too_deep(path) from None


def _copy(value: object, path: str) -> Any:
    kind = type(value)
    if kind is str:
        return _text(value, path)  # type: ignore[arg-type]
    if value is None or kind is bool:
        return value
    if kind is int or kind is float:
        return _number(value, path)  # type: ignore[arg-type]
    if isinstance(value, dict):
        return {_key(key, path): _copy(item, f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_copy(item, f"{path}[{index}]") for index, item in enumerate(value)]
    raise invalid(f"Expected a JSON value, got `{kind_of(value)}`", path)


def _key(key: object, path: str) -> str:
    if type(key) is not str:
        raise invalid(f"Expected `str` as key, got `{kind_of(key)}`", path)
    return _text(key, path)


def _text(value: str, path: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise invalid("Text with a lone surrogate is not Unicode", path) from None
    return value


def _number(value: float, path: str) -> float:
    if type(value) is float and not isfinite(value):
        raise invalid("Expected a finite number", path)
    try:
        str(value)
    except ValueError:  # more digits than Python writes: `sys.get_int_max_str_digits`
        raise invalid("Integer value out of range", path) from None
    return value


def kind_of(value: object) -> str:
    """The name of a value's type in the words of JSON, as msgspec's error texts have it."""
    if value is None:
        return "null"
    if type(value) is dict:
        return "object"
    if type(value) is list or type(value) is tuple:
        return "array"
    return type(value).__name__


def invalid(problem: str, path: str, *, code: str = "invalid_payload") -> InvalidMessage:
    """The exception that says what is wrong and where. `problem` never holds a value, which may be a secret."""
    shown = path if len(path) <= _MAX_PATH else f"{path[:_MAX_PATH]}…"
    return InvalidMessage(f"{problem} - at `{shown}`", code=code)


def too_deep(path: str) -> InvalidMessage:
    """The exception for what is nested without end, or nearly."""
    return invalid("Nested too deep", path, code="too_deep")


def parse_error(error: Exception, path: str) -> InvalidMessage:
    """One of `PARSE_ERRORS` as our exception. `path` is where the parsed object stands."""
    if isinstance(error, RecursionError):
        return too_deep(path)
    if isinstance(error, UnicodeError):
        return invalid("Text is not valid UTF-8", path)
    problem, found, place = str(error).rpartition(" - at `$")
    if not found:
        return invalid(str(error), path)
    return invalid(problem, path + place.removesuffix("`"))
