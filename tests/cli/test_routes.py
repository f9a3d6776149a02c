from __future__ import annotations

from argparse import Namespace
from typing import Any

import pytest

from maim_trio._cli.failure import UsageError
from maim_trio._cli.routes import Routes, parse_routes, routes_of
from maim_trio._legacy.bridge import Route

FILE = """
tokens = ["secret-token"]

[[platform]]
name = "qq"
key = "secret-of-qq"

[[platform]]
name = "irc"
key = "secret-of-irc"
to = "secret-of-the-bot"
to_platform = "bot"
outbox = "irc.db"
"""


def arguments(**given: Any) -> Namespace:
    absent = dict.fromkeys(("config", "platform", "key_file", "token_file", "to_platform"))
    return Namespace(**{**absent, **given})


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in ("MAIM_API_KEY", "MAIM_TO_KEY", "MAIM_LEGACY_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def test_a_file_names_platforms_their_keys_and_tokens():
    assert parse_routes(FILE, "bridge.toml") == Routes(
        [
            Route("qq", "secret-of-qq"),
            Route("irc", "secret-of-irc", "secret-of-the-bot", "bot", "irc.db"),
        ],
        ["secret-token"],
    )


def test_a_file_is_read_and_a_token_of_the_environment_counts_too(tmp_path, monkeypatch):
    (tmp_path / "bridge.toml").write_text(FILE, encoding="utf-8")
    monkeypatch.setenv("MAIM_LEGACY_TOKEN", "another")

    told = routes_of(arguments(config=str(tmp_path / "bridge.toml")))

    assert [route.platform for route in told.routes] == ["qq", "irc"]
    assert told.tokens == ["secret-token", "another"]


def test_without_a_file_all_platforms_share_the_key_of_the_environment(monkeypatch):
    monkeypatch.setenv("MAIM_API_KEY", "secret")
    monkeypatch.setenv("MAIM_TO_KEY", "secret-of-the-bot")

    told = routes_of(arguments(platform=["qq", "irc", "qq"], to_platform="bot"))

    assert told == Routes(
        [Route("qq", "secret", "secret-of-the-bot", "bot"), Route("irc", "secret", "secret-of-the-bot", "bot")], []
    )


def test_key_and_token_may_be_in_files(tmp_path):
    (tmp_path / "key").write_text("secret\n", encoding="utf-8")
    (tmp_path / "token").write_text("secret-token\n", encoding="utf-8")

    told = routes_of(arguments(platform=["qq"], key_file=str(tmp_path / "key"), token_file=str(tmp_path / "token")))

    assert told == Routes([Route("qq", "secret")], ["secret-token"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "b.toml: there is no [[platform]] entry in it"),
        ("tokens = [", "b.toml: not valid TOML at end of document: Invalid value"),
        ("tokens = []\n[[platform]]", 'b.toml: tokens must be a list such as ["a-long-random-string"]'),
        ("tokens = 'a'\n[[platform]]", 'b.toml: tokens must be a list such as ["a-long-random-string"]'),
        ("tokens = ['']\n[[platform]]", "b.toml: a token is empty"),
        ("'secret' = 'qq'", "b.toml: only tokens and [[platform]] entries may stand in a bridge file"),
        (
            "token = 'secret'",
            "b.toml: only tokens and [[platform]] entries may stand in a bridge file: token; did you mean tokens?",
        ),
        (
            "[[platforms]]\nname = 'qq'\nkey = 'secret'",
            "b.toml: only tokens and [[platform]] entries may stand in a bridge file:"
            " platforms; did you mean platform?",
        ),
        (
            "[[platform]]\nname = 'qq'\nkey = 'secret'\ntokens = ['secret']",
            "b.toml, line 1 (platform 1): has a field that is not name, key, to, to_platform or outbox;"
            " tokens stands above the first [[platform]]",
        ),
        ("[platform]\nname = 'qq'", "b.toml: an entry begins with [[platform]], in two pairs of brackets"),
        ("platform = ['secret']", "b.toml (platform 1): must be a table with name and key"),
        ("\n[[platform]]\nname = 'qq'", "b.toml, line 2 (platform 1): key is missing"),
        ("[[platform]]\nkey = 'secret'", "b.toml, line 1 (platform 1): name is missing"),
        ("[[platform]]\nname = 5\nkey = 'secret'", "b.toml, line 1 (platform 1): name must be a string in quotes"),
        ("[[platform]]\nname = 'qq'\nkey = 'secret'\nto = ''", "b.toml, line 1 (platform 1): to is empty"),
        (
            "[[platform]]\nname = 'qq'\nkey = 'a'\nsecret = 1",
            "b.toml, line 1 (platform 1): has a field that is not name, key, to, to_platform or outbox",
        ),
        (
            "[[platform]]\nname = 'qq'\nkey = 'secret'\nto_plattform = 'bot'",
            "b.toml, line 1 (platform 1): has a field that is not name, key, to, to_platform or outbox:"
            " to_plattform; did you mean to_platform?",
        ),
        (
            "[[platform]]\nname = 'qq'\nkey = 'secret'\n[[platform]]\nname = 'qq'\nkey = 'secret2'",
            "b.toml, line 4 (platform 2): platform qq stands there twice",
        ),
    ],
)
def test_a_mistake_in_the_file_is_told_with_its_place_and_without_keys(text, said):
    with pytest.raises(UsageError) as caught:
        parse_routes(text, "b.toml")
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "which platforms? Give --platform P for each, or --config FILE"),
        ({"platform": ["qq"]}, "no API key: set MAIM_API_KEY, or give --key-file FILE"),
        ({"platform": [""], "key_file": "key"}, "--platform is empty"),
        ({"config": "missing.toml"}, "cannot read the bridge file missing.toml: No such file or directory"),
        (
            {"config": "b.toml", "platform": ["qq"]},
            "--config says all about platforms: it does not go together with --platform and --key-file",
        ),
        (
            {"platform": ["qq"], "key_file": "key", "token_file": "missing"},
            "cannot read the token file missing: No such file or directory",
        ),
        (
            {"platform": ["qq"], "key_file": "key", "token_file": "empty"},
            "the token file empty must hold one line: the token",
        ),
    ],
)
def test_what_is_missing_is_told(given, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "key").write_text("secret", encoding="utf-8")
    (tmp_path / "empty").write_text("", encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        routes_of(arguments(**given))
    assert str(caught.value) == said


def test_keys_and_tokens_are_in_no_repr():
    assert "secret" not in repr(parse_routes(FILE, "bridge.toml"))
