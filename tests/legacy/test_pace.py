"""When a legacy client comes back."""

from __future__ import annotations

import pytest

from maim_trio._legacy._tcp.parser import ENDED
from maim_trio._legacy.pace import REPLACED, RIVAL_CALM, RIVAL_MAX_DELAY, Ending, Pace, after_end
from maim_trio._legacy.settings import ClientSettings
from maim_trio._transport.limits import Closed

LOST = Ending("lost")
REFUSED = Ending("refused", refused=True)
REPLACED_BY_ANOTHER = Ending("replaced", replaced=True)


@pytest.fixture
def pace():
    return Pace(ClientSettings(reconnect_delay=1.0, max_reconnect_delay=30.0, reconnect_reset_after=10.0))


def test_delays_grow_and_stop_growing(pace):
    assert [pace.next_delay(LOST, None, 1.0) for _ in range(8)] == [1, 2, 4, 8, 16, 30, 30, 30]
    assert pace.next_delay(LOST, None, 0.0) == 0.0


def test_a_connection_that_lived_begins_the_row_anew(pace):
    for _ in range(5):
        pace.next_delay(LOST, None, 1.0)
    assert pace.next_delay(LOST, 3.0, 1.0) == 30
    assert pace.next_delay(LOST, 10.0, 1.0) == 1


def test_who_is_refused_comes_back_after_the_longest_delay(pace):
    assert pace.next_delay(REFUSED, None, 1.0) == 30
    assert pace.next_delay(REFUSED, None, 0.0) == 15


def test_a_time_that_the_server_asks_for_is_kept(pace):
    assert pace.next_delay(Ending("busy", at_least=120.0), None, 0.5) == 120
    assert pace.next_delay(Ending("overloaded", whole_delay=True), None, 0.0) == 1


def test_two_that_replace_each_other_do_it_ever_more_slowly(pace):
    delays, lived = [], 0.5
    for _ in range(12):
        delays.append(pace.next_delay(REPLACED_BY_ANOTHER, lived, 1.0))
        lived = delays[-1]  # the other one is ours too: so long it lets us be there
    assert delays == [2, 4, 8, 16, 32, 64, 128, 256, *[RIVAL_MAX_DELAY] * 4]
    assert pace.replaced == 12


def test_jitter_never_takes_more_than_half_of_that(pace):
    assert pace.next_delay(REPLACED_BY_ANOTHER, 1.0, 0.0) == 1
    assert pace.next_delay(REPLACED_BY_ANOTHER, 1.0, 0.0) == 2


@pytest.mark.parametrize("lived", [1.0, 20.0])
def test_the_fight_is_over_once_a_connection_ends_by_something_else(pace, lived):
    for _ in range(6):
        pace.next_delay(REPLACED_BY_ANOTHER, 0.5, 1.0)
    pace.next_delay(LOST, lived, 1.0)
    assert pace.next_delay(REPLACED_BY_ANOTHER, 0.5, 1.0) == 2


def test_it_is_over_after_a_long_peace(pace):
    for _ in range(6):
        pace.next_delay(REPLACED_BY_ANOTHER, 0.5, 1.0)
    assert pace.next_delay(REPLACED_BY_ANOTHER, RIVAL_CALM, 1.0) == 2


@pytest.mark.parametrize(
    ("closed", "counted", "ending"),
    [
        (Closed(1000, REPLACED, True), True, {"replaced": True}),
        (Closed(1000, "服务器关闭", True), True, {}),
        (Closed(1001, "", True), True, {}),
        (Closed(1006, "connection lost", False), True, {}),
        (Closed(1008, "无效的令牌", True), False, {"refused": True}),
        (Closed(1008, "too many invalid frames", True), True, {"refused": True}),
        (Closed(1013, "", True), True, {"whole_delay": True}),
        (Closed(1000, "", False), True, {}),
        (None, False, {}),
    ],
)
def test_what_the_end_of_a_connection_means(closed, counted, ending):
    found = after_end(closed, counted=counted)
    flags = {name: getattr(found, name) for name in ("refused", "replaced", "whole_delay") if getattr(found, name)}
    assert flags == ending
    assert found.reason.isprintable()
    assert closed is None or closed.reason in found.reason or found.replaced


def test_the_word_of_a_server_that_refuses_is_told():
    assert after_end(Closed(1008, "无效的令牌", True), counted=False).reason == (
        "the server refused this client (close 1008): 无效的令牌"
    )
    assert after_end(Closed(1008, "a\nb" * 200, True), counted=False).reason.isprintable()


def test_the_end_of_a_tcp_connection_is_told_without_a_code_that_nobody_has_sent():
    assert after_end(Closed(1005, ENDED, True), counted=True) == Ending("the server ended the connection")
