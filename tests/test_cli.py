"""The entry point: help, version, and that nothing ends in a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import maim_trio
from maim_trio.cli import main

SECRET = "sk-live-Zx81"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "maim_trio", *arguments], capture_output=True, text=True, check=False)


def test_the_module_and_the_script_are_the_same_program():
    script = Path(sys.executable).with_name("maim-trio")
    by_script = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert by_script.stdout == run("--version").stdout == f"maim-trio {maim_trio.__version__}\n"


def test_help_shows_how_it_is_called_here_and_loads_no_network_layer():
    assert "python -m maim_trio serve --allow-any" in run("--help").stdout
    program = "import sys, maim_trio.cli as cli\ntry: cli.main(['--help'])\nfinally: assert 'trio' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [(), ("sing",), ("serve",), ("serve", "--port", "-1"), ("send", "--to"), ("listen", "--count", "many")],
)
def test_a_wrong_command_is_one_line_and_status_2(arguments, capsys):
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("maim-trio: ")
    assert said.err.count("\n") == 1


def test_a_file_name_cannot_add_lines_to_the_log(capsys):
    assert main(["serve", "--keys", "no\nsuch\x1b[2Jfile"]) == 2
    assert capsys.readouterr().err == (
        "maim-trio: cannot read the key file no\\nsuch\\x1b[2Jfile: No such file or directory\n"
    )


def test_wrong_arguments_of_a_real_process_leave_no_traceback_and_no_key():
    done = run("serve", "--kye", f"{SECRET}=alice")
    assert done.returncode == 2
    assert done.stderr == "maim-trio: there is no option --kye (see python -m maim_trio serve --help)\n"
