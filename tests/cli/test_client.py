"""Where `send` and `listen` have their API key from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from maim_trio._cli.arguments import build_parser
from maim_trio._cli.client import client_for, own_key
from maim_trio._cli.failure import UsageError

if TYPE_CHECKING:
    from argparse import Namespace

SECRET = "sk-live-Zx81"


@pytest.fixture(autouse=True)
def no_key_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAIM_API_KEY", raising=False)


def arguments(*given: str) -> Namespace:
    return build_parser().parse_args(["listen", *given])


async def ignore(_content: Any, _metadata: dict[str, Any]) -> None:
    raise AssertionError("nothing is received here")


def test_the_key_comes_from_an_option_a_file_or_the_environment(tmp_path, monkeypatch):
    file = tmp_path / "key"
    file.write_text("from-file\n", encoding="utf-8")
    monkeypatch.setenv("MAIM_API_KEY", "from-environment")
    assert own_key(arguments()) == "from-environment"
    assert own_key(arguments("--key-file", str(file))) == "from-file"
    assert own_key(arguments("--key", "from-option")) == "from-option"


def test_without_a_key_the_ways_to_give_one_are_named():
    with pytest.raises(UsageError, match="set MAIM_API_KEY, or give --key-file FILE or --key KEY"):
        own_key(arguments())


@pytest.mark.parametrize("content", [b"", b"\n", f"{SECRET}\nand more\n".encode(), b"\xff\xfe"])
def test_a_file_that_does_not_hold_one_key_is_refused(tmp_path, content):
    file = tmp_path / "key"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=r"the key file .*key .*") as caught:
        own_key(arguments("--key-file", str(file)))
    assert SECRET not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"cannot read the key file .*nowhere: No such file"):
        own_key(arguments("--key-file", str(tmp_path / "nowhere")))


def test_a_url_that_is_none_is_refused_without_repeating_what_is_in_it():
    with pytest.raises(UsageError, match="url must begin with ws:// or wss://, not 'http'") as caught:
        client_for(arguments("--key", "k", "--url", f"http://host/?api_key={SECRET}"), ignore)
    assert SECRET not in str(caught.value)


def test_two_different_keys_are_one_too_many():
    url = f"ws://host/ws?api_key={SECRET}"
    with pytest.raises(UsageError, match="--url has an api_key= that differs from the API key") as caught:
        client_for(arguments("--key", "another", "--url", url), ignore)
    assert SECRET not in str(caught.value)
    assert client_for(arguments("--key", SECRET, "--url", url), ignore).config.api_key == SECRET
