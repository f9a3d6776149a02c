"""What all tests share: how hypothesis behaves, and what happens when a program that a test needs is missing."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import pytest
from hypothesis import settings

from tests.peers import PeerUnavailable, in_ci

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

# No deadline: a shared machine stalls now and then. In CI the examples are the same in every run, so that red means
# "this change"; on a developer's machine they are new ones each time, so that bugs are found.
settings.register_profile("developer", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if in_ci() else "developer")

# A shell has its background jobs ignore SIGINT, and they hand that on: programs under test could not be interrupted.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def needs(find: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `find` finds. When it raises `PeerUnavailable`, the test fails in CI and is skipped elsewhere."""
    try:
        return find(*args, **kwargs)
    except PeerUnavailable as unavailable:
        why = str(unavailable)
    if in_ci():
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tests against other people's programs one by one: dots do not say who was really there."""
    outcomes = [
        (report.nodeid, outcome)
        for outcome in ("passed", "failed", "error", "skipped")
        for report in terminalreporter.stats.get(outcome, [])
        if report.nodeid.startswith("tests/interop/")
    ]
    if outcomes:
        terminalreporter.section("the real programs")
    for nodeid, outcome in sorted(outcomes):
        terminalreporter.line(f"{outcome:7} {nodeid.removeprefix('tests/interop/')}")
