"""Configuration classes whose fields are checked, and which can be read from TOML files and the environment.

A wrong type or range raises `ConfigError` naming the field when the object is made. What is required but missing is
only reported (`validate`, `get_missing_fields`): the reference documents make configurations first and fill them later.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import logging
import math
import os
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from maim_trio._wire.text import did_you_mean
from maim_trio.errors import ConfigError, UnknownField

if typing.TYPE_CHECKING:
    from typing import Self

Check = Callable[[Any], str | None]
"""Returns what is wrong with a value, as the end of a sentence that begins with the field's name, or None."""

P = typing.ParamSpec("P")
R = typing.TypeVar("R")

DAY = 86_400.0


def option(
    default: Any,
    check: Check,
    *,
    secret: bool = False,
    normalise: Callable[[Any], Any] | None = None,
    in_files: bool = True,
) -> Any:
    """A dataclass field with its check. `secret` values are never shown; `normalise` is applied to what was checked;
    `in_files` False: it holds a Python object, so that no file can set it."""
    metadata = {"check": check, "secret": secret, "normalise": normalise, "in_files": in_files}
    shown = in_files and not secret  # the repr of a partial tells its arguments, which may be keys
    if isinstance(default, dict):
        return dataclasses.field(default_factory=dict, metadata=metadata, repr=shown)
    return dataclasses.field(default=default, metadata=metadata, repr=shown)


def text(*, optional: bool = False) -> Check:
    return lambda value: None if (optional and value is None) or isinstance(value, str) else "must be a string"


def flag(value: Any) -> str | None:
    return None if isinstance(value, bool) else "must be True or False"


def optional_flag(value: Any) -> str | None:
    return None if value is None or isinstance(value, bool) else "must be True, False or None"


def whole(low: int, high: int | None = None, *, optional: bool = False) -> Check:
    return _number((int,), "a whole number", low, high, optional)


def seconds(low: float = 0.0, high: float = DAY, *, optional: bool = False) -> Check:
    return _number((int, float), "a number of seconds", low, high, optional)


def hook(value: Any) -> str | None:
    return None if value is None or callable(value) else "must be callable or None"


def one_of(*choices: str) -> Check:
    return lambda value: None if value in choices else f"must be one of {', '.join(map(repr, choices))}"


def strings(value: Any) -> str | None:
    if value is None or (isinstance(value, Sequence) and not isinstance(value, str) and all(map(_is_str, value))):
        return None
    return "must be a list of strings or None"


def string_map(value: Any) -> str | None:
    if isinstance(value, Mapping) and all(_is_str(key) and _is_str(item) for key, item in value.items()):
        return None
    return "must be a dict of strings"


def anything(_value: Any) -> str | None:
    return None


def _is_str(value: Any) -> bool:
    return isinstance(value, str)


def _number(
    types: tuple[type[int] | type[float], ...], what: str, low: float, high: float | None, optional: bool
) -> Check:
    allowed = f"{low:g} or more" if high is None else f"from {low:g} to {high:g}"

    def check(value: Any) -> str | None:
        if optional and value is None:
            return None
        if not isinstance(value, types) or isinstance(value, bool):
            return f"must be {what} {allowed}"
        return None if low <= value <= (math.inf if high is None else high) else f"must be {what} {allowed}"

    return check


