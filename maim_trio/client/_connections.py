"""One named connection of a client with many, and the table that holds them.

An entry knows which of its fields were set on purpose; the table tells of every change, however it is made.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

from maim_trio._runtime.checked import option, text
from maim_trio.client._config import ClientConfig
from maim_trio.errors import ConfigError

if TYPE_CHECKING:
    from typing import Self


class _Unset(str):
    """A default value that can be told from the same value given on purpose."""

    __slots__ = ()


DEFAULT_PLATFORM: Final[str] = _Unset("default")

_NAMES: Final = tuple(field.name for field in dataclasses.fields(ClientConfig))


@dataclasses.dataclass(init=False)
class ConnectionEntry(ClientConfig):
    """One named connection: a `ClientConfig` with a name. It remembers which fields were set, so that the others come
    from the multi-connection configuration and its `default_config`.

    Fields may be assigned at any time: a running client notices, and ConfigError is raised for a wrong value.
    """

    _noun: ClassVar[str] = "a connection"

    name: str = option("", text())

    def __init__(
        self, name: str, url: str = "", api_key: str = "", platform: str = DEFAULT_PLATFORM, **fields: Any
    ) -> None:
        known = {field.name: field for field in dataclasses.fields(ClientConfig)}
        given = {"url": url, "api_key": api_key, "platform": platform, **fields}
        self.name = name
        for field in known.values():
            default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
            setattr(self, field.name, given.get(field.name, default))
        self.__post_init__()
        unset = {name for name in ("url", "api_key") if not given[name]}
        unset |= {"platform"} if platform is DEFAULT_PLATFORM else set()
        self._watchers: list[Callable[[], None]] = []
        self._version = 0
        self._given = set(given) - unset

    @property
    def version(self) -> int:
        """Counts the changes."""
        return self._version

    def __setattr__(self, name: str, value: Any) -> None:
        if "_given" not in self.__dict__ or name not in self.__dataclass_fields__:
            super().__setattr__(name, value)
            return
        super().__setattr__(name, self._checked(name, value))
        self._given.add(name)
        self._tell()

    def __copy__(self) -> Self:
        twin = object.__new__(type(self))
        twin.__dict__.update({**self.__dict__, "_given": set(self._given), "_watchers": []})
        return twin

    def update(self, changes: Mapping[str, Any]) -> set[str]:
        """Sets all of `changes` or, with ConfigError, none; from here on they count as given."""
        if changes.get("name", self.name) != self.name:
            raise ConfigError("a connection cannot be renamed: register it anew")
        watchers, self._watchers = self._watchers, []  # they are told once, of everything
        try:
            changed = super().update(changes)
        finally:
            self._watchers = watchers
        self._tell()
        return changed

    def is_given(self, name: str) -> bool:
        """Whether a field was set on purpose. What was put into a dict of the entry counts, too."""
        value = getattr(self, name)
        return name in self._given or (isinstance(value, dict) and bool(value))

    def given(self) -> dict[str, Any]:
        """The `ClientConfig` fields that were set on purpose."""
        return {name: getattr(self, name) for name in _NAMES if self.is_given(name)}

    def watch(self, watcher: Callable[[], None]) -> None:
        """Has `watcher` called after every change, until `unwatch`."""
        self._watchers.append(watcher)

    def unwatch(self, watcher: Callable[[], None]) -> None:
        if watcher in self._watchers:
            self._watchers.remove(watcher)

    def _tell(self) -> None:
        self._version += 1
        for watcher in list(self._watchers):
            watcher()


def _unwatched() -> None:
    """A table that nobody listens to."""


class ConnectionTable(dict[str, ConnectionEntry]):
    """The connections by name: a dict into which entries or dicts of their fields may be put.

    ConfigError for what cannot be made an entry. What is put in is not changed, but for an entry of another name:
    a copy of it is taken.
    """

    def __init__(
        self, connections: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), changed: Callable[[], None] = _unwatched
    ) -> None:
        super().__init__()
        self._changed = changed
        for name, entry in {name: made_entry(name, value) for name, value in dict(connections).items()}.items():
            self._put(name, entry)

    def __setitem__(self, name: str, value: Any) -> None:
        entry = made_entry(name, value)
        self._drop(name)
        self._put(name, entry)
        self._changed()

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self._drop(name)
        self._changed()

    # What dict does by itself would pass the two above by.

    def pop(self, name: str, *default: Any) -> Any:
        if name not in self and default:
            return default[0]
        entry = self[name]
        del self[name]
        return entry

    def popitem(self) -> tuple[str, ConnectionEntry]:
        if not self:
            raise KeyError("there are no connections")
        name = next(reversed(self))
        return name, self.pop(name)

    def setdefault(self, name: str, default: Any = None) -> ConnectionEntry:
        if name not in self:
            self[name] = default
        return self[name]

    def update(self, *others: Mapping[str, Any] | Iterable[tuple[str, Any]], **named: Any) -> None:  # type: ignore[override]
        for name, value in dict(*others, **named).items():
            self[name] = value

    def __ior__(self, other: Any) -> Self:  # type: ignore[override,misc]
        self.update(other)
        return self

    def clear(self) -> None:
        for name in list(self):
            del self[name]

    def leave(self) -> None:
        """Nobody is told any more: another table has taken its place."""
        for entry in self.values():
            entry.unwatch(self._changed)
        self._changed = _unwatched

    def _put(self, name: str, entry: ConnectionEntry) -> None:
        super().__setitem__(name, entry)
        entry.watch(self._changed)

    def _drop(self, name: str) -> None:
        entry = super().pop(name, None)
        if entry is not None:
            entry.unwatch(self._changed)


def made_entry(name: str, value: Any) -> ConnectionEntry:
    """An entry of this name from an entry or from a dict of its fields; what was passed is not changed."""
    if isinstance(value, ConnectionEntry) and value.name == name:
        return value
    if isinstance(value, ConnectionEntry):
        entry = copy.copy(value)
        entry.__dict__["name"] = name
        return entry
    if not isinstance(name, str) or not isinstance(value, Mapping):
        raise ConfigError(f"connection {name!r:.80} must be a ConnectionEntry or a dict, not {type(value).__name__}")
    fields = {key: item for key, item in value.items() if key != "name"}
    try:
        return ConnectionEntry(name, **fields)
    except (ConfigError, TypeError) as error:
        raise ConfigError(f"connection {name!r:.80}: {error}") from None
