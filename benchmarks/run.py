"""The benchmark: all subjects in turn under the same loads, in turns of half a second, several rounds of them.

``python -m benchmarks.run [--quick] [--rounds 2] [--only WORK] [--json FILE]`` prints the tables of `benchmarks.report`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.measuring import Measurement, allow_many_connections, head, make_certificate, measure
from benchmarks.works import WORKS, Work

Round = dict[str, list[dict[str, float]]]
"""What the subjects' turns came to."""

SECONDS = 0.5
ROUNDS, TURNS = 2, 6
QUICK_TURNS = 2
ALONE = 2
"""Rounds of a work whose subjects cannot take turns, for one of the others."""


def run(work: Work, rounds: int, turns: int, certificate: list[str], *, beside: bool) -> dict[str, Any]:
    """All rounds of one work: what each subject's results were, turn by turn."""
    results: dict[str, list[dict[str, float]]] = {}
    for number in range(min(rounds if work.turns else rounds * ALONE, work.most_rounds)):
        subjects = (*work.subjects, *work.beside) if beside and number == 0 else work.subjects
        print(f"{work.name}: round {number + 1}, {', '.join(subjects)}", file=sys.stderr, flush=True)
        measured = take_turns if work.turns else one_by_one
        for subject, numbers in measured(work, subjects, turns, certificate).items():
            results.setdefault(subject, []).extend(numbers)
    return {"name": work.name, "results": results}


def take_turns(work: Work, subjects: tuple[str, ...], turns: int, certificate: list[str]) -> Round:
    """A round in which all subjects run, and one at a time is under load, to and fro."""
    with ExitStack() as running:
        measurements = {name: running.enter_context(Measurement(name, work, SECONDS, certificate)) for name in subjects}
        results: Round = {name: [] for name in subjects}
        for turn in range(turns):
            for name in subjects if turn % 2 == 0 else reversed(subjects):
                results[name].append(measurements[name].turn())
    return results


def one_by_one(work: Work, subjects: tuple[str, ...], _turns: int, certificate: list[str]) -> Round:
    """A round in which only one subject runs at a time: where idle connections of the others would disturb."""
    return {name: [measure(name, work, SECONDS, certificate)] for name in subjects}


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round of the three main subjects")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", default="", help="works whose name contains this")
    parser.add_argument("--json", help="where the results go")
    arguments = parser.parse_args()
    rounds, turns = (1, QUICK_TURNS) if arguments.quick else (arguments.rounds, TURNS)
    allow_many_connections()
    results = head(rounds=rounds, turns=turns, seconds=SECONDS, works=[])
    with tempfile.TemporaryDirectory() as folder:
        certificate = make_certificate(folder)
        for work in WORKS:
            if arguments.only in work.name and (work.quick or not arguments.quick):
                done = run(work, rounds, turns, certificate, beside=not arguments.quick)
                results["works"].append(done)
                if arguments.json:  # what is there is kept, whatever happens to the rest
                    Path(arguments.json).write_text(json.dumps(results, indent=1), encoding="utf-8")
    print(report.tables(results))


if __name__ == "__main__":
    main()
