"""The proof run: what arrives when connections are cut, frozen, half-open, and when servers restart and clients die.

``python -m benchmarks.delivery [--quick] [--only cuts] [--without-peer]``

A client and a server, each in a process of its own, send numbered messages to each other at the same time, through a
proxy that does to them what networks do. maim_message 0.6.8 runs beside it, through a proxy of the same kind and with
the same faults at the same moments. Every end writes a journal; the table is counted from the journals afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from benchmarks.delivery_ends.journal import Parameters
from tests.faults import FaultProxy
from tests.peers import PeerUnavailable, peer_python

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ENDS = Path(__file__).parent / "delivery_ends"
PEER_VERSION = "0.6.8"
QUIET = 4.0
"""Seconds without a new line in any journal: whatever was to arrive has arrived."""
MOST_DRAIN = 45.0
COLUMNS = ("attempted", "accepted", "confirmed", "delivered", "reported", "lost", "duplicated", "disordered")


@dataclass
class Row:
    """What became of the messages of one direction."""

    attempted: int = 0
    accepted: int = 0
    confirmed: int = 0
    delivered: int = 0
    """Of the accepted, at least once."""
    reported: int = 0
    """Given up, and said so."""
    lost: int = 0
    """Accepted, and neither delivered nor reported."""
    duplicated: int = 0
    """Deliveries beyond the first."""
    disordered: int = 0
    """First deliveries after one with a higher number."""

    @classmethod
    def count(cls, sender: Path, receiver: Path) -> Row:
        sent, received = _journal(sender), _journal(receiver)
        accepted, got = {*sent["a"]}, received["d"]
        reported = {*sent["u"]} & accepted - {*got}
        highest, disordered, seen = -1, 0, set[int]()
        for number in got:
            if number not in seen:
                seen.add(number)
                disordered += number < highest
                highest = max(highest, number)
        return cls(
            attempted=len(sent["t"]),
            accepted=len(accepted),
            confirmed=len(sent["k"]),
            delivered=len(accepted & seen),
            reported=len(reported),
            lost=len(accepted - seen - reported),
            duplicated=sum(times - 1 for times in Counter(got).values()),
            disordered=disordered,
        )


def _journal(path: Path) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {letter: [] for letter in "takdu"}
    for line in path.read_text().splitlines():
        letter, _, number = line.partition(" ")
        found[letter].append(int(number))
    return found


@dataclass
class End:
    """One process."""

    process: trio.Process
    said: Counter[str] = field(default_factory=Counter)
    news: trio.Event = field(default_factory=trio.Event)

    async def read(self) -> None:
        rest = b""
        assert self.process.stdout is not None
        async for chunk in self.process.stdout:
            *lines, rest = (rest + chunk).split(b"\n")
            self.said.update(line.decode(errors="replace") for line in lines)
            self.news.set()
            self.news = trio.Event()
        self.said["ended"] += 1
        self.news.set()

    async def tell(self, command: str) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.send_all(command.encode() + b"\n")

    async def wait_for(self, word: str, times: int = 1, *, within: float = 60.0) -> bool:
        with trio.move_on_after(within):
            while self.said[word] < times and not self.said["ended"]:
                await self.news.wait()
        return self.said[word] >= times


class Pair:
    """A client and a server of one kind with a proxy between them."""

    def __init__(self, nursery: trio.Nursery, name: str, folder: Path, plan: Plan) -> None:
        self.name = name
        self.folder = folder
        self.plan = plan
        self.restarts = 0
        self._nursery = nursery
        self._port = _free_port()
        self.proxy = FaultProxy(self._port)
        self.server: End
        self.client: End

    async def start(self) -> None:
        await self._nursery.start(self.proxy.serve)
        self.server = await self._start_end("server", self._port, 0, self.plan.duration)
        await self._require(self.server)
        self.client = await self._start_end("client", self.proxy.port, 0, self.plan.duration)
        await self._require(self.client)

    async def _require(self, end: End) -> None:
        if not await end.wait_for("ready"):
            raise SystemExit(f"{self.name}: an end did not start")

    async def _start_end(self, role: str, port: int, first: int, duration: float) -> End:
        outbox = str(self.folder / f"{role}.outbox") if self.plan.durable and self.name == "ours" else None
        parameters = Parameters(role, port, str(self.journal(role)), first, self.plan.count, duration, outbox)
        if self.name == "ours":
            command = [sys.executable, "-m", "benchmarks.delivery_ends.ours"]
        else:
            command = [str(peer_python(PEER_VERSION)), str(ENDS / "peer.py")]
        pipe = subprocess.PIPE
        log = (self.folder / f"{role}.log").open("ab")
        process = await trio.lowlevel.open_process(
            [*command, json.dumps(asdict(parameters))], stdin=pipe, stdout=pipe, stderr=log
        )
        log.close()
        end = End(process)
        self._nursery.start_soon(end.read)
        return end

    def journal(self, role: str) -> Path:
        path = self.folder / f"{role}.journal"
        path.touch()
        return path

    async def restart_server(self) -> None:
        self.restarts += 1
        await self.server.tell("restart")
        await self.server.wait_for("restarted", self.restarts)

    async def kill_client(self, left: float) -> None:
        """`kill -9`, and a new process that goes on where the last one was."""
        self.client.process.send_signal(signal.SIGKILL)
        await self.client.process.wait()
        attempted = _journal(self.journal("client"))["t"]
        first = max(attempted, default=-1) + 1
        self.client = await self._start_end("client", self.proxy.port, first, max(left, 0.1))
        await self._require(self.client)
        await self.client.tell("go")

    async def sent(self) -> None:
        for end in (self.client, self.server):
            if not await end.wait_for("sent", within=self.plan.duration + 60):
                print(f"{self.name}: an end could not send all it was to send", file=sys.stderr)

    def journal_size(self) -> int:
        return sum(self.journal(role).stat().st_size for role in ("client", "server"))

    async def quiet(self) -> None:
        """Until nothing arrives any more."""
        with trio.move_on_after(MOST_DRAIN):
            size = -1
            while size != (size := self._written()):  # noqa: ASYNC110 - files have no events
                await trio.sleep(QUIET)

    def _written(self) -> int:
        return sum(self.journal(role).stat().st_size for role in ("client", "server"))

    async def stop(self) -> None:
        for end in (self.client, self.server):
            with trio.move_on_after(30):
                await end.tell("stop")
                await end.process.wait()
            if end.process.returncode is None:
                end.process.kill()
                await end.process.wait()

    def rows(self) -> tuple[Row, Row]:
        client, server = self.journal("client"), self.journal("server")
        return Row.count(client, server), Row.count(server, client)


@dataclass
class Plan:
    """One kind of fault: how often, and over how many seconds the messages are spread."""

    what: str
    faults: int
    duration: float
    run: Callable[[Pair, Plan, random.Random], Awaitable[None]]
    durable: bool = False
    count: int = 20_000

    @property
    def title(self) -> str:
        return f"{self.faults} {self.what}"


async def cuts(pair: Pair, plan: Plan, dice: random.Random) -> None:
    for _ in range(plan.faults):
        await trio.sleep(dice.uniform(0.3, 1.7) * plan.duration / plan.faults)
        pair.proxy.cut()


async def freezes(pair: Pair, plan: Plan, dice: random.Random) -> None:
    for _ in range(plan.faults):
        await trio.sleep(dice.uniform(0.3, 1.7) * max(plan.duration / plan.faults - 1, 0.1))
        pair.proxy.freeze()
        await trio.sleep(1)
        pair.proxy.thaw()


async def half_open(pair: Pair, plan: Plan, dice: random.Random) -> None:
    for _ in range(plan.faults):
        await trio.sleep(dice.uniform(0.7, 1.3) * plan.duration / plan.faults)
        pair.proxy.half_open()


async def restarts(pair: Pair, plan: Plan, dice: random.Random) -> None:
    for _ in range(plan.faults):
        await trio.sleep(dice.uniform(0.3, 1.0) * plan.duration / plan.faults)
        await pair.restart_server()


async def kills(pair: Pair, plan: Plan, dice: random.Random) -> None:
    begun = trio.current_time()
    for _ in range(plan.faults):
        await trio.sleep(dice.uniform(0.3, 1.0) * plan.duration / plan.faults)
        await pair.kill_client(plan.duration - (trio.current_time() - begun))


PLANS = {
    "cuts": Plan("abrupt cuts", 50, 40, cuts),
    "freezes": Plan("freezes of 1 s", 50, 90, freezes),
    "half-open": Plan("half-open links", 20, 60, half_open),
    "restarts": Plan("server restarts", 20, 50, restarts, durable=True),
    "kills": Plan("kill -9 of the client", 20, 50, kills, durable=True),
}


async def run_plan(plan: Plan, kinds: list[str], seed: int, keep: Path | None) -> dict[str, tuple[Row, Row]]:
    """Runs all kinds of pairs through the same faults at the same time."""
    with tempfile.TemporaryDirectory() as scratch:
        async with trio.open_nursery() as nursery:
            pairs = []
            for kind in kinds:
                folder = (keep or Path(scratch)) / plan.title.replace(" ", "_") / kind
                folder.mkdir(parents=True)
                pairs.append(Pair(nursery, kind, folder, plan))
            for pair in pairs:
                await pair.start()
            async with trio.open_nursery() as running:
                for pair in pairs:
                    running.start_soon(_run_pair, pair, plan, random.Random(seed))
            nursery.cancel_scope.cancel()
        return {pair.name: pair.rows() for pair in pairs}


async def _run_pair(pair: Pair, plan: Plan, dice: random.Random) -> None:
    for end in (pair.server, pair.client):
        await end.tell("go")
    await plan.run(pair, plan, dice)
    await pair.sent()
    await pair.quiet()
    await pair.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def table(results: dict[str, dict[str, tuple[Row, Row]]]) -> str:
    """The results as a Markdown table."""
    lines = ["| fault | library | direction | " + " | ".join(COLUMNS) + " |"]
    lines.append("|---|---|---|" + "---:|" * len(COLUMNS))
    for title, kinds in results.items():
        for kind, rows in kinds.items():
            name = "maim_trio" if kind == "ours" else f"maim_message {PEER_VERSION}"
            for direction, row in zip(("client → server", "server → client"), rows, strict=True):
                values = " | ".join(f"{getattr(row, column):,}" for column in COLUMNS)
                lines.append(f"| {title} | {name} | {direction} | {values} |")
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the messages, a fifth of the faults")
    parser.add_argument("--only", choices=[*PLANS], action="append", help="one kind of fault; repeatable")
    parser.add_argument("--without-peer", action="store_true", help="only this library")
    parser.add_argument("--seed", type=int, default=20261121, help="of the moments of the faults")
    parser.add_argument("--keep", type=Path, help="a folder for journals and logs")
    return parser.parse_args()


def main() -> int:
    """Prints the table; status 1 when a promise was broken."""
    arguments = _arguments()
    kinds = ["ours"] if arguments.without_peer else ["ours", "peer"]
    if "peer" in kinds:
        try:
            peer_python(PEER_VERSION)
        except PeerUnavailable as why:
            print(f"without the peer: {why}", file=sys.stderr)
            kinds = ["ours"]
    results: dict[str, Any] = {}
    for name in arguments.only or PLANS:
        plan = PLANS[name]
        if arguments.quick:
            plan.faults, plan.duration, plan.count = plan.faults // 5, plan.duration / 5, plan.count // 10
        results[plan.title] = trio.run(run_plan, plan, kinds, arguments.seed, arguments.keep)
        print(table({plan.title: results[plan.title]}), flush=True)
    print("\n" + table(results))
    return int(any(broken(title, kinds["ours"]) for title, kinds in results.items()))


def broken(title: str, rows: tuple[Row, Row]) -> bool:
    """Whether something was lost, reordered, or repeated more often than it may be: once per kill, towards the killed."""
    up, down = rows
    kills = int(title.split()[0]) if "kill" in title else 0
    return any(row.lost or row.disordered for row in rows) or up.duplicated > 0 or down.duplicated > kills


if __name__ == "__main__":
    os.chdir(Path(__file__).resolve().parent.parent)
    sys.exit(main())
