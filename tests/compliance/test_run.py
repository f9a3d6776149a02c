"""The script around the Autobahn suite. The suite itself takes half a minute and runs by `make compliance`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from . import run


def test_without_python_27_the_script_says_so_in_one_line_and_exits_with_2(tmp_path):
    script = str(Path(run.__file__))
    environment = {**os.environ, "PATH": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "Python 2.7" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("behavior", "behavior_close", "verdict"),
    [
        ("OK", "OK", "OK"),
        ("NON-STRICT", "OK", "NON-STRICT"),
        ("OK", "UNCLEAN", "UNCLEAN"),
        ("FAILED", "OK", "FAILED"),
    ],
)
def test_the_verdict_on_a_case_is_the_worse_one_of_two(tmp_path, behavior, behavior_close, verdict):
    entry = {"behavior": behavior, "behaviorClose": behavior_close}
    (tmp_path / "index.json").write_text(json.dumps({run.AGENT: {"1.1.1": entry}}))
    assert run.results(tmp_path) == {"1.1.1": verdict}


def test_a_row_counts_everything_that_is_not_fine_as_failed():
    verdicts = {"1": "OK", "2": "OK", "3": "NON-STRICT", "4": "FAILED", "5": "UNCLEAN"}
    assert run.row("server", verdicts) == "| server | 5 | 2 | 1 | 0 | 0 | 2 |"
