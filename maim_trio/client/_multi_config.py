"""The configuration of a client with many connections."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from maim_trio._runtime.checked import flag, option, seconds
from maim_trio._runtime.config import CallbackConfig
from maim_trio.client._connections import DEFAULT_PLATFORM, ConnectionEntry, ConnectionTable, made_entry

if TYPE_CHECKING:
    from typing import Self


def _connections(value: Any) -> str | None:
    return None if isinstance(value, Mapping) else "is not a dict of connections by name"


def _entries(connections: Mapping[str, Any]) -> dict[str, ConnectionEntry]:
    return {name: made_entry(name, value) for name, value in connections.items()}


class _Notes:
    """What the configuration notes about itself; no fields."""

    version: int  # counts the changes of connections
    _given: set[str]
    _listeners: list[Callable[[], None]]


def _remembers_what_is_given(cls: type[MultiClientConfig]) -> type[MultiClientConfig]:
    """Has the constructor note which fields were passed: a default that is passed counts as well."""
    init = cls.__init__
    positional = [field.name for field in dataclasses.fields(cls) if not field.kw_only]

    @functools.wraps(init)
    def remembering(self: MultiClientConfig, *args: Any, **fields: Any) -> None:
        given = {*positional[: len(args)], *fields}
        self.__dict__.update(_given=set(), _listeners=[], version=0)
        init(self, *args, **fields)
        self.__dict__["_given"] = given

    cls.__init__ = remembering  # type: ignore[method-assign]
    return cls


@_remembers_what_is_given
@dataclasses.dataclass
class MultiClientConfig(_Notes, CallbackConfig):
    """Everything about a `WebSocketMultiClient`. A wrong type or range raises `ConfigError` naming the field.

    `connections` by name (entries or dicts of their fields); `on_message` and `custom_handlers` for all of them;
    `auto_connect_on_start`; `connect_timeout` seconds; statistics and log as in `ClientConfig`. Handlers and log flags
    are read live, and connections may be added and removed while a client runs.
    """

    section: ClassVar[str] = "multi_client"

    connections: dict[str, ConnectionEntry] = option({}, _connections, normalise=_entries)
    auto_connect_on_start: bool = option(False, flag)
    connect_timeout: float = option(10.0, seconds(0.001))

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "connections":
            self._take_connections(value)
        else:
            super().__setattr__(name, value)
        self._given.add(name)

    def __copy__(self) -> Self:
        twin = object.__new__(type(self))
        twin.__dict__.update({**self.__dict__, "_given": set(self._given), "_listeners": []})
        twin.__dict__["connections"] = ConnectionTable(self.connections, twin.changed)
        return twin

    def is_given(self, name: str) -> bool:
        """Whether a field was set on purpose."""
        return name in self._given

    def _take_connections(self, value: Any) -> None:
        """Whatever dict of connections is assigned becomes a table of our own, which tells of its changes."""
        table = ConnectionTable(self._checked("connections", value), self.changed)
        old = self.__dict__.get("connections")
        if isinstance(old, ConnectionTable):
            old.leave()
        self.__dict__["connections"] = table
        self.changed()

    def register_connection(
        self, name: str, url: str, api_key: str, platform: str = DEFAULT_PLATFORM, **fields: Any
    ) -> bool:
        """Adds a connection, or replaces the one of this name. True. Raises ConfigError for wrong values."""
        self.connections[name] = made_entry(name, {"url": url, "api_key": api_key, "platform": platform, **fields})
        return True

    def add_connection(
        self, name: str, url: str, api_key: str, platform: str = DEFAULT_PLATFORM, **fields: Any
    ) -> bool:
        """Another name for `register_connection`."""
        return self.register_connection(name, url, api_key, platform, **fields)

    def register_ssl_connection(
        self,
        name: str,
        url: str,
        api_key: str,
        platform: str = DEFAULT_PLATFORM,
        ssl_ca_certs: str | None = None,
        **fields: Any,
    ) -> bool:
        """Adds a TLS connection: ``ws://`` becomes ``wss://``. True. Raises ConfigError for wrong values."""
        if url.startswith("ws://"):
            url = "wss://" + url.removeprefix("ws://")
        fields = {"ssl_enabled": True, **fields}
        if ssl_ca_certs is not None:
            fields["ssl_ca_certs"] = ssl_ca_certs
        return self.register_connection(name, url, api_key, platform, **fields)

    def add_ssl_connection(
        self,
        name: str,
        url: str,
        api_key: str,
        platform: str = DEFAULT_PLATFORM,
        ssl_ca_certs: str | None = None,
        **fields: Any,
    ) -> bool:
        """Another name for `register_ssl_connection`."""
        return self.register_ssl_connection(name, url, api_key, platform, ssl_ca_certs, **fields)

    def remove_connection(self, name: str) -> bool:
        """Removes a connection; a running client closes it. False when there is none of this name."""
        return self.connections.pop(name, None) is not None

    def get_connection(self, name: str) -> ConnectionEntry | None:
        """The entry of this name, or None."""
        return self.connections.get(name)

    def list_connections(self) -> dict[str, ConnectionEntry]:
        """All entries by name: a copy of the dict."""
        return dict(self.connections)

    def get_missing_fields(self) -> set[str]:
        """``name.field`` for each required field of a connection that has no value yet."""
        return {f"{name}.{field}" for name, entry in self.connections.items() for field in entry.get_missing_fields()}

    def problem(self) -> str | None:
        """One sentence about the first thing that keeps this configuration from being used, or None."""
        problem = super().problem()
        if problem is not None:
            return problem
        for name, entry in self.connections.items():
            if (problem := entry.problem()) is not None:
                return f"connection {name!r:.80}: {problem}"
        return None

    def changed(self) -> None:
        """Tells the clients that use this configuration that a connection was added, changed or removed."""
        self.version += 1
        for listener in list(self._listeners):
            listener()

    def listen(self, listener: Callable[[], None]) -> None:
        """Has `listener` called when a connection was added, changed or removed, until `unlisten`."""
        self._listeners.append(listener)

    def unlisten(self, listener: Callable[[], None]) -> None:
        self._listeners.remove(listener)


def create_multi_client_config(**kwargs: Any) -> MultiClientConfig:
    """A `MultiClientConfig` from keywords. Raises ConfigError for wrong values and unknown names."""
    return MultiClientConfig(**kwargs)


def create_multi_client_config_with_connections(
    connections: Mapping[str, Mapping[str, Any] | ConnectionEntry], **kwargs: Any
) -> MultiClientConfig:
    """A `MultiClientConfig` with connections, each a dict of its fields or a `ConnectionEntry`. `connections` is not
    changed. Raises ConfigError for wrong values and unknown names."""
    given: Any = dict(connections) if isinstance(connections, Mapping) else connections  # made into entries, or refused
    return MultiClientConfig(connections=given, **kwargs)
