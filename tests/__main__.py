"""All tests, in two processes at the same time: ``python -m tests``. With arguments it is pytest with these.

Much of the time tests wait for the programs that they talk to, and there is more than one core nearly everywhere.
Nothing is shared by the two but the machine: ports are free ones, files are temporary.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
APART = ("tests/interop", "tests/legacy", "tests/e2e", "tests/transport")
"""What the second process runs: about half of the time."""


def pytest(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pytest", *arguments]


def both() -> int:
    """Runs both, shows what the one says at once and what the other says afterwards; the worse of their exit codes."""
    others = [f"--ignore={path}" for path in APART]
    with tempfile.TemporaryFile() as said:
        apart = subprocess.Popen(
            pytest("-p", "no:cacheprovider", *APART), cwd=ROOT, stdout=said, stderr=subprocess.STDOUT
        )
        try:
            code = subprocess.run(pytest(*others), cwd=ROOT, check=False).returncode
            code = max(code, apart.wait())
        finally:
            apart.kill()
        said.seek(0)
        sys.stdout.flush()
        sys.stdout.buffer.write(said.read())
        sys.stdout.flush()
    return code


if __name__ == "__main__":
    if len(sys.argv) > 1:
        os.execv(sys.executable, pytest(*sys.argv[1:]))
    raise SystemExit(both())
