"""Runs one subject under one load, and says what it cost. The subject has core 0 to itself, the generator core 1.

What is compared is the subject's CPU time: rates swing with what else the machine does, CPU time hardly.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import select
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.works import PEER_VERSION, SUBJECTS, Subject, Work
from tests.peers import WS_VERSION, node, node_modules_dir, peer_python

HERE = Path(__file__).resolve().parent
SUBJECT_CORE, GENERATOR_CORE = "0", "1"
LISTENING = 20.0
"""Seconds until a subject must listen."""
LOAD_TIMEOUT = 240.0
NAMED = ("maim-trio", "trio", "trio-websocket", "msgspec", "picows", "uvloop", "websockets", "aiohttp")


def allow_many_connections() -> None:
    """Raises the limit of open files as far as one may; subjects inherit it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def machine() -> dict[str, str]:
    """Where it was measured."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    return {"processor": _processor(), "cores": str(os.cpu_count()), "memory": f"{memory:.0f} GiB",
            "system": f"{platform.system()} {platform.release()}"}  # fmt: skip


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def versions() -> dict[str, str]:
    """What was measured."""
    node_version = subprocess.run([str(node()), "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return {"Python": platform.python_version(), **{name: version(name) for name in NAMED},
            "maim_message": PEER_VERSION, "Node": node_version, "Node ws": WS_VERSION}  # fmt: skip


def head(**facts: Any) -> dict[str, Any]:
    """The beginning of every result file."""
    return {"date": date.today().isoformat(), "load": load(), "machine": machine(), "versions": versions(), **facts}


def load() -> float:
    """How many processes wanted to run in the last minute, for each core: what the machine does besides."""
    return os.getloadavg()[0] / (os.cpu_count() or 1)


def make_certificate(folder: str) -> list[str]:
    """The paths of a certificate for 127.0.0.1 and its key."""
    import trustme

    issued = trustme.CA().issue_cert("127.0.0.1", "localhost")
    paths = [f"{folder}/certificate.pem", f"{folder}/key.pem"]
    issued.cert_chain_pems[0].write_to_path(paths[0])
    issued.private_key_pem.write_to_path(paths[1])
    return paths


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def command(subject: Subject, *arguments: str) -> list[str]:
    """What starts a subject, on its core."""
    interpreter = {"own": lambda: Path(sys.executable), "peer": lambda: peer_python(PEER_VERSION), "node": node}
    program = str(interpreter[subject.runs_on]())
    return ["taskset", "-c", SUBJECT_CORE, program, str(HERE / "subjects" / subject.script), *arguments]


def environment(subject: Subject) -> dict[str, str]:
    """What a subject sees: our package, Node's modules, or nothing."""
    changed = {"PYTHONPATH": str(HERE.parent) if subject.runs_on == "own" else ""}
    if subject.runs_on == "node":
        changed["NODE_PATH"] = str(node_modules_dir())
    return {**os.environ, **changed}


class Process:
    """A subject that runs for the body of a `with`. What it says is shown when it ends by itself."""

    def __init__(self, subject: Subject, *arguments: str) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self._process = subprocess.Popen(
            command(subject, *arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._said if subject.runs_on != "peer" else subprocess.DEVNULL,  # which says a lot
            env=environment(subject),
        )

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._said.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def check(self) -> None:
        """Ends the benchmark when the subject has ended."""
        if self._process.poll() is not None:
            self._said.seek(0)
            raise SystemExit(f"a subject ended: {self._process.args}\n{self._said.read().decode()[-2000:]}")

    def wait_listening(self, port: int) -> None:
        wait_listening(port, self.check)


def wait_listening(port: int, check: Any) -> None:
    """Until somebody listens."""
    deadline = time.monotonic() + LISTENING
    while time.monotonic() < deadline:
        check()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                time.sleep(0.2)
                return
        time.sleep(0.05)
    raise SystemExit(f"nobody listens on port {port}")


def generator(work: Work, port: int, seconds: float, *more: str) -> list[str]:
    """The command of the load generator."""
    timed = ["--seconds", str(seconds)] if work.timed else []
    place = ["--port", str(port), "--core", GENERATOR_CORE]
    return [sys.executable, str(HERE / "load.py"), *work.load, *timed, *place, *more]


class Measurement:
    """One subject and its load generator, connected to each other for the body of a `with`, idle but for their turns."""

    def __init__(self, name: str, work: Work, seconds: float, certificate: list[str]) -> None:
        self._name, self._work, self._seconds, self._certificate = name, work, seconds, certificate
        self._port = free_port()
        self._open = ExitStack()
        self._ask = ""
        """What the next line to the generator says."""

    def __enter__(self) -> Measurement:
        with self._open:
            if self._work.has_clients:
                self._start_generator()
                connections = self._work.load[self._work.load.index("--connections") + 1]
                self._start_subject(str(self._port), connections, *self._files())
                self._ask = str(self._process.pid)
            else:
                tls = self._certificate if self._work.tls else []
                self._start_subject(self._work.server, str(self._port), *tls, *self._files())
                self._process.wait_listening(self._port)
                self._start_generator("--pid", str(self._process.pid))
            self._open = self._open.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def turn(self) -> dict[str, float]:
        """Puts the subject under load for a while. SystemExit: it or the generator ended, or nothing came back."""
        assert self._load.stdin is not None
        self._load.stdin.write(f"{self._ask}\n".encode())
        self._ask = ""
        return self._heard()

    def _files(self) -> list[str]:
        folder = self._open.enter_context(tempfile.TemporaryDirectory())
        return [f"{option}={folder}/file{option}" for option in SUBJECTS[self._name].files]

    def _start_subject(self, *arguments: str) -> None:
        self._process = self._open.enter_context(Process(SUBJECTS[self._name], *arguments))

    def _start_generator(self, *more: str) -> None:
        self._said = self._open.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - closed with the rest
        load = subprocess.Popen(
            generator(self._work, self._port, self._seconds, *more),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, bufsize=0,
        )  # fmt: skip
        self._load = self._open.enter_context(load)
        self._open.callback(load.kill)
        self._heard()

    def _heard(self) -> dict[str, float]:
        """The generator's next line."""
        out = self._load.stdout
        assert out is not None
        line = out.readline() if select.select([out], [], [], LOAD_TIMEOUT)[0] else b""
        if not line:
            if not self._work.has_clients:
                self._process.check()
            self._said.seek(0)
            raise SystemExit(f"{self._work.name}, {self._name}: {self._said.read().decode()[-800:]}")
        numbers: dict[str, float] = json.loads(line)
        return numbers


def measure(name: str, work: Work, seconds: float, certificate: list[str]) -> dict[str, float]:
    """The numbers of one subject under one load, in one turn."""
    with Measurement(name, work, seconds, certificate) as measurement:
        return measurement.turn()
