"""What the table's names stand for in the library, and which public names the library has."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from functools import cache
from typing import Any

import msgspec

from maim_trio import RouteConfig
from maim_trio.client import ClientConfig, ConnectionEntry, MultiClientConfig, WebSocketClient, WebSocketMultiClient
from maim_trio.server import ServerConfig, WebSocketServer

MODULES = (
    "maim_trio.message",
    "maim_trio.server",
    "maim_trio.client",
    "maim_trio.client_factory",
    "maim_trio.errors",
    "maim_trio",
)
"""The root comes last: some of its classes have the name of another one, and then the plain name means that."""
SERVICES = {"WebSocketServer": WebSocketServer, "WebSocketClient": WebSocketClient}
SERVICES |= {"WebSocketMultiClient": WebSocketMultiClient}
CONFIGS: dict[str, type[Any]] = {
    "ServerConfig": ServerConfig,
    "ClientConfig": ClientConfig,
    "MultiClientConfig": MultiClientConfig,
    "ConnectionEntry": ConnectionEntry,
}
URL = "ws://bot.example:18040/ws"
KEY = "a_key_of_the_checklist"
REQUIRED: dict[str, dict[str, Any]] = {
    "ServerConfig": {},
    "ClientConfig": {"url": URL, "api_key": KEY},
    "MultiClientConfig": {},
    "ConnectionEntry": {"name": "wechat", "url": URL, "api_key": KEY},
    "AuthResult": {"success": True},
    "Router": {"config": RouteConfig()},
}
"""What the constructors cannot do without."""


def functions_of(module: str) -> set[str]:
    return {name for name in exports(module) if inspect.isfunction(thing(name))}


@cache
def exports(module: str) -> tuple[str, ...]:
    return tuple(importlib.import_module(module).__all__)


def thing(name: str) -> Any:
    """The public class or function of this name; with the module before it, ``maim_trio.Seg``, the one from there."""
    home, _, bare = name.rpartition(".")
    for module in [home] if home else MODULES:
        if bare in exports(module):
            return getattr(importlib.import_module(module), bare)
    raise LookupError(f"the library exports no {name}")


def label(module: str, name: str) -> str:
    """What `thing` finds this export of a module by: its name, unless another class of that name comes before it."""
    return name if thing(name) is thing(f"{module}.{name}") else f"{module}.{name}"


def example(name: str) -> Any:
    """An object of a class, made with as little as it needs."""
    if name == "WebSocketClient":
        return WebSocketClient(ClientConfig(URL, KEY))
    return thing(name)(**REQUIRED.get(name, {}))


def config(kind: str, /, **fields: Any) -> Any:
    """A configuration of this class with its required values and `fields`."""
    return CONFIGS[kind](**{**REQUIRED[kind], **fields})


def public_classes() -> dict[str, type[Any]]:
    """All classes that a module exports, but exceptions."""
    labels = {label(module, name) for module in MODULES for name in exports(module)}
    everything = {name: thing(name) for name in labels}
    return {
        name: value for name, value in everything.items() if inspect.isclass(value) and not issubclass(value, Exception)
    }


def is_message(kind: type[Any]) -> bool:
    return issubclass(kind, msgspec.Struct)


def fields_of(kind: type[Any]) -> set[str]:
    """The names of the fields of a configuration or message class."""
    if is_message(kind):
        return set(kind.__struct_fields__)
    return {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()


def methods_of(kind: type[Any]) -> set[str]:
    """The public methods of a class, inherited ones included."""
    return {name for name in _public(dir(kind)) if callable(getattr(kind, name))} - fields_of(kind)


def attributes_of(name: str) -> set[str]:
    """The public attributes and properties of an object of a class, without its fields."""
    kind = thing(name)
    names = _public(dir(kind)) if is_message(kind) else _public(dir(example(name)))
    return names - methods_of(kind) - fields_of(kind)


def _public(names: list[str]) -> set[str]:
    return {name for name in names if not name.startswith("_")}
