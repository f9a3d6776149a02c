"""What the configurations of servers and clients have in common: handlers, limits, logging."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from maim_trio._runtime.checked import Checked, anything, flag, hook, one_of, option, seconds, text, whole
from maim_trio._runtime.hooks import Handler, two_arguments
from maim_trio._runtime.log import LEVELS
from maim_trio._wire.codec import custom_type

MOST_IN_FILE = 900_000_000
"""Bytes of one message that a file can hold: SQLite takes rows of 1,000,000,000."""


def _handlers(value: Any) -> str | None:
    if isinstance(value, Mapping) and all(isinstance(name, str) and name.removeprefix("custom_") for name in value):
        return None
    return "must be a dict of callables, with the types of messages as keys"


def upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def level(value: Any) -> str | None:
    return one_of(*LEVELS)(upper(value))


def normalised_handlers(handlers: Mapping[str, Handler]) -> dict[str, Handler]:
    """A copy under types that have their prefix. TypeError for a callable that is no custom handler."""
    for handler in handlers.values():
        two_arguments(handler)
    return {custom_type(name): handler for name, handler in handlers.items()}


@dataclasses.dataclass(kw_only=True, init=False, repr=False, eq=False)  # those that are used make their own
class CallbackConfig(Checked):
    """Handlers, statistics and the log: what a client with many connections shares too."""

    on_message: Handler | None = option(None, hook, in_files=False)
    custom_handlers: dict[str, Handler] = option({}, _handlers, normalise=normalised_handlers, in_files=False)
    enable_stats: bool = option(True, flag)
    stats_callback: Handler | None = option(None, hook, in_files=False)
    stats_interval: float = option(5.0, seconds(0.001))
    log_level: str = option("INFO", level, normalise=upper)
    enable_connection_log: bool = option(True, flag)
    enable_message_log: bool = option(True, flag)
    custom_logger: Any = option(None, anything, in_files=False)

    def ensure_defaults(self) -> None:
        """Fills what must not be None before use. Nothing is overwritten."""
        if self.custom_handlers is None:
            self.custom_handlers = {}

    def register_custom_handler(self, message_type: str, handler: Handler) -> None:
        """Has `handler` called for custom messages of this type, with or without the prefix ``custom_``.

        Raises TypeError when the handler takes neither ``(payload, metadata)`` nor ``(payload)``. A handler that was
        registered for the type before is replaced; works on a running server or client too.
        """
        two_arguments(handler)
        self.custom_handlers[custom_type(message_type)] = handler

    def unregister_custom_handler(self, message_type: str) -> None:
        """Messages of this type are no longer handled; invocations that run now end by themselves."""
        self.custom_handlers.pop(custom_type(message_type), None)


@dataclasses.dataclass(kw_only=True)
class CommonConfig(CallbackConfig):
    """The fields that servers and clients have in common."""

    on_connect: Handler | None = option(None, hook, in_files=False)
    on_disconnect: Handler | None = option(None, hook, in_files=False)
    max_message_size: int = option(104_857_600, whole(1024, 1 << 40))
    ping_interval: float = option(20.0, seconds())
    close_timeout: float = option(10.0, seconds(0.001))
    shutdown_timeout: float = option(10.0, seconds())
    inbox_size: int = option(1000, whole(1))
    max_concurrent_handlers: int = option(1000, whole(1))
    max_concurrent_handlers_per_connection: int = option(100, whole(1))
    handler_timeout: float | None = option(None, seconds(0.001, optional=True))
    handler_ordering: str = option("concurrent", one_of("concurrent", "per_connection"))
    send_timeout: float = option(20.0, seconds(0.001))
    enable_message_cache: bool = option(True, flag)
    message_cache_ttl: float = option(300.0, seconds(0.001))
    message_cache_max_size: int = option(1000, whole(1))
    message_cache_max_bytes: int = option(64 * 1024 * 1024, whole(1))
    message_cache_cleanup_interval: float = option(60.0, seconds(0.001))
    outbox_path: str | None = option(None, text(optional=True))
    on_undelivered: Handler | None = option(None, hook, in_files=False)
    debug_slow_step: float | None = option(None, seconds(0.001, optional=True))
    ssl_ca_certs: str | None = option(None, text(optional=True))
    ssl_certfile: str | None = option(None, text(optional=True))
    ssl_keyfile: str | None = option(None, text(optional=True))

    def problem(self) -> str | None:
        """One sentence about the first thing that keeps this configuration from being used, or None."""
        problem = super().problem()
        if problem is None and self.outbox_path is not None:
            if not self.enable_message_cache:
                return "outbox_path needs enable_message_cache: without it no message is kept"
            if self.max_message_size > MOST_IN_FILE:
                return f"outbox_path needs a max_message_size of at most {MOST_IN_FILE}: the file takes nothing larger"
        return problem


class HandlerTable:
    """Finds the handler of a custom type in a live configuration, its calling form found out once per handler."""

    __slots__ = ("_config", "_found")

    def __init__(self, config: CallbackConfig) -> None:
        self._config = config
        self._found: dict[str, tuple[Handler, Handler]] = {}

    def find(self, message_type: str) -> Handler | None:
        """A callable that takes ``(payload, metadata)``, or None."""
        handlers = self._config.custom_handlers or {}
        handler = handlers.get(message_type)
        if handler is None:  # assigned to the dict by hand, without the prefix
            handler = handlers.get(message_type.removeprefix("custom_"))
        if handler is None:
            self._found.pop(message_type, None)
            return None
        known = self._found.get(message_type)
        if known is None or known[0] is not handler:
            known = self._found[message_type] = (handler, _calling(handler))
        return known[1]


def _calling(handler: Handler) -> Handler:
    """One that was assigned by hand was never checked: what is wrong with it shows when it is called, as its error."""
    try:
        return two_arguments(handler)
    except TypeError:
        return handler
