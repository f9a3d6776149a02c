"""What all message classes have in common: a plain dict and JSON, in both directions.

Reading is one typed decode; only what that refuses takes the lenient way, where an integer that stands for an
identifier becomes a string and a null for an optional field counts as absent. Writing checks first, because msgspec
looks at no value when an object is made or an attribute is set; what is not in order then takes the lenient way too.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import msgspec

from maim_trio.message._json import PARSE_ERRORS, invalid, json_value, kind_of, parse_error

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NOT_GIVEN", "Model"]

NOT_GIVEN: Final[Any] = None
"""The default of a field that the wire requires and the constructor does not."""

_encode: Final = msgspec.json.Encoder().encode
_decode_any: Final = msgspec.json.Decoder().decode


@cache
def _decoder(model: type[Model]) -> Callable[[bytes | str], Any]:
    return msgspec.json.Decoder(model).decode


def _untyped(data: bytes | str, refusal: msgspec.ValidationError) -> object:
    """What the JSON holds that the typed decode has refused. Raises InvalidMessage when it is not even JSON."""
    try:
        return _decode_any(data)
    except msgspec.ValidationError:  # a number out of range, and only the refusal knows the place
        raise parse_error(refusal, "$") from None
    except PARSE_ERRORS as error:
        raise parse_error(error, "$") from None


def _other_kind(expected: type, value: object) -> str:
    """The text that says that `value` is of another class; there are classes of the same name in two public modules."""
    name, found = expected.__name__, kind_of(value)
    if name == found:
        name, found = (f"{kind.__module__.partition('._')[0]}.{name}" for kind in (expected, type(value)))
    return f"Expected `{name}`, got `{found}`"


class Model(msgspec.Struct, omit_defaults=True):
    """The base of all message classes; not used on its own."""

    _parts: ClassVar[dict[str, type[Model]]] = {}
    """The fields that hold another message class, and which."""
    _identifiers: ClassVar[tuple[str, ...]] = ()
    """The fields that are strings, but come as integers from some adapters."""

    def to_dict(self) -> dict[str, Any]:
        """What `to_json` writes, as a plain dict that shares nothing with this object.

        Absent optional fields are absent. Raises InvalidMessage, which names the path, for what does not fit the schema
        or JSON.
        """
        result: dict[str, Any] = _decode_any(self.to_json())
        return result

    def to_json(self) -> bytes:
        """UTF-8 JSON. Raises InvalidMessage, which names the path, for what does not fit the schema or JSON."""
        checked = self._checked()
        try:
            return _encode(checked)
        except (ValueError, RecursionError) as error:
            # Lone surrogates, endless integers and depth show only here. Copying finds the place.
            self._copied(self, "$", sending=True)
            raise parse_error(error, "$") from None

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The object that a plain dict describes; the two share nothing.

        Objects of this package may stand inside the dict; unknown keys are ignored. Raises InvalidMessage, a ValueError
        that names the path of what is wrong.
        """
        model = cls._copied(data, "$", sending=False)
        model._finish("$")
        return model

    @classmethod
    def from_json(cls, data: bytes | str) -> Self:
        """The object that UTF-8 JSON describes; unknown keys are ignored.

        Raises InvalidMessage, a ValueError that names the path of what is wrong, whatever the bytes are.
        """
        try:
            model: Self = _decoder(cls)(data)
        except msgspec.ValidationError as refusal:
            return cls._from_builtins(_untyped(data, refusal), "$")
        except PARSE_ERRORS as error:
            raise parse_error(error, "$") from None
        model._finish("$")
        return model

    @classmethod
    def _from_builtins(cls, value: object, path: str) -> Self:
        """An object made of what an untyped JSON decode returned, which is used up. `path` is where that stood."""
        model = cls._converted(value, path)
        model._finish(path)
        return model

    @classmethod
    def _converted(cls, value: object, path: str) -> Self:
        cls._relax(value)
        try:
            return msgspec.convert(value, cls)
        except PARSE_ERRORS as error:
            raise parse_error(error, path) from None

    @classmethod
    def _relax(cls, value: object) -> None:
        """Makes of a plain dict, in place, what the strict conversion takes. It refuses anything else by itself."""
        if type(value) is not dict:
            return
        for name in cls._identifiers:
            if type(value.get(name)) is int:
                value[name] = str(value[name])
        for name, part in cls._parts.items():
            part._relax(value.get(name))

    @classmethod
    def _copied(cls, source: object, path: str, *, sending: bool) -> Self:
        """An object made of copies of everything in `source`, checked to be JSON."""
        return cls._converted(cls._plain(source, path, sending=sending), path)

    @classmethod
    def _plain(cls, source: object, path: str, *, sending: bool) -> dict[str, Any]:
        """The known fields of `source` as JSON values. When `sending`, objects are expected, otherwise dicts do too."""
        plain: dict[str, Any] = {}
        for name, value in cls._values(source, path, sending=sending).items():
            place = f"{path}.{name}"
            part = cls._parts.get(name)
            plain[name] = json_value(value, place) if part is None else part._plain(value, place, sending=sending)
        return plain

    @classmethod
    def _values(cls, source: object, path: str, *, sending: bool) -> dict[str, Any]:
        """The known fields of `source` as they are, without those that are null and may be absent."""
        names = cls.__struct_fields__
        if isinstance(source, cls):
            values = {name: getattr(source, name) for name in names}
        elif isinstance(source, dict) and not sending:
            values = {name: source[name] for name in names if name in source}
        else:
            raise invalid(_other_kind(cls, source) if sending else f"Expected `object`, got `{kind_of(source)}`", path)
        optional = names[len(names) - len(cls.__struct_defaults__) :]
        return {name: value for name, value in values.items() if value is not None or name not in optional}

    def _checked(self) -> Self:
        """What may be encoded: this object when everything in it is in order, else a copy where it is."""
        if self._in_order():
            return self
        model = self._copied(self, "$", sending=True)._with_platforms()
        model._finish("$")
        return model

    def _in_order(self) -> bool:
        """Whether nothing is missing, and every value is of the exact type that is written, so that no copy is needed.
        Fast; may be false."""
        return False

    def _with_platforms(self) -> Self:
        """This object, or a copy of it where every user and group has a platform."""
        return self

    def _missing(self) -> str | None:
        """Where, seen from here, a field is absent that the wire requires and the constructor does not; or None."""
        return None

    def _finish(self, path: str) -> None:
        """What typed decoding leaves undone; on a fresh object, which stands at `path`."""
        missing = self._missing()
        if missing is not None:
            place, _, field = f"{path}.{missing}".rpartition(".")
            raise invalid(f"Object missing required field `{field}`", place)
