"""The benchmark: all subjects in turn under the same loads, several rounds interleaved.

``python -m benchmarks.run [--quick] [--rounds 3] [--only WORK] [--json FILE]`` prints the tables of `benchmarks.report`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.measuring import allow_many_connections, head, make_certificate, measure
from benchmarks.works import WORKS, Work

QUICK_SECONDS, SECONDS = 1.0, 2.5
ROUNDS = 3


def run(work: Work, rounds: int, seconds: float, certificate: list[str], *, beside: bool) -> dict[str, Any]:
    """All rounds of one work: what each subject's results were."""
    results: dict[str, list[dict[str, float]]] = {}
    for number in range(min(rounds, work.most_rounds)):
        subjects = (*work.subjects, *work.beside) if beside and number == 0 else work.subjects
        for subject in subjects:
            print(f"{work.name}: round {number + 1}, {subject}", file=sys.stderr, flush=True)
            results.setdefault(subject, []).append(measure(subject, work, seconds, certificate))
    return {"name": work.name, "results": results}


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round of the three main subjects")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", default="", help="works whose name contains this")
    parser.add_argument("--json", help="where the results go")
    arguments = parser.parse_args()
    rounds, seconds = (1, QUICK_SECONDS) if arguments.quick else (arguments.rounds, SECONDS)
    allow_many_connections()
    results = head(rounds=rounds, seconds=seconds, works=[])
    with tempfile.TemporaryDirectory() as folder:
        certificate = make_certificate(folder)
        for work in WORKS:
            if arguments.only in work.name and (work.quick or not arguments.quick):
                done = run(work, rounds, seconds, certificate, beside=not arguments.quick)
                results["works"].append(done)
                if arguments.json:  # what is there is kept, whatever happens to the rest
                    Path(arguments.json).write_text(json.dumps(results, indent=1), encoding="utf-8")
    print(report.tables(results))


if __name__ == "__main__":
    main()
