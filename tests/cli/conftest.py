"""Processes of the command line, which are gone when the test is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.program import KEYS, Program, Relayed, command

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    import trio


@pytest.fixture
async def run(nursery: trio.Nursery, tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Program]]]:
    """Starts ``python -m maim_trio`` with the arguments, in the test's own folder."""
    programs: list[Program] = []

    async def start(*arguments: str | Path, kind: type[Program] = Program, **options: Any) -> Program:
        program = await kind.start(nursery, command(*arguments), cwd=tmp_path, **options)
        programs.append(program)
        return program

    yield start
    for program in programs:
        await program.aclose()


@pytest.fixture
def serve(run: Callable[..., Awaitable[Relayed]]) -> Callable[..., Awaitable[Relayed]]:
    """Starts a relay on a free port; without arguments for alice and bob."""

    async def start(*arguments: str | Path, **options: Any) -> Relayed:
        relay = await run("serve", *(["--port", "0"] if "--port" not in arguments else []), *(arguments or KEYS),
                          kind=Relayed, **options)  # fmt: skip
        await relay.wait_ready()
        return relay

    return start
