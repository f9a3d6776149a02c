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
from maim_trio._legacy import _tcp
from maim_trio.errors import ConfigError
try:
    _tcp.check_extra()
except ConfigError as error:
    print(error)
"""


def test_with_the_extra_nothing_is_said():
    check_extra()


def test_without_it_the_error_says_what_to_install():
    done = subprocess.run([sys.executable, "-c", WITHOUT_CRYPTOGRAPHY], capture_output=True, text=True, check=True)
    assert "the TCP mode needs the package cryptography: pip install 'maim-trio[tcp]'" in done.stdout


@pytest.mark.parametrize(
    "statement",
    ["import maim_trio._legacy", "import maim_trio._legacy._tcp", "import maim_trio.server, maim_trio.client"],
)
def test_who_does_not_use_the_mode_does_not_load_cryptography(statement):
    assert not {name for name in modules_loaded_by(statement) if name.partition(".")[0] == "cryptography"}