@dataclasses.dataclass(init=False, repr=False, eq=False)
class Checked:
    """The base of all configuration classes."""

    section: ClassVar[str] = ""
    """The table of a TOML file that holds this configuration, where the file has such tables."""
    owner: ClassVar[str] = ""
    """What errors call it, where users do not know this class by its own name."""

    _noun: ClassVar[str] = ""
    """What errors about a name that is no field call it, where that is another word."""

    def __new__(cls, *_positional: Any, **fields: Any) -> Self:
        refuse_unknown(cls, fields)
        return super().__new__(cls)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.__dataclass_fields__ and name not in self.__dict__ and not name.startswith("_"):
            refuse_unknown(type(self), [name])  # a misspelt hook would never be called
        super().__setattr__(name, value)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            setattr(self, field.name, self._checked(field.name, getattr(self, field.name)))

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> Self:
        """Reads a TOML file: its table ``[server]``, ``[client]`` or ``[multi_client]``, or else the whole file.

        Raises ConfigError that names file, key and expected type. Callbacks are assigned in the program afterwards.
        """
        import tomllib  # for those who keep their configuration in files

        try:
            with open(path, "rb") as file:
                values = tomllib.load(file)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: is not valid TOML: {error}") from None
        table = values.get(cls.section, values)
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: `{cls.section}` must be a table")
        place = "" if table is values else f" (in the table [{cls.section}])"
        return cls._from_values(table, lambda name: f"{path}: key `{name}`", place)

    @classmethod
    def from_env(cls, prefix: str = "MAIM_") -> Self:
        """Reads environment variables: ``MAIM_PORT``, ``MAIM_LOG_LEVEL`` … for the fields `port`, `log_level` …

        Lists are separated by commas, `headers` is a JSON object. Variables that name no field are left alone. Raises
        ConfigError that names the variable and the expected type.
        """
        values = {
            field.name: _from_text(os.environ[prefix + field.name.upper()], str(field.type))
            for field in dataclasses.fields(cls)
            if field.metadata["in_files"] and prefix + field.name.upper() in os.environ
        }
        return cls._from_values(values, lambda name: f"environment variable {prefix}{name.upper()}")

    def validate(self) -> bool:
        """Whether everything required is there and readable; what is not is logged as an ERROR."""
        problem = self.problem()
        if problem is not None:
            logging.getLogger("maim_trio.config").error("%s", problem)
        return problem is None

    def get_missing_fields(self) -> set[str]:
        """The names of required fields that have no value yet."""
        return set()

    def problem(self) -> str | None:
        """One sentence about the first thing that keeps this configuration from being used, or None."""
        missing = self.get_missing_fields()
        if missing:
            return f"{self._title()} needs {', '.join(sorted(missing))}: set it before starting"
        return None

    def update(self, changes: Mapping[str, Any]) -> set[str]:
        """Sets all of `changes` or, with ConfigError (a ValueError), none. Returns the names that really changed.

        TypeError, and nothing changed, for a custom handler that fits no form.
        """
        refuse_unknown(type(self), changes)
        checked = {name: self._checked(name, value) for name, value in changes.items()}
        changed = {name for name, value in checked.items() if getattr(self, name) != value}
        for name, value in checked.items():
            setattr(self, name, value)
        return changed

    def update_usable(self, changes: Mapping[str, Any]) -> set[str]:
        """Like `update`, and ConfigError also for changes after which this configuration could not be used."""
        trial = copy.copy(self)
        trial.update(changes)
        problem = trial.problem()
        if problem is not None and self.problem() is None:
            raise ConfigError(problem)
        return self.update(changes)

    @classmethod
    def _title(cls) -> str:
        return cls.owner or cls.__name__

    @classmethod
    def _from_values(cls, values: Mapping[str, Any], place: Callable[[str], str], table: str = "") -> Self:
        fields = {field.name: field for field in dataclasses.fields(cls)}
        for name, value in values.items():
            if name not in fields:
                raise ConfigError(f"{place(name)}: {cls.__name__} has no such field{cls._hint(name, value)}{table}")
            if not fields[name].metadata["in_files"]:
                raise ConfigError(f"{place(name)}: this is a Python object; assign it in your program{table}")
            wrong = _wrong(fields[name], value)
            if wrong is not None:
                raise ConfigError(f"{place(name)} {wrong}{table}")
            try:
                _normalised(fields[name], value)
            except ConfigError as error:  # in what is nested in it
                raise ConfigError(f"{place(name)}: {error}") from None
        return cls(**values)

    @classmethod
    def _hint(cls, name: str, value: Any) -> str:
        if isinstance(value, dict):
            return f"; its table is called [{cls.section}]"
        return did_you_mean([name], [field.name for field in dataclasses.fields(cls)])

    def _checked(self, name: str, value: Any) -> Any:
        field = self.__dataclass_fields__[name]
        wrong = _wrong(field, value)
        if wrong is not None:
            raise ConfigError(f"{self._title()}.{name} {wrong}")
        return _normalised(field, value)


def _normalised(field: dataclasses.Field[Any], value: Any) -> Any:
    normalise = field.metadata["normalise"]
    return value if normalise is None else normalise(value)


def _wrong(field: dataclasses.Field[Any], value: Any) -> str | None:
    wrong: str | None = field.metadata["check"](value)
    if wrong is None:
        return None
    if not wrong.startswith("must be"):
        return wrong
    hidden = field.metadata["secret"] or not field.metadata["in_files"]
    return f"{wrong}, not {type(value).__name__ if hidden else f'{value!r:.80}'}"


def refuse_unknown(config: type[Checked], names: Iterable[str], *, also: Iterable[str] = ()) -> None:
    """Raises UnknownField, with the nearest right names, when one is neither a field nor in `also`."""
    known = [*(field.name for field in dataclasses.fields(config)), *also]
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise UnknownField(
            f"{config._noun or config._title()} has no field {', '.join(unknown)}{did_you_mean(unknown, known)}"
        )


def knows_its_names(config: type[Checked]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """For a factory with required arguments: a misspelt keyword is named before Python misses what was meant by it."""

    def decorate(factory: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(factory)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            refuse_unknown(config, kwargs)
            return factory(*args, **kwargs)

        return checked

    return decorate


_SCALARS: Mapping[str, type[Any]] = {"bool": bool, "int": int, "float": float}


def _from_text(value: str, annotation: str) -> Any:
    """What a string from the environment means for a field of this type; unchanged when it means nothing."""
    kind = annotation.removesuffix(" | None")
    if kind == "Sequence[str]":
        return [part.strip() for part in value.split(",") if part.strip()]
    try:
        if kind.startswith("dict["):
            return msgspec.json.decode(value)
        if kind in _SCALARS:
            return msgspec.convert(value.strip(), _SCALARS[kind], strict=False)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        return value  # the check says what is wrong with it
    return value
