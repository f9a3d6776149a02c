"""Where the fields of a named connection come from: its entry, then the shared configuration, then the defaults."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

from maim_trio._runtime.config import CallbackConfig
from maim_trio.client._config import ClientConfig
from maim_trio.client._files import outbox_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from maim_trio.client._connections import ConnectionEntry
    from maim_trio.client._multi_config import MultiClientConfig

    class Layer(Protocol):
        """A configuration that knows which of its fields were set on purpose."""

        def is_given(self, name: str) -> bool: ...


_FIELDS: Final = {field.name: field for field in dataclasses.fields(ClientConfig)}

_OBJECTS: Final = frozenset(name for name, field in _FIELDS.items() if not field.metadata["in_files"])
"""Hooks and loggers: None means that there is none, wherever it was set."""

_ENTRY_ONLY: Final = frozenset({"connection_uuid", "stats_callback"})
"""An id names one connection; the shared callback is told of all connections together, not of each."""

_CALLBACK_FIELDS: Final = {field.name for field in dataclasses.fields(CallbackConfig)}
LIVE: Final = (_OBJECTS | _CALLBACK_FIELDS) - _ENTRY_ONLY - {"custom_handlers"}
"""What is read anew each time; custom handlers have tables of their own."""


class Layers:
    """The layers, the narrowest first, and what fills the rest."""

    def __init__(self, layers: Sequence[Layer], default: ClientConfig | None) -> None:
        self._layers = layers
        self._default = default

    def find(self, name: str) -> Any:
        """The value of a `ClientConfig` field."""
        for layer in self._layers:
            if layer.is_given(name):
                value = getattr(layer, name)
                if value is not None or name not in _OBJECTS:
                    return value
        return _default_of(name) if self._default is None else getattr(self._default, name)


def _default_of(name: str) -> Any:
    field = _FIELDS[name]
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


class _Live:
    """A field that is looked up in the layers each time it is read."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, config: Any, _owner: object = None) -> Any:
        return config.layers.find(self._name)


class NamedConfig(ClientConfig):
    """What a named connection goes by: `LIVE` fields as they are now, the others as they were at the last `refresh`."""

    def __init__(self, entry: ConnectionEntry, shared: MultiClientConfig, default: ClientConfig | None) -> None:
        self.__dict__["_entry"] = entry
        self.__dict__["layers"] = Layers((entry, shared), default)
        super().__init__(**self._values())
        for name in LIVE:
            del self.__dict__[name]

    def refresh(self) -> set[str]:
        """Takes over what the layers say now, and returns the names of the fields that are different from before.

        ConfigError, and nothing changed, for what cannot be taken over.
        """
        return self.update({name: value for name, value in self._values().items() if name not in LIVE})

    def problem(self) -> str | None:
        """One sentence about the first thing that keeps the connection from being used, or None."""
        missing = self.get_missing_fields()
        return f"it needs {', '.join(sorted(missing))}" if missing else super().problem()

    def _values(self) -> dict[str, Any]:
        entry, layers = self._entry, self.layers
        values = {
            name: getattr(entry, name) if name in _ENTRY_ONLY else layers.find(name)
            for name in _FIELDS
            if name != "custom_handlers"
        }
        if not entry.is_given("ssl_enabled"):
            values["ssl_enabled"] = values["url"].startswith("wss://")
        if entry.is_given("max_size"):
            values["max_message_size"] = entry.max_message_size
        if values["outbox_path"] is not None and not entry.is_given("outbox_path"):
            values["outbox_path"] = outbox_of(values["outbox_path"], entry.name)
        values["max_size"] = None  # an alias, which would win over what a narrower layer says
        return values

    _entry: ConnectionEntry
    layers: Layers


for _name in LIVE:
    setattr(NamedConfig, _name, _Live(_name))


class LogSettings:
    """What the log of the multi client itself goes by."""

    log_level: Any = _Live("log_level")
    enable_connection_log: Any = _Live("enable_connection_log")
    enable_message_log: Any = _Live("enable_message_log")
    custom_logger: Any = _Live("custom_logger")

    def __init__(self, layers: Layers) -> None:
        self.layers = layers
