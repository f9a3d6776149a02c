"""Servers in virtual time, with raw peers on the other end of memory streams."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.memory import Network

TESTS = Path(__file__).parent.parent
IN_VIRTUAL_TIME = (TESTS / "server", TESTS / "runtime", TESTS / "test_cancellations.py")
PATIENCE = 10_000.0
"""Virtual seconds after which a test that waits for an event has failed."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests over memory streams run in virtual time: `autojump_clock` would have to be asked for by each."""
    for item in items:
        ours = item.path in IN_VIRTUAL_TIME or item.path.parent in IN_VIRTUAL_TIME
        if ours and "network" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.trio(run=_run_in_virtual_time), append=False)


def _run_in_virtual_time(function: Any, **options: Any) -> Any:
    return trio.run(function, **{**options, "clock": trio.testing.MockClock(autojump_threshold=0)})


@pytest.fixture
async def network(nursery: trio.Nursery) -> Network:
    """A network of memory streams."""
    nursery.start_soon(_fail_after, PATIENCE)
    return Network()


async def _fail_after(seconds: float) -> None:
    """A lost event is a failed test, not a hanging one."""
    await trio.sleep(seconds)
    raise AssertionError(f"the test was not through after {seconds:g} s")


class LogLines:
    """What the package has logged, as (level, text)."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def lines(self, level: str | None = None) -> list[str]:
        return [record.getMessage() for record in self._caplog.records if level is None or record.levelname == level]

    def having(self, words: str, level: str | None = None) -> list[str]:
        return [line for line in self.lines(level) if words in line]

    @property
    def text(self) -> str:
        """Everything, tracebacks included."""
        return self._caplog.text

    def clear(self) -> None:
        self._caplog.clear()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> LogLines:
    caplog.set_level(logging.DEBUG, logger="maim_trio")
    return LogLines(caplog)
