"""Legacy servers and clients in virtual time, and servers made of bytes on the other end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.client.raw import Peer, Script, serve_scripts
from tests.server.conftest import log, network

__all__ = ["log", "network"]

Play = Callable[..., Awaitable[list[Peer]]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests over memory streams run in virtual time: `autojump_clock` would have to be asked for by each."""
    for item in items:
        if item.path.parent == Path(__file__).parent and "network" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.trio(run=_run_in_virtual_time), append=False)


def _run_in_virtual_time(function: Any, **options: Any) -> Any:
    return trio.run(function, **{**options, "clock": trio.testing.MockClock(autojump_threshold=0)})


@pytest.fixture
async def play(network, nursery) -> Play:
    """Has a server play scripts, one per connection; returns the list that its peers come to stand in."""

    async def play(*scripts: Script) -> list[Peer]:
        return await nursery.start(serve_scripts, network, scripts)

    return play
