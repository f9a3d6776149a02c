"""What the Python drivers share: commands come in as JSON lines on stdin, events go out as JSON lines on stdout.

A driver runs under the interpreter of the program it drives, so this file uses nothing but the standard library.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

Command = dict[str, Any]
Handler = Callable[[Command], Awaitable[None]]


class Lines:
    """The conversation with the test. Whatever else prints to stdout from now on lands on stderr."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
        os.dup2(2, 1)

    def emit(self, event: str, **details: Any) -> None:
        self._out.write(json.dumps({"event": event, **details}) + "\n")

    async def serve(self, handlers: dict[str, Handler]) -> None:
        """Run one command after another until ``stop``, or until the test closes our stdin.

        A command that fails is answered with ``failed``, so that the test does not have to wait for its timeout.
        """
        while line := await asyncio.to_thread(sys.stdin.readline):
            command = json.loads(line)
            name = command.pop("do")
            if name == "stop":
                break
            try:
                await handlers[name](command)
            except Exception as problem:
                self.emit("failed", do=name, error=f"{type(problem).__name__}: {problem}")


def run(main: Callable[[Lines], Awaitable[None]]) -> None:
    """Run a driver's main function, with the logs of what it drives switched off: they would show keys."""
    logging.disable(logging.CRITICAL)
    lines = Lines()

    async def to_the_end() -> None:
        await main(lines)
        lines.emit("stopped")
        os._exit(0)  # maim_message may leave tasks behind that outlive being cancelled, and asyncio would wait for them

    asyncio.run(to_the_end())
