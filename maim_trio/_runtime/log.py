"""One log line per event, in English, through the standard library or whatever logger the user hands in."""

from __future__ import annotations

import logging
import sys
import traceback
from typing import TYPE_CHECKING, Any, Protocol

from maim_trio._wire.credentials import mask
from maim_trio._wire.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}

QUIET = frozenset(LEVELS) - {"DEBUG"}
"""Levels at which there is no line per message."""

MAX_WORD = 300
"""Characters of one word in a line: ids, types and reasons were chosen by the other side."""
SHORTEST_SECRET = 4
"""Characters. What is shorter occurs in every traceback by chance, and protects nothing."""


class LogConfig(Protocol):
    """The part of a configuration that is read anew for each line, so that it can change while running."""

    log_level: str
    enable_connection_log: bool
    enable_message_log: bool
    custom_logger: Any


class Log:
    """Writes formatted lines, so that any object with `debug`, `info`, `warning`, `error` will do (loguru's too).

    What `secrets` returns can be read in no line: words of the other side may repeat them.
    """

    __slots__ = ("_config", "_default", "_secrets")

    def __init__(self, name: str, config: LogConfig, secrets: Callable[[], Iterable[str]] = tuple) -> None:
        self._config = config
        self._default = logging.getLogger(name)
        self._secrets = secrets

    def enabled(self, level: str) -> bool:
        wanted = LEVELS.get(self._config.log_level)
        if wanted is None:  # assigned on a running configuration, in lower case
            wanted = LEVELS.get(str(self._config.log_level).upper(), LEVELS["INFO"])
        return LEVELS[level] >= wanted

    def debug(self, text: str, *args: object) -> None:
        self._write("DEBUG", text, args)

    def info(self, text: str, *args: object) -> None:
        self._write("INFO", text, args)

    def warning(self, text: str, *args: object) -> None:
        self._write("WARNING", text, args)

    def error(self, text: str, *args: object) -> None:
        self._write("ERROR", text, args)

    def exception(
        self, text: str, *args: object, error: BaseException | None = None, secrets: Iterable[str] = ()
    ) -> None:
        """An ERROR with the traceback of `error` (None: the one being handled), in which none of `secrets` can be read.

        ``KEYS[api_key]`` in a hook raises a KeyError that says the key; a logger that shows the variables of each frame
        would say it too, so one that is handed in gets the traceback as text.
        """
        if not self.enabled("ERROR"):
            return
        error = sys.exception() if error is None else error
        trace = "".join(traceback.format_exception(error))
        shown = without(trace, (*secrets, *self._secrets()))
        if self._config.custom_logger is None and shown == trace:
            self._default.error(text, *map(self._word, args), exc_info=error)
        else:
            self._write("ERROR", f"{text}\n%s", (*args, _Trace(shown.rstrip())))

    def connection(self, text: str, *args: object) -> None:
        """INFO: someone came or went."""
        if self._config.enable_connection_log:
            self._write("INFO", text, args)

    def messages_wanted(self) -> bool:
        """Whether a line per message is wanted: ids, sizes and types at DEBUG, never the content."""
        config = self._config
        return config.log_level not in QUIET and config.enable_message_log and self.enabled("DEBUG")

    def _write(self, level: str, text: str, args: tuple[object, ...]) -> None:
        if not self.enabled(level):
            return
        words = tuple(map(self._word, args))
        logger = self._config.custom_logger
        if logger is not None:
            try:
                getattr(logger, level.lower())(text % words if words else text)
            except Exception as error:  # the fence: one hook
                self._default.error("custom_logger raised %s; the line goes here", type(error).__name__)
            else:
                return
        self._default.log(LEVELS[level], text, *words)

    def _word(self, arg: object) -> object:
        return one_line(without(arg, self._secrets()), MAX_WORD) if isinstance(arg, str) else arg


class _Trace:
    """A text that may have several lines."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text


def without(text: str, secrets: Iterable[str]) -> str:
    """`text` in which each of `secrets` is masked, unless it is so short that it protects nothing."""
    for secret in sorted(set(secrets), key=len, reverse=True):  # the longest first: one may begin with another
        if len(secret) >= SHORTEST_SECRET:
            for form in (secret, repr(secret)[1:-1]):
                text = text.replace(form, mask(secret))
    return text
