"""Runs the Autobahn suite, cases 1 to 10, against both roles of the transport and prints a table.

The suite needs Python 2.7. Exit status: 0 when no case failed, 1 when one did, 2 when the suite cannot be run here.
"""

from __future__ import annotations

import collections
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
SUITE = "autobahntestsuite==25.10.1"
FOLDER = ROOT / ".peers" / "autobahn"
CASES = [f"{group}.*" for group in range(1, 11)]
AGENT = "maim_trio"
FINE = ("OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED")
TIMEOUT = 600
"""Seconds for one role; it takes about ten."""


class CannotRun(Exception):
    """The suite cannot be run on this machine, and why."""


def find_python27() -> str:
    """A Python 2.7, from PATH or pyenv."""
    candidates = [shutil.which(name) for name in ("python2.7", "python2")]
    candidates += [str(path) for path in sorted(Path.home().glob(".pyenv/versions/2.7*/bin/python2.7"))]
    for candidate in candidates:
        if candidate is not None:
            asked = subprocess.run(
                [candidate, "-c", "import sys; print(sys.version_info[:2] == (2, 7))"],
                capture_output=True,
                text=True,
                check=False,
            )
            if asked.stdout.strip() == "True":
                return candidate
    raise CannotRun("the Autobahn suite needs Python 2.7, and there is none on PATH or in ~/.pyenv/versions")


def install(python: str) -> None:
    """The suite in a folder of its own, once."""
    if (FOLDER / "autobahntestsuite").is_dir():
        return
    print(f"installing {SUITE} into {FOLDER.relative_to(ROOT)}", flush=True)
    command = [python, "-m", "pip", "install", "--quiet", "--target", str(FOLDER), SUITE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        shutil.rmtree(FOLDER, ignore_errors=True)
        last = (done.stderr.strip() or "no reason given").splitlines()[-1]
        raise CannotRun(f"pip of Python 2.7 cannot install {SUITE}: {last}")


def wstest(python: str, mode: str, spec: dict[str, object], folder: Path) -> list[str]:
    path = folder / f"{mode}.json"
    path.write_text(json.dumps({"outdir": str(folder), "cases": CASES, "exclude-cases": [], **spec}))
    return [python, str(HERE / "wstest.py"), str(FOLDER), mode, str(path)]


def run_against_server(python: str, folder: Path, log: IO[bytes]) -> None:
    """The suite as a client of our server."""
    echo = subprocess.Popen([sys.executable, str(HERE / "echo.py"), "server"], stdout=subprocess.PIPE, cwd=ROOT)
    try:
        assert echo.stdout is not None
        port = int(echo.stdout.readline())
        spec = {"servers": [{"agent": AGENT, "url": f"ws://127.0.0.1:{port}"}]}
        command = wstest(python, "fuzzingclient", spec, folder)
        subprocess.run(command, stdout=log, stderr=log, cwd=folder, timeout=TIMEOUT, check=True)
    finally:
        echo.terminate()
        echo.communicate()


def run_against_client(python: str, folder: Path, log: IO[bytes]) -> None:
    """The suite as a server of our client."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = wstest(python, "fuzzingserver", {"url": f"ws://127.0.0.1:{port}", "webport": 0}, folder)
    suite = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        wait_for(port, suite)
        command = [sys.executable, str(HERE / "echo.py"), "client", str(port), AGENT]
        subprocess.run(command, cwd=ROOT, timeout=TIMEOUT, check=True)
    finally:
        suite.terminate()
        suite.wait()


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until the suite listens."""
    for _ in range(300):
        if process.poll() is not None:
            raise CannotRun(f"the suite ended with status {process.returncode} before it listened")
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise CannotRun("the suite does not listen")


def results(folder: Path) -> dict[str, str]:
    """Case -> the worse of its two verdicts: what happened, and how the connection was closed."""
    cases = json.loads((folder / "index.json").read_text())[AGENT]
    verdicts = {}
    for case, entry in cases.items():
        both = (entry["behavior"], entry["behaviorClose"])
        verdicts[case] = next((verdict for verdict in both if verdict not in FINE), entry["behavior"])
    return verdicts


def row(role: str, verdicts: dict[str, str]) -> str:
    count = collections.Counter(verdicts.values())
    failed = sum(number for verdict, number in count.items() if verdict not in FINE)
    numbers = [len(verdicts), *(count[verdict] for verdict in FINE), failed]
    return f"| {role} | " + " | ".join(map(str, numbers)) + " |"


def main() -> int:
    try:
        python = find_python27()
        install(python)
        found = {}
        for role, run in (("server", run_against_server), ("client", run_against_client)):
            with tempfile.TemporaryDirectory() as name, tempfile.TemporaryFile() as log:
                run(python, Path(name), log)
                found[role] = results(Path(name))
    except CannotRun as reason:
        print(f"compliance: not run: {reason}", file=sys.stderr)
        return 2
    print("| role | cases | OK | non-strict | informational | unimplemented | failed |")
    print("|---|---|---|---|---|---|---|")
    for role, verdicts in found.items():
        print(row(role, verdicts))
    for role, verdicts in found.items():
        for case, verdict in sorted(verdicts.items()):
            if verdict != "OK":
                print(f"{role} {case}: {verdict}")
    return int(any(verdict not in FINE for verdicts in found.values() for verdict in verdicts.values()))


if __name__ == "__main__":
    sys.exit(main())
