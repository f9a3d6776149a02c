from __future__ import annotations

import pytest

from maim_trio._wire import close
from maim_trio._wire.close import MAX_RETRY_AFTER, after_close, after_refusal, parse_retry_after

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize("code", [1000, 1001, 1005, 1006, 1009, 1011, 1012, 1013])
def test_passing_trouble_is_followed_by_a_reconnect(code: int):
    verdict = after_close(code, "because")
    assert verdict.reconnect is True
    assert verdict.unauthorized is False
    assert str(code) in verdict.reason
    assert verdict.reason.endswith(": because")


@pytest.mark.parametrize("code", [1002, 1003, 1007, 1008, 4001, 4003])
def test_what_would_only_happen_again_ends_the_client(code: int):
    verdict = after_close(code)
    assert verdict.reconnect is False
    assert str(code) in verdict.reason


@pytest.mark.parametrize("code", [1004, 1010, 1014, 1015, 2999, 3000, 4000, 4002, 4999])
def test_an_undefined_code_counts_as_passing_trouble(code: int):
    assert after_close(code).reconnect is True


def test_a_normal_close_that_says_authentication_failed_is_the_peers_401():
    verdict = after_close(1000, "Authentication failed: wrong key")
    assert (verdict.reconnect, verdict.unauthorized) == (False, True)
    assert verdict.reason.startswith("authentication failed")


@pytest.mark.parametrize(("code", "reason"), [(1000, "authentication failed"), (1001, "Authentication failed")])
def test_only_that_very_close_counts_as_a_401(code: int, reason: str):
    assert after_close(code, reason).reconnect is True


def test_only_an_overloaded_server_asks_for_the_whole_delay():
    assert after_close(close.TRY_AGAIN_LATER).whole_delay is True
    assert after_close(close.GOING_AWAY).whole_delay is False


def test_a_revoked_key_counts_as_unauthorized():
    assert after_close(close.KEY_REVOKED).unauthorized is True
    assert after_close(close.REPLACED).unauthorized is False


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_final_refusal_ends_the_client(status: int):
    verdict = after_refusal(status, "5", now=NOW)
    assert verdict.reconnect is False
    assert verdict.unauthorized is (status == 401)
    assert f"HTTP {status}" in verdict.reason


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 599])
def test_a_passing_refusal_is_retried_when_the_server_said(status: int):
    verdict = after_refusal(status, "7", now=NOW)
    assert (verdict.reconnect, verdict.at_least) == (True, 7.0)


@pytest.mark.parametrize("status", [200, 301, 302, 408, 426])
def test_any_other_answer_is_retried_with_plain_backoff(status: int):
    verdict = after_refusal(status, "7", now=NOW)
    assert (verdict.reconnect, verdict.at_least) == (True, 0.0)


def test_no_answer_at_all_is_a_network_error():
    verdict = after_refusal(0, now=NOW, detail="connection refused")
    assert verdict.reconnect is True
    assert verdict.reason == "the server could not be reached: connection refused"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 0.0),
        ("", 0.0),
        ("0", 0.0),
        (" 12 ", 12.0),
        ("99999999999", MAX_RETRY_AFTER),
        ("9" * 100_000, MAX_RETRY_AFTER),
        ("-5", 0.0),
        ("1.5", 0.0),
        ("soon", 0.0),
        ("٣", 0.0),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        ("Tuesday, 14-Nov-23 22:13:50 GMT", 30.0),
        ("Tue Nov 14 22:13:50 2023", 30.0),
        ("Tue, 14 Nov 2023 22:13:00 GMT", 0.0),
        ("Tue, 14 Nov 2090 22:13:00 GMT", MAX_RETRY_AFTER),
        ("Tue, 99 Foo 2023 22:13:00 GMT", 0.0),
        ("Tue, 14 Nov 99999999999 22:13:00 GMT", 0.0),
        ("Tue, 14 Nov 2023 99999999999:13:00 GMT", MAX_RETRY_AFTER),
        ("," * 1000, 0.0),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(value: str | None, seconds: float):
    assert parse_retry_after(value, NOW) == seconds


def test_the_other_sides_words_stay_one_short_printable_line():
    verdict = after_close(1011, "boom\r\nINFO forged log line\x1b[31m" + "x" * 10_000)
    assert verdict.reason.isprintable()
    assert len(verdict.reason) < 300
    detail = after_refusal(500, now=NOW, detail="a\x00b" * 10_000).reason
    assert detail.isprintable()
    assert len(detail) < 300


def test_a_verdict_without_words_ends_without_a_colon():
    assert after_close(1006).reason == "the connection was lost (close 1006)"
    assert after_close(3999).reason == "the server closed the connection (close 3999)"
