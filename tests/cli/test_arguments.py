"""The command line: what it takes, and the one line it says about what it does not. Never a key."""

from __future__ import annotations

import pytest

import maim_trio
from maim_trio._cli.arguments import DEFAULT_URL, build_parser
from maim_trio._cli.failure import WRONG_USAGE, UsageError

SECRET = "sk-live-Zx81"


def complaint(*arguments: str) -> str:
    with pytest.raises(UsageError) as caught:
        build_parser().parse_args(arguments)
    assert caught.value.status == WRONG_USAGE == 2
    return str(caught.value)


def test_serve_listens_on_this_machine_unless_told_otherwise():
    arguments = build_parser().parse_args(["serve"])
    assert (arguments.command, arguments.host, arguments.port, arguments.path) == ("serve", "127.0.0.1", 18040, "/ws")
    assert arguments.log_level == "INFO"


def test_what_can_be_repeated_adds_up():
    arguments = build_parser().parse_args(
        ["serve", "--key", "a=alice", "--key", "b=bob", "--allowed-origin", "https://a", "--allowed-origin", "null"]
    )
    assert arguments.key == ["a=alice", "b=bob"]
    assert arguments.allowed_origin == ["https://a", "null"]


def test_the_clients_talk_to_a_server_as_it_starts_by_default():
    assert build_parser().parse_args(["send"]).url == build_parser().parse_args(["listen"]).url == DEFAULT_URL


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "required: COMMAND"),
        (["sing"], "invalid choice: 'sing'"),
        (["serve", "--port", "65536"], "argument --port: must be a number from 0 to 65535"),
        (["serve", "--port", "ws"], "argument --port: must be a number from 0 to 65535"),
        (["serve", "--port"], "argument --port: expected one argument"),
        (["serve", "--path", "ws"], "argument --path: must begin with /"),
        (["serve", "--log-level", "loud"], "argument --log-level: must be one of debug, info, warning, error"),
        (["listen", "--count", "0"], "argument --count: must be a whole number from 1 on"),
        (["listen", "--timeout", "nan"], "argument --timeout: must be a number of seconds, at most a day"),
        (["send", "--connect-timeout", "0"], "argument --connect-timeout: must be more than 0 seconds"),
        (["send", "--key", "a", "--key-file", "b"], "argument --key-file: not allowed with argument --key"),
    ],
)
def test_a_mistake_is_told_in_one_line_that_points_to_the_help(arguments, problem):
    said = complaint(*arguments)
    assert problem in said
    assert "--help)" in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["serve", "--kye", f"{SECRET}=alice"], "there is no option --kye"),
        (["serve", f"--kye={SECRET}=alice"], "there is no option --kye"),
        (["serve", f"--k={SECRET}=alice"], "there is no option --k"),  # would fit --key and --keys
        (["serve", f"{SECRET}=alice"], "1 more argument than expected"),
        (["send", "hello", SECRET, SECRET], "2 more arguments than expected"),
        (["listen", "-k", SECRET], "2 more arguments than expected"),
    ],
)
def test_a_misplaced_key_is_not_repeated(arguments, problem):
    said = complaint(*arguments)
    assert problem in said
    assert SECRET not in said


def test_log_levels_may_be_written_in_any_case():
    assert build_parser().parse_args(["serve", "--log-level", "Debug"]).log_level == "DEBUG"


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"maim-trio {maim_trio.__version__}\n"


@pytest.mark.parametrize("command", ["serve", "send", "listen"])
def test_the_help_warns_of_keys_that_everybody_sees(command, capsys):
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args([command, "--help"])
    assert ended.value.code == 0
    assert "can be seen by every user of this machine" in capsys.readouterr().out
