"""Who comes in, and as whom."""

from __future__ import annotations

from typing import Any

from maim_trio._cli.access import AnyKey, KnownKeys
from maim_trio._cli.keys import KeyEntry, check_entries
from maim_trio._wire.credentials import mask

ALICE, BOB = "sk-secret-of-alice", "sk-secret-of-bob"


def known() -> KnownKeys:
    return KnownKeys(check_entries([KeyEntry(ALICE, "alice"), KeyEntry(BOB, "bob", frozenset({"qq"}))]))


def metadata(api_key: str, platform: str = "qq", **headers: str) -> dict[str, Any]:
    return {"api_key": api_key, "platform": platform, "headers": {"host": "127.0.0.1:18040", **headers}}


def test_a_known_key_comes_in_as_its_user():
    result = known().authenticate(metadata(ALICE, "anything"))
    assert (result.success, result.user_id) == (True, "alice")


def test_an_unknown_key_stays_out():
    result = known().authenticate(metadata("sk-guessed"))
    assert (result.success, result.user_id) == (False, None)
    assert result.error_message == "this API key is not known here"


def test_a_key_stays_out_of_platforms_that_are_not_its_own():
    assert known().authenticate(metadata(BOB, "qq")).success
    result = known().authenticate(metadata(BOB, "wechat"))
    assert not result.success
    assert result.error_message == "this API key is not valid for this platform"


def test_an_unknown_key_belongs_to_nobody_that_is_known():
    assert known().user_of(BOB) == "bob"
    assert known().user_of("sk-guessed") not in ("alice", "bob", "")


def test_a_key_is_not_shown():
    assert known().shown(BOB) == "bob"
    assert known().shown("sk-guessed") == f"the unknown key {mask('sk-guessed')}"
    assert BOB not in str(known())
    assert "sk-guessed" not in AnyKey(None).shown("sk-guessed")


def test_how_many_there_are_is_said():
    assert str(known()) == "2 API keys of 2 users"
    assert str(KnownKeys(check_entries([KeyEntry(ALICE, "alice")]))) == "1 API key of 1 user"


def test_with_any_key_everybody_is_somebody_else():
    access = AnyKey(None)
    first, second = (access.authenticate(metadata(key)) for key in ("a", "b"))
    assert first.success
    assert second.success
    assert first.user_id == access.user_of("a") != second.user_id


def test_with_any_key_there_must_still_be_one():
    assert not AnyKey(None).authenticate(metadata("")).success


def test_with_any_key_pages_of_the_web_stay_out():
    page = metadata("a", origin="https://evil.example")
    result = AnyKey(None).authenticate(page)
    assert not result.success
    assert result.error_message is not None
    assert "--allowed-origin" in result.error_message
    assert AnyKey(None).authenticate(metadata("a", origin="http://127.0.0.1:8000")).success
    assert AnyKey(["https://evil.example"]).authenticate(page).success
