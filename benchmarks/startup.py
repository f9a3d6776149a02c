"""What importing costs: fresh interpreters in turn, against one that imports nothing.

``python -m benchmarks.startup [--rounds 30] [--write docs/benchmarks.md]``. Compared is CPU time, user and kernel, of a whole
interpreter with its imports compiled before; the interpreter alone is subtracted. The minimum says what it costs, the
median what it costs here and now.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import report

EMPTY = "pass"
STATEMENTS = {
    "maim_trio": "import maim_trio",
    "maim_trio.message": "import maim_trio.message",
    "maim_trio.client": "import maim_trio.client",
    "maim_trio.server": "import maim_trio.server",
    "msgspec": "import msgspec",
    "trio": "import trio",
    "trio and trio-websocket": "import trio, trio_websocket",
}
GOALS = {"maim_trio.message": 40.0, "maim_trio.client": 150.0}
"""Milliseconds."""


def cpu_seconds(statement: str, cache: str) -> float:
    """CPU time of a fresh interpreter that runs `statement`; compiled modules stay in the folder `cache`."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = cache
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", statement], check=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(rounds: int) -> dict[str, list[float]]:
    """Milliseconds per import and round, those of the empty interpreter of the same round subtracted."""
    with tempfile.TemporaryDirectory() as cache:
        for statement in STATEMENTS.values():
            cpu_seconds(statement, cache)
        result: dict[str, list[float]] = {name: [] for name in STATEMENTS}
        for _ in range(rounds):
            empty = cpu_seconds(EMPTY, cache)
            for name, statement in STATEMENTS.items():
                result[name].append((cpu_seconds(statement, cache) - empty) * 1e3)
    return result


def table(measured: dict[str, list[float]]) -> str:
    """The Markdown table, with the goals."""
    lines = ["| import | minimum | median | maximum | goal | reached |", "|---|---:|---:|---:|---:|---|"]
    for name, values in measured.items():
        cells = [f"{value:.0f} ms" for value in (min(values), statistics.median(values), max(values))]
        goal = GOALS.get(name)
        said = ["", ""] if goal is None else [f"{goal:.0f} ms", "yes" if statistics.median(values) < goal else "no"]
        lines.append(f"| `{name}` | {' | '.join([*cells, *said])} |")
    return "\n".join(lines)


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--write", type=Path, help="the page to write the table into")
    arguments = parser.parse_args()
    text = table(measure(arguments.rounds))
    print(text)
    if arguments.write is not None:
        report.write(arguments.write, "imports", f"{report.measured_on()}\n\n{text}")


if __name__ == "__main__":
    main()
