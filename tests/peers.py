"""The real programs that the interop tests talk to: where they are, and how they get there.

Each is made once under ``.peers/`` in the repository (ignored by git) and found there from then on. What cannot be made
raises `PeerUnavailable` with one sentence that says what is missing.

As a program (``python -m tests.peers``) it makes them all and says how that went.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / ".peers"

MAIM_MESSAGE_VERSIONS = ("0.6.8", "0.6.5", "0.6.2", "0.6.0")
WS_VERSION = "8.23.0"
_INSTALL_TIMEOUT = 300.0  # seconds for one pip or npm run
_CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")


class PeerUnavailable(Exception):
    """A program that a test needs is not on this machine and could not be installed. The text is one sentence."""


def in_ci() -> bool:
    """True where a missing program is a failure, because somebody promised to install it."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


@cache
def peer_python(version: str) -> Path:
    """The interpreter of a virtual environment that holds ``maim_message==version``; made at the first call.

    The environment variable ``MAIM_TRIO_PEER_0_6_8`` (the version with underscores) names another interpreter.
    """
    override = os.environ.get("MAIM_TRIO_PEER_" + version.replace(".", "_"))
    if override:
        return _existing(Path(override), f"the interpreter for maim_message {version}")

    def build(folder: Path) -> None:
        _run([sys.executable, "-m", "venv", str(folder)], f"a virtual environment for maim_message {version}")
        python = folder / "bin" / "python"
        install = [str(python), "-m", "pip", "install", "--quiet", f"maim_message=={version}"]
        _run(install, f"maim_message {version} from PyPI")
        _run([str(python), "-c", "import maim_message.client, maim_message.server"], f"maim_message {version}")

    return _made_once(PEERS / f"maim_message-{version}", build) / "bin" / "python"


@cache
def node() -> Path:
    """Node's binary (``MAIM_TRIO_NODE`` names another)."""
    return _program("MAIM_TRIO_NODE", ("node", "nodejs"), "Node (Debian package nodejs)")


@cache
def node_modules_dir() -> Path:
    """The ``node_modules`` folder that holds Node's ``ws`` (``MAIM_TRIO_NODE_MODULES`` names another)."""
    override = os.environ.get("MAIM_TRIO_NODE_MODULES")
    if override:
        return _existing(Path(override), "the node_modules folder")
    node()
    npm = _program("MAIM_TRIO_NPM", ("npm",), "npm (Debian package npm)")

    def build(folder: Path) -> None:
        quiet = ["--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]
        _run([str(npm), "install", *quiet, "--prefix", str(folder), f"ws@{WS_VERSION}"], f"ws {WS_VERSION} from npm")

    return _made_once(PEERS / f"node-ws-{WS_VERSION}", build) / "node_modules"


@cache
def chromium() -> Path:
    """Chromium's binary (``MAIM_TRIO_CHROMIUM`` names another)."""
    return _program("MAIM_TRIO_CHROMIUM", _CHROMIUM_NAMES, "Chromium (Debian package chromium)")


def _program(variable: str, names: Sequence[str], what: str) -> Path:
    override = os.environ.get(variable)
    if override:
        return _existing(Path(override), what)
    for name in names:
        found = shutil.which(name)
        if found:
            return Path(found)
    raise PeerUnavailable(f"{what} is not on PATH; install it, or name it in {variable}.")


def _existing(path: Path, what: str) -> Path:
    if not path.exists():
        raise PeerUnavailable(f"{what} should be at {path}, but there is nothing.")
    return path


def _made_once(target: Path, build: Callable[[Path], None]) -> Path:
    """`target`, built in a folder beside it and renamed: half a build is never found, and two builders do no harm."""
    if target.exists():
        return target
    target.parent.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=target.parent))
    try:
        build(folder)
        try:
            folder.rename(target)
        except OSError:
            if not target.exists():  # otherwise somebody else was faster, and theirs is as good
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return target


def _run(command: Sequence[str], what: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise PeerUnavailable(f"{what} could not be installed within {_INSTALL_TIMEOUT:.0f} s.") from None
    if done.returncode:
        raise PeerUnavailable(f"{what} could not be installed: {_last_line(done.stderr or done.stdout)}")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing."


def main() -> int:
    """Make every peer, one line each; status 1 in CI when one is missing, 0 otherwise (its tests are skipped)."""
    missing = 0
    wanted = {f"maim_message {version}": partial(peer_python, version) for version in MAIM_MESSAGE_VERSIONS}
    wanted |= {f"Node's ws {WS_VERSION}": partial(node_modules_dir), "Chromium": partial(chromium)}
    for name, make in wanted.items():
        try:
            make()
        except PeerUnavailable as why:
            missing += 1
            print(f"peer {name}: missing, its tests will {'fail' if in_ci() else 'be skipped'}. {why}")
        else:
            print(f"peer {name}: ready")
    return 1 if missing and in_ci() else 0


if __name__ == "__main__":
    sys.exit(main())
