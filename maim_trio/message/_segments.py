"""The content of a message: segments, which may be lists of segments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from maim_trio.message._json import invalid, is_json, json_value, kind_of, parse_error
from maim_trio.message._model import Model

if TYPE_CHECKING:
    from maim_trio.errors import InvalidMessage

__all__ = ["MAX_DEPTH", "SEGLIST", "Seg"]

SEGLIST: Final = "seglist"
"""The one type whose data the schema knows: a list of segments."""
MAX_DEPTH: Final = 64
"""How many lists may stand inside one another: more than any adapter makes, less than the interpreter's stack holds."""


class Seg(Model):
    """One segment of a message.

    `type`: ``text``, ``image``, ``emoji``, ``voice``, ``seglist`` or a name that the two ends have agreed on.
    `data`: for ``seglist`` a list of `Seg`, at most 64 lists inside one another. For every other type any JSON value,
    which arrives unchanged: by convention text, or the base64 of a file for ``image``, ``emoji`` and ``voice``.
    """

    type: str
    data: Any

    @classmethod
    def _plain(cls, source: object, path: str, *, sending: bool, level: int = 1) -> dict[str, Any]:
        values = cls._values(source, path, sending=sending)
        data, place = values.get("data"), f"{path}.data"
        if values.get("type") != SEGLIST or not isinstance(data, list | tuple):
            return {name: json_value(value, f"{path}.{name}") for name, value in values.items()}
        if level > MAX_DEPTH:
            raise _too_many_lists(path)
        inner = [
            cls._plain(item, f"{place}[{index}]", sending=sending, level=level + 1) for index, item in enumerate(data)
        ]
        return {"type": SEGLIST, "data": inner}

    def _in_order(self, level: int = 1) -> bool:
        data = self.data
        if type(self.type) is not str:
            return False
        if self.type != SEGLIST:
            return type(data) is str or is_json(data)
        if type(data) is not list or level > MAX_DEPTH:
            return False
        return all(type(item) is Seg and item._in_order(level + 1) for item in data)

    def _finish(self, path: str) -> None:
        if self.type == SEGLIST:
            _expand(self, path)


class _Segments(msgspec.Struct):
    """msgspec keeps its plan for converting to a struct; for a bare ``list[Seg]`` it would make one every time."""

    items: list[Seg]


def _expand(segment: Seg, path: str) -> None:
    """Makes segments of the dicts in a seglist, on every level."""
    pending: list[tuple[Seg, tuple[int, ...]]] = [(segment, ())]
    while pending:
        outer, trail = pending.pop()
        if len(trail) >= MAX_DEPTH:
            raise _too_many_lists(_place(path, trail))
        try:
            outer.data = msgspec.convert({"items": outer.data}, _Segments).items
        except msgspec.ValidationError:
            # msgspec does not say which one it was.
            outer.data = _one_by_one(outer.data, f"{_place(path, trail)}.data")
        for index, inner in enumerate(outer.data):
            if inner.type == SEGLIST:
                pending.append((inner, (*trail, index)))


def _one_by_one(items: object, path: str) -> list[Seg]:
    if not isinstance(items, list):
        raise invalid(f"Expected `array`, got `{kind_of(items)}`", path)
    return [_segment(item, f"{path}[{index}]") for index, item in enumerate(items)]


def _segment(item: object, path: str) -> Seg:
    try:
        return msgspec.convert(item, Seg)
    except msgspec.ValidationError as error:
        raise parse_error(error, path) from None


def _place(path: str, trail: tuple[int, ...]) -> str:
    return path + "".join(f".data[{index}]" for index in trail)


def _too_many_lists(path: str) -> InvalidMessage:
    return invalid(f"More than {MAX_DEPTH} seglists inside one another", path, code="too_deep")
