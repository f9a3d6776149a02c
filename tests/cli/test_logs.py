"""One line per event, whatever peers write into it."""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from maim_trio._cli.logs import MAX_LINE, LineFormatter, may_colour, one_line, tell

if TYPE_CHECKING:
    import pytest


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def record(text: str, *args: object, level: int = logging.INFO) -> logging.LogRecord:
    made = logging.LogRecord("maim_trio.relay", level, "file.py", 1, text, args, None)
    made.created, made.msecs = 0.0, 7.0
    return made


@given(st.text())
def test_any_text_becomes_one_printable_line(text):
    assert one_line(text).isprintable()


def test_what_is_printable_stays_as_it_is():
    assert one_line("relayed 消息 🎉 for bob") == "relayed 消息 🎉 for bob"


def test_line_ends_and_escape_sequences_are_shown_and_do_nothing():
    assert one_line("a\nb\x1b[2J\u2028\ud800") == "a\\nb\\x1b[2J\\u2028\\ud800"


def test_a_long_text_is_cut():
    assert one_line("x" * 100, 10) == "x" * 9 + "…"
    assert len(one_line("x" * 5000)) == MAX_LINE


def test_without_stderr_nothing_is_said_and_stdout_stays_clean(capsys: pytest.CaptureFixture[str], monkeypatch):
    tell("one\ntwo")
    assert capsys.readouterr() == ("", "one\\ntwo\n")
    monkeypatch.setattr("sys.stderr", None)
    tell("nobody hears this")
    assert capsys.readouterr() == ("", "")


def test_a_line_has_time_level_and_text():
    line = LineFormatter().format(record("relayed %s", "m1\nERROR   not from us"))
    time, _, rest = line.partition(".")
    assert len(time) == len("1970-01-01 00:00:00")
    assert rest == "007 INFO    relayed m1\\nERROR   not from us"


def test_colours_are_for_what_deserves_attention():
    formatter = LineFormatter(coloured=True)
    assert "\x1b" not in formatter.format(record("all is well"))
    warned = formatter.format(record("look here", level=logging.WARNING))
    assert warned.startswith("\x1b[33m")
    assert warned.endswith("\x1b[0m")


def test_colours_need_a_terminal_that_wants_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert may_colour(Terminal())
    assert not may_colour(io.StringIO())
    assert not may_colour(None)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not may_colour(Terminal())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not may_colour(Terminal())
