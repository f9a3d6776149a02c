"""The programs in ``examples/``, started as their readers start them."""

from __future__ import annotations

import re
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cli.program import Program
from tests.conftest import needs
from tests.peers import node, node_modules_dir

if TYPE_CHECKING:
    import signal
    from collections.abc import AsyncIterator, Awaitable, Callable

    import trio

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@asynccontextmanager
async def running_examples(nursery: trio.Nursery) -> AsyncIterator[Callable[..., Awaitable[Program]]]:
    """``await start("name.py", "argument", MAIM_PORT="0")`` starts one; all are gone after the body.

    What Python warns about ends up in the error output of the example.
    """
    programs: list[Program] = []

    async def start(name: str, *arguments: str, **env: str) -> Program:
        command = [sys.executable, "-W", "error"]
        if name.endswith(".js"):
            command = [needs(node)]
            env["NODE_PATH"] = str(needs(node_modules_dir))
        program = await Program.start(nursery, [*command, EXAMPLES / name, *arguments], env={"PYTHONUTF8": "1", **env})
        programs.append(program)
        return program

    try:
        yield start
    finally:
        for program in programs:
            await program.aclose()


async def url_said_by(server: Program) -> str:
    """Where an example serves, once it does."""
    found = re.search(r"ws://\S+/ws", await server.out.next("serving at "))
    assert found
    return found[0]


async def stop(server: Program, number: signal.Signals) -> None:
    """Ends an example with a signal, and sees that it ends well."""
    server.signal(number)
    assert await server.wait() == 0
    assert server.out.all[-1] == "stopped"


def example_files() -> set[str]:
    """The names of all that can be run."""
    return {path.name for path in EXAMPLES.rglob("*") if path.suffix in (".py", ".js", ".html")}
