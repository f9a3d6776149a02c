"""The command line as its users have it: real processes, and what they print."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

PATIENCE = 30.0  # seconds: far beyond what anything here needs, so that a slow machine fails no test
ALICE, BOB = "sk-secret-of-alice", "sk-secret-of-bob"
KEYS = ["--key", f"{ALICE}=alice", "--key", f"{BOB}=bob"]


def environment(**extra: str) -> dict[str, str]:
    """The environment of this process without what the command line reads from it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MAIM_")} | extra


class Lines:
    """What a program has printed to one of its streams so far."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self.ended = False
        self._news = trio.Event()
        self._taken = 0

    async def read(self, stream: trio.abc.ReceiveStream) -> None:
        async for line in _lines(stream):
            self.all.append(line)
            self._wake()
        self.ended = True
        self._wake()

    async def next(self, containing: str = "") -> str:
        """The next line that holds the text; waits for it."""
        with trio.move_on_after(PATIENCE):
            while True:
                while self._taken < len(self.all):
                    self._taken += 1
                    if containing in self.all[self._taken - 1]:
                        return self.all[self._taken - 1]
                if self.ended:
                    break
                await self._news.wait()
        raise AssertionError(f"no line with {containing!r} came; there were {self.all}")

    async def wait_ended(self) -> None:
        while not self.ended:
            await self._news.wait()

    def _wake(self) -> None:
        self._news.set()
        self._news = trio.Event()


class Program:
    """One running process. Both of its outputs are read all the time."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.out, self.err = Lines(), Lines()

    @classmethod
    async def start(
        cls,
        nursery: trio.Nursery,
        command: Sequence[str | Path],
        *,
        cwd: Path | None = None,
        env: dict[str, str] | None = None,
        stdin: int = subprocess.PIPE,
        stdout: int = subprocess.PIPE,
    ) -> Program:
        process = await trio.lowlevel.open_process(
            [str(part) for part in command],
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env=environment(**(env or {})),
        )
        program = cls(process)
        for lines, stream in ((program.out, process.stdout), (program.err, process.stderr)):
            if stream is not None:
                nursery.start_soon(lines.read, stream)
        return program

    async def write(self, *lines: str) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.send_all("".join(f"{line}\n" for line in lines).encode())

    async def close_stdin(self) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.aclose()

    async def next_json(self) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(await self.out.next())
        return result

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    async def wait(self) -> int:
        """The exit status, once the program has ended and all it printed has been read."""
        with trio.fail_after(PATIENCE):
            status = await self.process.wait()
            for lines, stream in ((self.out, self.process.stdout), (self.err, self.process.stderr)):
                if stream is not None:
                    await lines.wait_ended()
        return status

    async def aclose(self) -> None:
        """See to it that the process is gone and its pipes are closed, whatever state it is in."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + PATIENCE):
            if self.process.returncode is None:
                self.process.kill()
            await self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
                if pipe is not None:
                    await pipe.aclose()


class Relayed(Program):
    """A running ``serve``."""

    port = 0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    async def wait_ready(self) -> None:
        line = await self.err.next(" ready at ws://")
        self.port = int(line.partition("ready at ws://127.0.0.1:")[2].partition("/")[0])


def command(*arguments: str | Path) -> list[str | Path]:
    return [sys.executable, "-m", "maim_trio", *arguments]


async def _lines(stream: trio.abc.ReceiveStream) -> AsyncIterator[str]:
    """The lines of a pipe, until its end or until it is closed under us."""
    rest = b""
    try:
        async for chunk in stream:
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                yield line.decode()
    except trio.ClosedResourceError:
        return
    if rest:
        yield rest.decode()
