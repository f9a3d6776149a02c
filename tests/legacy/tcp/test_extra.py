"""The extra `tcp`: what is said when it is missing, and that nobody else needs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from maim_trio._legacy._tcp import check_extra
from tests.test_layers import modules_loaded_by

WITHOUT_CRYPTOGRAPHY = """
import sys
sys.modules["cryptography"] = None
import trio
from maim_trio import MessageClient, MessageServer, RouteConfig, Router, TargetConfig
from maim_trio.errors import ConfigError

def connect():
    trio.run(MessageClient().connect, "tcp://localhost", "qq")

def route():
    Router(RouteConfig({"qq": TargetConfig("tcps://localhost")}))

for use in (lambda: MessageServer(mode="tcp"), connect, route):
    try:
        use()
    except ConfigError as error:
        print(error)
MessageServer(), MessageClient(mode="tcp"), Router(RouteConfig({"qq": TargetConfig("ws://localhost")}))
"""


def test_with_the_extra_nothing_is_said():
    check_extra()


def test_without_it_the_error_says_what_to_install():
    done = subprocess.run([sys.executable, "-c", WITHOUT_CRYPTOGRAPHY], capture_output=True, text=True, check=True)
    advice = "the TCP mode needs the package cryptography: pip install 'maim-trio[tcp]'"
    assert [line.partition(" (")[0] for line in done.stdout.splitlines()] == [
        advice,
        f"connect: {advice}",
        f"platform 'qq': {advice}",
    ]


@pytest.mark.parametrize(
    "statement",
    ["from maim_trio import MessageServer, MessageClient, Router; MessageServer()", "import maim_trio._legacy._tcp"],
)
def test_who_does_not_use_the_mode_does_not_load_cryptography(statement):
    assert not {name for name in modules_loaded_by(statement) if name.partition(".")[0] == "cryptography"}
