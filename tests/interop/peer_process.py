"""The test's end of a driver: a child process that takes commands and gives events, one JSON object per line."""

from __future__ import annotations

import json
import subprocess
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

DRIVERS = Path(__file__).parent / "drivers"
PATIENCE = 30.0  # seconds: far beyond what any peer needs, so that a slow machine fails no test
_STOP_TIMEOUT = 15.0
_KILL_TIMEOUT = 10.0
_STDERR_LINES = 30
# maim_message prints lines like these to stderr whatever one configures.
_NOISE = ("[DEBUG", "[ServerNetworkDriver", "[LogQueueProcessor", "[ERROR")

Event = dict[str, Any]


class PeerProcess:
    """One running driver. Two tasks in the test's nursery read what it says; only the test writes to it."""

    def __init__(self, name: str, process: trio.Process) -> None:
        self.name = name
        self._process = process
        self._events: list[Event] = []
        self._news = trio.Event()
        self._ended = False
        self._stderr: deque[str] = deque(maxlen=_STDERR_LINES)

    @classmethod
    async def start(cls, nursery: trio.Nursery, name: str, command: Sequence[str | Path]) -> PeerProcess:
        pipe = subprocess.PIPE
        process = await trio.lowlevel.open_process(
            [str(part) for part in command], stdin=pipe, stdout=pipe, stderr=pipe
        )
        peer = cls(name, process)
        nursery.start_soon(peer._read_events)
        nursery.start_soon(peer._drain_stderr)
        return peer

    async def do(self, command: str, **arguments: Any) -> None:
        """Send one command. Its outcome comes as an event."""
        line = json.dumps({"do": command, **arguments}) + "\n"
        assert self._process.stdin is not None
        await self._process.stdin.send_all(line.encode())

    async def expect(self, event: str, **details: Any) -> Event:
        """The oldest event of that kind with these details that no earlier `expect` took; waits for it.

        Fails the test when a command failed, when the driver has ended, or after `PATIENCE` seconds.
        """
        with trio.move_on_after(PATIENCE):
            while True:
                found = self._take(event, details)
                if found is not None:
                    return found
                if self._ended or self.unread("failed"):
                    break
                await self._news.wait()
        raise AssertionError(f"{self.name} did not report {event!r} {details}; {self._events=}{self._stderr_tail()}")

    def unread(self, event: str) -> list[Event]:
        """The events of that kind that have arrived and that no `expect` took yet."""
        return [seen for seen in self._events if seen["event"] == event]

    async def stop(self) -> None:
        """Ask it to stop, and wait until it has ended by itself with status 0."""
        await self.do("stop")
        await self.expect("stopped")
        with trio.fail_after(_STOP_TIMEOUT):
            status = await self._process.wait()
        assert status == 0, f"{self.name} ended with status {status}{self._stderr_tail()}"

    async def aclose(self) -> None:
        """See to it that the process is gone and its pipes are closed, whatever state it is in."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _KILL_TIMEOUT):
            if self._process.returncode is None:
                self._process.kill()
            await self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
                if pipe is not None:
                    await pipe.aclose()

    def _take(self, event: str, details: Event) -> Event | None:
        for number, seen in enumerate(self._events):
            if seen["event"] == event and details.items() <= seen.items():
                return self._events.pop(number)
        return None

    async def _read_events(self) -> None:
        async for line in _lines(self._process.stdout):
            self._events.append(json.loads(line))
            self._wake()
        self._ended = True
        self._wake()

    async def _drain_stderr(self) -> None:
        async for line in _lines(self._process.stderr):
            if not line.startswith(_NOISE):
                self._stderr.append(line)

    def _wake(self) -> None:
        self._news.set()
        self._news = trio.Event()

    def _stderr_tail(self) -> str:
        return "\n" + "\n".join(self._stderr) if self._stderr else ""


async def _lines(stream: trio.abc.ReceiveStream | None) -> AsyncIterator[str]:
    """The lines of a pipe, until its end or until it is closed under us."""
    assert stream is not None
    rest = b""
    try:
        async for chunk in stream:
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                yield line.decode()
    except trio.ClosedResourceError:
        return
