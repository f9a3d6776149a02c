"""What our server does for one message, counted and not timed: the guard against becoming slower unnoticed.

``python -m benchmarks.instructions`` prints the counts of every load beside their ceilings (`ceilings.toml`),
``--write`` makes what was counted the new ceilings, with a margin, ``--page docs/benchmarks.md`` puts the table there; ``--functions LOAD`` names the functions that a message
goes through, ``--cpu`` counts the processor's instructions with valgrind. A test holds the ceilings.

The counts are per message delivered, everything around it included: decoding, acknowledgement, handler, reply, and the
acknowledgement of that reply. They are the same in every run, but for the order in which trio runs the tasks of a tick.
"""

from __future__ import annotations

import argparse
import gc
import json
import re
import shutil
import subprocess
import sys
import tomllib
import tracemalloc
from collections import Counter
from functools import partial
from pathlib import Path
from types import CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any

import trio

from benchmarks import lockstep, report
from benchmarks.lockstep import Load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import CodeType, FrameType

LOADS = {
    "pipelined": Load(connections=4, outstanding=8),
    "single": Load(connections=4, outstanding=1),
    "fan-out": Load(connections=50, outstanding=1, fan_out=True),
    "connect": Load(connections=1, outstanding=1, handshakes=True),
    "large": Load(connections=1, outstanding=1, size=1024 * 1024),
    "durable": Load(connections=4, outstanding=8, durable=True),
}
ROUNDS = {"pipelined": 12, "single": 30, "fan-out": 6, "connect": 30, "large": 3, "durable": 12}
BLOCK_ROUNDS = 600
"""trio forgets the deadlines of finished scopes in heaps of a thousand, so what stays shows over many messages only."""
CEILINGS = Path(__file__).with_name("ceilings.toml")
MARGIN = 1.10
"""The order of a tick's tasks is a matter of chance; without that every count would be exact."""
SLACK = {"blocks": 0.3}
"""The same for counts near one, where that order matters more; for the others it is `LITTLE`."""
LITTLE = 0.08

OF_THE_INTERPRETER = ("calls", "opcodes", "c_calls")
"""Counts that depend on the versions of Python and trio, and are held only for those that they were counted with."""
PER_ROUND = (*OF_THE_INTERPRETER, "steps", "tasks", "checkpoints", "syscalls", "epoll_ctl", "io_waits")
MEANINGS = {
    "calls": "Python functions called, resumed coroutines included",
    "opcodes": "bytecode instructions",
    "c_calls": "functions in C called",
    "steps": "times that trio ran a task",
    "tasks": "tasks spawned",
    "checkpoints": "trio.lowlevel.checkpoint",
    "syscalls": "reads, writes and random numbers",
    "epoll_ctl": "changes of the epoll set",
    "io_waits": "times that trio asked the epoll set",
    "blocks": "blocks of memory that stay",
    "copies": "bytes held at the peak, per byte of the message",
}

_NOT_COUNTED = frozenset({str(Path(lockstep.__file__).resolve()), str(Path(__file__).resolve())})
"""The clients, and the counting itself."""
_SYSCALLS = frozenset({"read", "write", "writev", "readv", "urandom", "recv", "recv_into", "send", "sendmsg"})
_EPOLL_CTL = frozenset({"register", "modify", "unregister"})


