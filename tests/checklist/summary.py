"""A pytest plugin: the line that says how many rows of the checklist were checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

ROW_TEST = "test_checklist.py::test_row["


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    passed, failed = (
        sum(ROW_TEST in report.nodeid for report in terminalreporter.stats.get(outcome, []))
        for outcome in ("passed", "failed")
    )
    if passed or failed:
        terminalreporter.line(f"checklist: {passed + failed} rows checked" + (f", {failed} failed" if failed else ""))
