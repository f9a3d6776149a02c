"""One line per event, through any logger, without secrets."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from maim_trio._runtime.log import Log

KEY = "key_nobody_may_see"


def settings(**changes: Any) -> Any:
    defaults = {"log_level": "INFO", "enable_connection_log": True, "enable_message_log": True, "custom_logger": None}
    return SimpleNamespace(**{**defaults, **changes})


class CustomLogger:
    """As small as a logger can be: four methods of one argument, as loguru has them among others."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def debug(self, text: str) -> None:
        self.said.append(("debug", text))

    def info(self, text: str) -> None:
        self.said.append(("info", text))

    def warning(self, text: str) -> None:
        self.said.append(("warning", text))

    def error(self, text: str) -> None:
        self.said.append(("error", text))


def fails(key: str = KEY) -> None:
    {}[key]


class TestLevels:
    def test_what_is_below_the_level_is_not_said(self, log: Any) -> None:
        lines = Log("maim_trio.test", settings(log_level="WARNING"))
        for say in (lines.debug, lines.info, lines.warning, lines.error):
            say("a %s", "line")
        assert log.lines() == ["a line", "a line"]

    def test_the_level_and_the_flags_are_read_live(self, log: Any) -> None:
        config = settings()
        lines = Log("maim_trio.test", config)
        lines.debug("one")
        config.log_level = "DEBUG"
        lines.debug("two")
        lines.connection("three")
        config.enable_connection_log = False
        lines.connection("four")
        assert log.lines() == ["two", "three"]

    @pytest.mark.parametrize(
        ("level", "debug"), [("debug", True), ("warning", False), ("nonsense", False), (None, False)]
    )
    def test_a_level_that_was_assigned_unchecked_does_no_harm(self, level: Any, debug: bool) -> None:
        assert Log("maim_trio.test", settings(log_level=level)).enabled("DEBUG") is debug

    def test_a_line_per_message_needs_the_flag_and_debug(self) -> None:
        assert Log("x", settings(log_level="DEBUG")).messages_wanted()
        assert not Log("x", settings(log_level="DEBUG", enable_message_log=False)).messages_wanted()
        assert not Log("x", settings()).messages_wanted()


class TestLines:
    def test_a_percent_sign_without_arguments_stays(self, log: Any) -> None:
        custom = CustomLogger()
        Log("maim_trio.test", settings()).info("100 % sure")
        Log("maim_trio.test", settings(custom_logger=custom)).info("100 % sure")
        assert log.lines() == ["100 % sure"] == [text for _, text in custom.said]

    def test_words_of_others_cannot_forge_lines_or_fill_the_log(self, log: Any) -> None:
        custom = CustomLogger()
        for lines in (Log("maim_trio.test", settings()), Log("maim_trio.test", settings(custom_logger=custom))):
            lines.info("said %s", "x\nERROR everything is lost\r\x1b[2J" + "y" * 100_000)
        for line in (log.lines()[0], custom.said[0][1]):
            assert line.startswith("said x ERROR everything is lost")
            assert line.isprintable()
            assert len(line) < 400

    def test_a_custom_logger_gets_finished_lines(self) -> None:
        custom = CustomLogger()
        lines = Log("maim_trio.test", settings(custom_logger=custom))
        lines.info("%d of %s", 1, "two")
        lines.warning("{braces}")
        assert custom.said == [("info", "1 of two"), ("warning", "{braces}")]

    def test_own_secrets_can_be_read_in_no_line_whoever_repeats_them(self, log: Any) -> None:
        lines = Log("maim_trio.test", settings(), lambda: [KEY])
        lines.info("the server said: %s", f"no {KEY}")
        lines.exception("failed", error=KeyError(KEY))
        assert "the server said: no key_" in log.text
        assert KEY not in log.text


class TestTracebacks:
    def test_the_standard_logger_gets_the_exception(self, log: Any, caplog: pytest.LogCaptureFixture) -> None:
        error = RuntimeError("something else")
        Log("maim_trio.test", settings()).exception("%s failed", "it", error=error, secrets=[KEY])
        assert log.lines() == ["it failed"]
        (record,) = caplog.records
        assert record.levelno == logging.ERROR
        assert record.exc_info is not None
        assert record.exc_info[1] is error

    def test_without_an_error_it_is_the_one_being_handled(self, log: Any) -> None:
        try:
            fails("a word")
        except KeyError:
            Log("maim_trio.test", settings()).exception("failed")
        assert "KeyError: 'a word'" in log.text

    @pytest.mark.parametrize("key", [KEY, "clé\n\\'secrète'", "ключ-который-нельзя-видеть", "ab'cd"])
    @pytest.mark.parametrize("custom", [None, CustomLogger()])
    def test_a_key_in_the_traceback_is_masked(self, log: Any, key: str, custom: CustomLogger | None) -> None:
        try:
            fails(key)
        except KeyError as error:
            Log("maim_trio.test", settings(custom_logger=custom)).exception("failed", error=error, secrets=[key, ""])
        text = log.text if custom is None else custom.said[-1][1]
        assert "KeyError" in text
        assert "in fails" in text
        assert key not in text
        assert repr(key)[1:-1] not in text

    def test_of_keys_that_begin_alike_none_is_left(self, log: Any) -> None:
        try:
            fails("abcdefgh-longer")
        except KeyError as error:
            Log("maim_trio.test", settings()).exception("failed", error=error, secrets=["abcdefgh", "abcdefgh-longer"])
        assert "longer" not in log.text

    def test_below_the_level_nothing_is_formatted(self, log: Any) -> None:
        Log("maim_trio.test", settings(log_level="CRITICAL")).exception("failed", error=ValueError())
        assert log.lines() == []