class Counting(trio.abc.Instrument):
    """Everything that one run with a profile function and trio's instruments can count."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.functions: Counter[str] = Counter()
        self._checkpoint: CodeType = trio.lowlevel.checkpoint.__code__
        self._counting = False

    def begin(self) -> None:
        self._counting = True
        sys.setprofile(self._profile)

    def end(self) -> None:
        self._counting = False
        sys.setprofile(None)

    def _profile(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if code.co_filename in _NOT_COUNTED:
            return
        if event == "call":
            self.counts["calls"] += 1
            self.functions[f"{code.co_filename}:{code.co_qualname}"] += 1
            if code is self._checkpoint:
                self.counts["checkpoints"] += 1
        elif event == "c_call":
            self.counts["c_calls"] += 1
            name = argument.__name__
            if name in _SYSCALLS and not isinstance(
                argument.__self__, (CoroutineType, GeneratorType)
            ):  # they `send`, too
                self.counts["syscalls"] += 1
            elif name in _EPOLL_CTL:
                self.counts["epoll_ctl"] += 1

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.counts["steps"] += self._counting

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self.counts["tasks"] += self._counting

    def before_io_wait(self, timeout: float) -> None:
        self.counts["io_waits"] += self._counting


class Opcodes:
    """Counts bytecode instructions."""

    def __init__(self) -> None:
        self.count = 0

    def trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename in _NOT_COUNTED:
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._in_frame

    def _in_frame(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "opcode":
            self.count += 1
        return self._in_frame


def _between(
    load: Load,
    rounds: int,
    begin: Callable[[], None],
    end: Callable[[], None],
    *,
    handler: lockstep.Handler | None = None,
    instruments: Sequence[trio.abc.Instrument] = (),
) -> None:
    """Runs the load, `begin` after the warm-up and `end` after the last round."""

    def on_round(done: int) -> None:
        if done == 0:
            begin()
        elif done == rounds:
            end()

    trio.run(partial(lockstep.run, load, rounds, on_round, handler), instruments=instruments)


def count_calls(load: Load, rounds: int, handler: lockstep.Handler | None = None) -> tuple[Counter[str], Counter[str]]:
    """The counts of all rounds, and how often each function was called."""
    counting = Counting()
    before = sys.getprofile()
    try:
        _between(load, rounds, counting.begin, counting.end, handler=handler, instruments=[counting])
    finally:
        sys.setprofile(before)
    return counting.counts, counting.functions


def count_opcodes(load: Load, rounds: int) -> int:
    """Bytecode instructions of all rounds."""
    opcodes = Opcodes()
    before = sys.gettrace()  # a debugger's, or that of coverage
    try:
        _between(load, rounds, lambda: sys.settrace(opcodes.trace), lambda: sys.settrace(before))
    finally:
        sys.settrace(before)
    return opcodes.count


def count_blocks(load: Load, rounds: int) -> int:
    """Blocks of memory that are held after all rounds and were not before."""
    at: list[int] = []

    def note() -> None:
        gc.collect()
        at.append(sys.getallocatedblocks())

    _between(load, rounds, note, note)
    return at[1] - at[0]


def count_copies(load: Load, rounds: int) -> float:
    """Bytes that were held at the peak and not before, per byte that the clients send in a round."""
    at: list[int] = []

    def begin() -> None:
        tracemalloc.start()
        tracemalloc.reset_peak()
        at.append(tracemalloc.get_traced_memory()[0])

    def end() -> None:
        at.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    _between(load, rounds, begin, end)
    return (at[1] - at[0]) / (load.sent * load.size)


def measure(name: str) -> dict[str, float]:
    """All counts of a load, per message delivered."""
    load, rounds = LOADS[name], ROUNDS[name]
    if name == "large":  # how it is cut into reads and writes is the kernel's business
        return {"copies": round(count_copies(load, rounds), 2)}
    counts, _ = count_calls(load, rounds)
    counts["opcodes"] = count_opcodes(load, rounds)
    messages = load.delivered * rounds
    result = {key: round(counts[key] / messages, 2) for key in PER_ROUND}
    if name == "pipelined":
        result["blocks"] = round(count_blocks(load, BLOCK_ROUNDS) / (load.delivered * BLOCK_ROUNDS), 2)
    return result


def versions() -> dict[str, str]:
    return {"python": f"{sys.version_info[0]}.{sys.version_info[1]}", "trio": trio.__version__}


def read_ceilings() -> dict[str, Any]:
    return tomllib.loads(CEILINGS.read_text(encoding="utf-8"))


def exceeded(measured: dict[str, float], ceilings: dict[str, float], *, same_versions: bool) -> dict[str, str]:
    """The counts above their ceilings: what was counted, and what it may be."""
    return {
        key: f"{value:g} > {ceilings[key]:g}"
        for key, value in measured.items()
        if value > ceilings[key] and (same_versions or key not in OF_THE_INTERPRETER)
    }


def ceilings_of(measured: dict[str, dict[str, float]]) -> str:
    """`ceilings.toml` for these counts."""
    lines = [
        "# What one message may cost (benchmarks/instructions.py says what is counted). Written by",
        "# python -m benchmarks.instructions --write",
        *(f'{what} = "{version}"' for what, version in versions().items()),
    ]
    for name, counts in measured.items():
        lines += ["", f"[{name}]"]
        lines += [
            f"{key} = {value * MARGIN + SLACK.get(key, LITTLE):.2f}  # {MEANINGS[key]}" for key, value in counts.items()
        ]
    return "\n".join(lines) + "\n"


def table(measured: dict[str, dict[str, float]], ceilings: dict[str, Any]) -> str:
    """A Markdown table: counts, with the ceiling in parentheses."""
    keys = [key for key in MEANINGS if any(key in counts for counts in measured.values())]
    lines = [f"| per message | {' | '.join(measured)} |", f"|---|{'---:|' * len(measured)}"]
    for key in keys:
        cells = [
            f"{counts[key]:g} (≤ {ceilings.get(name, {}).get(key, 'none')})" if key in counts else ""
            for name, counts in measured.items()
        ]
        lines.append(f"| {MEANINGS[key]} (`{key}`) | {' | '.join(cells)} |")
    return "\n".join(lines)


def show_functions(name: str) -> None:
    """Which functions a message goes through, and how often."""
    load, rounds = LOADS[name], ROUNDS[name]
    _, functions = count_calls(load, rounds)
    for function, count in functions.most_common(60):
        path, _, name = function.partition(":")
        print(f"{count / (load.delivered * rounds):6.2f}  {Path(path).parent.name}/{Path(path).name}:{name}")


def cpu_instructions(name: str) -> float | None:
    """The processor's instructions for one message: two runs under valgrind, one longer. None: there is no valgrind."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        return None
    rounds = ROUNDS[name]
    tool = [valgrind, "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    collected = []
    for times in (rounds, rounds * 3):
        program = [sys.executable, "-m", "benchmarks.instructions", "--bare", name, "--rounds", str(times)]
        done = subprocess.run([*tool, *program], capture_output=True, text=True, check=True)
        found = re.search(r"Collected : (\d+)", done.stderr)
        if found is None:
            raise RuntimeError(f"valgrind says nothing of instructions: {done.stderr[-300:]}")
        collected.append(int(found[1]))
    return (collected[1] - collected[0]) / (LOADS[name].delivered * rounds * 2)


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("loads", nargs="*", help=f"some of {', '.join(LOADS)} (default: all)")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    parser.add_argument("--write", action="store_true", help="make what is counted the new ceilings")
    parser.add_argument("--page", type=Path, help="the page to write the table into")
    parser.add_argument("--functions", choices=LOADS, help="list the functions that a message goes through")
    parser.add_argument(
        "--cpu",
        action="store_true",
        help="count the processor's instructions with valgrind, too, those of the clients included",
    )
    parser.add_argument("--bare", choices=LOADS, help="only run a load, counting nothing")
    parser.add_argument("--rounds", type=int, default=100, help="of --bare")
    arguments = parser.parse_args()
    if arguments.functions:
        show_functions(arguments.functions)
        return
    if arguments.bare:
        trio.run(lockstep.run, LOADS[arguments.bare], arguments.rounds, lambda _: None)
        return
    chosen = arguments.loads or list(LOADS)
    measured = {name: measure(name) for name in chosen}
    if arguments.json:
        print(json.dumps(measured))
        return
    if arguments.write:
        CEILINGS.write_text(ceilings_of(measured), encoding="utf-8")
    text = table(measured, read_ceilings() if CEILINGS.exists() else {})
    print(text)
    if arguments.page is not None:
        report.write(arguments.page, "counts", text)
    for name in chosen if arguments.cpu else ():
        print(f"{name}: {cpu_instructions(name) or 0:,.0f} instructions of the processor per message")


if __name__ == "__main__":
    main()
