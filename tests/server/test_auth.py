"""Who somebody is when no hook says it."""

from __future__ import annotations

from maim_trio.server import AuthResult, ServerConfig
from maim_trio.server._auth import EVERYBODY, default_user, derived_user


def test_a_derived_user_id_is_stable_and_hides_the_key() -> None:
    assert derived_user("key") == derived_user("key")
    assert derived_user("key") != derived_user("key2")
    assert derived_user("key").startswith("user_")
    assert len(derived_user("key")) == len("user_") + 16
    assert "secret" not in derived_user("secret")


def test_any_text_can_be_a_key() -> None:
    for key in ("", "ключ", "\ud800", "k" * 4096):
        assert derived_user(key).isascii()


def test_the_default_depends_on_whether_anybody_is_asked() -> None:
    assert default_user(ServerConfig(), "key") == EVERYBODY == "sys_default"
    assert default_user(ServerConfig(on_auth=lambda _: True), "key") == derived_user("key")


def test_a_result_is_positional_or_by_name() -> None:
    assert AuthResult(True) == AuthResult(success=True, user_id=None, error_message=None)
    assert AuthResult(False, "alice", "no").error_message == "no"
