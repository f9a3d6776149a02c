"""Runs the subjects in turn under the same load, several rounds interleaved, and prints medians as ratios.

``python benchmarks/run.py [--quick] [--only WORK] [--json FILE]``. The subject has core 0 to itself, the generator core 1.
What is compared is the subject's CPU time per message: rates swing with the neighbours, CPU time hardly.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from tests.peers import peer_python  # noqa: E402

PEER = "0.6.8"


@dataclass
class Work:
    """One kind of load. `key` is the number that is compared, smaller is better unless `more` says so."""

    name: str
    load: list[str]
    key: str
    unit: str
    server: str = "echo"
    subjects: tuple[str, ...] = ("ours", "peer", "picows")
    tls: bool = False
    more: bool = False
    extra: tuple[str, ...] = ()
    results: dict[str, list[dict[str, float]]] = field(default_factory=dict)


def works(seconds: float) -> list[Work]:
    time_ = ["--seconds", str(seconds)]
    return [
        Work("echo, 32 connections x 8", ["echo", "--connections", "32", "--outstanding", "8", *time_], "us", "us CPU"),
        Work("echo, 64 connections x 1", ["echo", "--connections", "64", "--outstanding", "1", *time_], "us", "us CPU"),
        Work("fan-out to 500", ["fanout", "--connections", "500", "--outstanding", "2", *time_], "us", "us CPU", "fanout"),
        Work("1 MiB messages", ["echo", "--connections", "4", "--outstanding", "1", "--size", "1048576", *time_], "us", "us CPU"),
        Work("8 MiB messages", ["echo", "--connections", "2", "--outstanding", "1", "--size", "8388608", *time_], "us", "us CPU"),
        Work("latency at 500/s", ["latency", "--connections", "16", *time_], "p50", "ms", extra=("p99",)),
        Work("2,000 idle connections", ["idle", "--connections", "2000", "--seconds", "3"], "kib", "KiB each", extra=("connect_us", "connects_per_second", "idle_cpu")),
        Work("TLS: echo, 32 connections x 8", ["echo", "--connections", "32", "--outstanding", "8", "--tls", *time_], "us", "us CPU", subjects=("ours", "peer"), tls=True),
        Work("TLS: 1 MiB messages", ["echo", "--connections", "4", "--outstanding", "1", "--size", "1048576", "--tls", *time_], "us", "us CPU", subjects=("ours", "peer"), tls=True),
    ]  # fmt: skip


def command(subject: str, work: Work, port: int, certificate: list[str]) -> list[str]:
    python = str(peer_python(PEER)) if subject == "peer" else sys.executable
    script = {"ours": "ours.py", "peer": "peer.py", "picows": "picows_uvloop.py"}[subject]
    return [python, str(HERE / "subjects" / script), work.server, str(port), *(certificate if work.tls else [])]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        if process.poll() is not None:
            raise SystemExit(f"a subject ended: {process.args}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit(f"a subject does not listen: {process.args}")


def measure(subject: str, work: Work, certificate: list[str]) -> dict[str, float]:
    port = free_port()
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent) if subject != "peer" else ""}
    process = subprocess.Popen(
        ["taskset", "-c", "0", *command(subject, work, port, certificate)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment,
    )  # fmt: skip
    try:
        wait_for(port, process)
        time.sleep(0.5)
        load = [
            sys.executable,
            str(HERE / "load.py"),
            *work.load,
            "--port",
            str(port),
            "--pid",
            str(process.pid),
            "--core",
            "1",
        ]
        done = subprocess.run(load, capture_output=True, text=True, timeout=180, check=False)
        if done.returncode or not done.stdout.strip():
            raise SystemExit(f"{work.name}, {subject}: {done.stderr[-800:]}")
        result: dict[str, float] = json.loads(done.stdout)
        return result
    finally:
        process.kill()
        process.wait()


def make_certificate(folder: str) -> list[str]:
    import trustme

    issued = trustme.CA().issue_cert("127.0.0.1", "localhost")
    paths = [f"{folder}/certificate.pem", f"{folder}/key.pem"]
    issued.cert_chain_pems[0].write_to_path(paths[0])
    issued.private_key_pem.write_to_path(paths[1])
    return paths


def show(work: Work) -> str:
    """One row per number: medians, min and max, and ours against the others."""
    rows = []
    for key in (work.key, *work.extra):
        cells, medians = [], {}
        for subject, results in work.results.items():
            values = sorted(result[key] for result in results)
            medians[subject] = statistics.median(values)
            cells.append(f"{subject} {medians[subject]:.4g} ({values[0]:.4g} to {values[-1]:.4g})")
        ratios = [
            f"{medians[other] / medians['ours']:.2f}x {other}"
            for other in medians
            if other != "ours" and medians["ours"]
        ]
        rows.append(f"{work.name} | {key} | {' | '.join(cells)} | {', '.join(ratios)}")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", help="works whose name contains this")
    parser.add_argument("--json", help="where the raw numbers go")
    arguments = parser.parse_args()
    rounds, seconds = (1, 1.5) if arguments.quick else (arguments.rounds, 3.0)
    chosen = [work for work in works(seconds) if arguments.only is None or arguments.only in work.name]
    with tempfile.TemporaryDirectory() as folder:
        certificate = make_certificate(folder)
        for work in chosen:
            for _ in range(rounds):
                for subject in work.subjects:
                    work.results.setdefault(subject, []).append(measure(subject, work, certificate))
            print(show(work), flush=True)
    if arguments.json:
        raw: dict[str, Any] = {work.name: work.results for work in chosen}
        Path(arguments.json).write_text(json.dumps(raw, indent=1))


if __name__ == "__main__":
    main()
