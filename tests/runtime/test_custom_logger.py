"""Loggers that users hand in: the standard library's, loguru's, and ones that fail."""

from __future__ import annotations

import logging

import pytest
import trio
import trio.testing

from tests.memory import text_message


class Loguru:
    """Formats like loguru: with braces, and only when there is something to format with."""

    def __init__(self):
        self.lines = []

    def _log(self, level, message, args, kwargs):
        self.lines.append((level, message.format(*args, **kwargs) if args or kwargs else message))

    def debug(self, message, *args, **kwargs):
        self._log("DEBUG", message, args, kwargs)

    def info(self, message, *args, **kwargs):
        self._log("INFO", message, args, kwargs)

    def warning(self, message, *args, **kwargs):
        self._log("WARNING", message, args, kwargs)

    def error(self, message, *args, **kwargs):
        self._log("ERROR", message, args, kwargs)


async def converse(network, **config):
    """A conversation with a raising handler and names full of formatting characters."""

    def on_message(message, metadata):
        raise KeyError("{0} {} %s %d {missing}")

    async with network.server(on_message=on_message, **config) as server:
        async with network.client("key {0} %s {x}", platform="{p} %d", **config) as client:
            await client.connect()
            await client.send_message(text_message("{0} %s"))
            await client.send_custom_message("{0}%s", {"a": "{b}"})
            await server.broadcast_custom_message("{1}%d", {"a": "{b}"})
            await trio.testing.wait_all_tasks_blocked()
            assert client.is_connected()
        assert server.is_running()


async def test_a_logger_that_formats_with_braces_gets_finished_lines(network):
    logger = Loguru()
    await converse(network, custom_logger=logger, log_level="DEBUG")
    text = "\n".join(line for _, line in logger.lines)
    assert "on platform" not in text or "{p} %d" in text
    assert "custom_{0}%s" in text
    assert "custom_{1}%d" in text
    assert "{0} {} %s %d {missing}" in text  # in the traceback
    assert {level for level, _ in logger.lines} == {"DEBUG", "INFO", "WARNING", "ERROR"}


async def test_a_logger_of_the_standard_library_gets_them_too_at_their_levels(network, caplog):
    logger = logging.getLogger("my.bot")
    caplog.set_level("DEBUG", "my.bot")
    await converse(network, custom_logger=logger, log_level="DEBUG")
    ours = [record for record in caplog.records if record.name == "my.bot"]
    assert {record.levelname for record in ours} == {"DEBUG", "INFO", "WARNING", "ERROR"}
    assert any("custom_{0}%s" in record.getMessage() for record in ours)
    assert not [record for record in caplog.records if record.name.startswith("maim_trio")]


async def test_an_adapter_of_the_standard_library_will_do(network, caplog):
    class Prefixed(logging.LoggerAdapter):
        def process(self, message, options):
            return f"[bot] {message}", options

    caplog.set_level("INFO", "my.bot")
    await converse(network, custom_logger=Prefixed(logging.getLogger("my.bot"), {}))
    ours = [record.getMessage() for record in caplog.records if record.name == "my.bot"]
    assert ours
    assert all(line.startswith("[bot] ") for line in ours)


@pytest.mark.parametrize("level", ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"])
async def test_the_log_level_holds_for_every_logger(network, level):
    logger = Loguru()
    await converse(network, custom_logger=logger, log_level=level.lower())
    order = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
    assert {found for found, _ in logger.lines} == set(order[order.index(level) : 4])


async def test_by_default_there_is_one_line_per_connection_event_and_none_per_message(network):
    logger = Loguru()

    async def on_message(message, metadata):
        await trio.lowlevel.checkpoint()

    async with network.server(on_message=on_message, custom_logger=logger, on_auth=lambda metadata: True):
        logger.lines.clear()
        async with network.client(log_level="ERROR") as client:
            await client.connect()
            for number in range(100):
                await client.send_message(text_message(number))
            await trio.testing.wait_all_tasks_blocked()
        await trio.testing.wait_all_tasks_blocked()
        assert [(level, line.split()[0]) for level, line in logger.lines] == [
            ("INFO", "connected"),
            ("INFO", "disconnected"),
        ]


class Raising:
    def __getattr__(self, level):
        raise OSError("disk full")


@pytest.mark.parametrize("logger", [Raising(), object(), "no logger"], ids=["raising", "empty", "text"])
async def test_a_logger_that_fails_ends_nothing_and_loses_no_line(network, caplog, logger):
    caplog.set_level("INFO", "maim_trio")
    await converse(network, custom_logger=logger)
    text = caplog.text
    assert "custom_logger raised" in text
    assert "connected to ws://memory/ws" in text
    assert "on_message raised KeyError" in text
