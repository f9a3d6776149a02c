"""The log of a command: one line per event on stderr, whatever peers put into what is logged."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing import TextIO

LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")
MAX_LINE: Final = 1000
"""Characters: a peer chooses ids and type names, which may be as long as a message."""

_COLOURS: Final = {"DEBUG": "\x1b[2m", "WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[31m"}
_RESET: Final = "\x1b[0m"


def one_line(text: str, limit: int = MAX_LINE) -> str:
    """`text` in one line that moves no cursor: what is not printable is escaped, what is too long is cut."""
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


class LineFormatter(logging.Formatter):
    """Time, level and text in one line. Only a traceback, which stands for a bug, takes more."""

    def __init__(self, *, coloured: bool = False) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%d %H:%M:%S")
        self._coloured = coloured

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return f"{super().formatTime(record, datefmt)}.{int(record.msecs):03d}"

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = one_line(record.message).rstrip()
        line = super().formatMessage(record)
        colour = _COLOURS.get(record.levelname) if self._coloured else None
        return f"{colour}{line}{_RESET}" if colour else line


def may_colour(stream: TextIO | None) -> bool:
    """Whether colours are welcome on `stream`: a terminal that can, and no NO_COLOR (https://no-color.org)."""
    if stream is None:  # the program was started without it
        return False
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and stream.isatty()


def tell(text: str) -> None:
    """Says one line to whoever started the program, and nothing when there is no stderr: print would take stdout."""
    if sys.stderr is not None:
        print(one_line(text), file=sys.stderr, flush=True)


def set_up_logging(level: str) -> None:
    """Sends what the library logs to stderr, from `level` on."""
    logging.raiseExceptions = False  # a log that nobody can read must not end in tracebacks
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(coloured=may_colour(sys.stderr)))
    logger = logging.getLogger("maim_trio")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(level)
