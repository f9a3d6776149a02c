"""Clients in virtual time, with servers of ours or of the test's own making on the other end of memory streams."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.client.multi import Bots
from tests.client.raw import Peer, Script, serve_scripts
from tests.memory import Network

Play = Callable[..., Awaitable[list[Peer]]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests over memory streams run in virtual time: `autojump_clock` would have to be asked for by each."""
    for item in items:
        if not isinstance(item, pytest.Function) or not inspect.iscoroutinefunction(item.obj):
            continue
        if Path(__file__).parent in item.path.parents and "network" in item.fixturenames:
            item.add_marker(pytest.mark.trio(run=_run_in_virtual_time), append=False)


def _run_in_virtual_time(function: Any, **options: Any) -> Any:
    return trio.run(function, **{**options, "clock": trio.testing.MockClock(autojump_threshold=0)})


@pytest.fixture
def network() -> Network:
    """A network of memory streams."""
    return Network()


@pytest.fixture
async def play(network, nursery) -> Play:
    """Has a server play scripts, one per connection; returns the list that its peers come to stand in."""

    async def play(*scripts: Script) -> list[Peer]:
        return await nursery.start(serve_scripts, network, scripts)

    return play


@pytest.fixture
def bots(network, nursery) -> Bots:
    """Hosts by name, in virtual time."""
    return Bots(nursery)
