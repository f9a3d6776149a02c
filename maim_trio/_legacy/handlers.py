"""Which handlers a legacy message is for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from maim_trio._legacy.codec import type_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from maim_trio._runtime.hooks import Handler

__all__ = ["HandlerTable"]


class HandlerTable:
    """Handlers in the order in which they were registered, those of custom messages by type. A router shares its table
    with all its clients."""

    __slots__ = ("custom", "standard")

    def __init__(self) -> None:
        self.standard: list[Handler] = []
        self.custom: dict[str, list[Handler]] = {}

    def add(self, handler: Handler) -> None:
        """TypeError for what cannot be called. A second time changes nothing."""
        _check(handler)
        if handler not in self.standard:
            self.standard.append(handler)

    def add_custom(self, message_type_name: str, handler: Handler) -> None:
        """TypeError for what cannot be called, and for a type that is no name."""
        _check(handler)
        if not isinstance(message_type_name, str) or not message_type_name:
            raise TypeError("the type of a custom message must be a non-empty string")
        handlers = self.custom.setdefault(message_type_name, [])
        if handler not in handlers:
            handlers.append(handler)

    def remove_custom(self, message_type_name: str, handler: Handler) -> None:
        """Nothing happens when it was not registered."""
        handlers = self.custom.get(message_type_name, [])
        if handler in handlers:
            handlers.remove(handler)
            if not handlers:
                del self.custom[message_type_name]

    def find(self, message: Mapping[str, Any]) -> tuple[str | None, list[Handler]]:
        """The type of a custom message or None, and the handlers of a message, as they are now."""
        kind = type_of(message, self.custom)
        return kind, [*(self.standard if kind is None else self.custom.get(kind, ()))]


def _check(handler: Handler) -> None:
    if not callable(handler):
        raise TypeError(f"a handler must be callable, not {type(handler).__name__}")
