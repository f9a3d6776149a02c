from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maim_trio._delivery.backoff import Backoff


def test_the_ceiling_doubles_with_every_failure_up_to_the_maximum():
    backoff = Backoff(1.0, 30.0)
    assert [backoff.next_delay(1.0) for _ in range(7)] == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_full_jitter_draws_from_zero_to_the_ceiling():
    backoff = Backoff(8.0, 30.0)
    assert backoff.next_delay(0.0) == 0.0
    assert backoff.next_delay(0.25) == 4.0


def test_failures_are_counted_until_reset():
    backoff = Backoff(1.0, 30.0)
    for _ in range(3):
        backoff.next_delay(0.5)
    assert backoff.failures == 3
    backoff.reset()
    assert backoff.failures == 0
    assert backoff.next_delay(1.0) == 1.0


def test_what_the_server_asked_for_is_a_lower_bound_even_beyond_the_maximum():
    backoff = Backoff(1.0, 30.0)
    assert backoff.next_delay(1.0, at_least=0.5) == 1.0
    assert backoff.next_delay(1.0, at_least=120.0) == 120.0
    assert backoff.next_delay(1.0) == 4.0, "a requested delay is no step of the series by itself"


def test_a_connection_that_lived_long_enough_starts_the_series_over():
    backoff = Backoff(1.0, 30.0, reset_after=10.0)
    backoff.next_delay(1.0)
    backoff.next_delay(1.0)
    assert backoff.lived(10.0) is True
    assert backoff.next_delay(1.0) == 1.0


def test_a_flapping_server_is_not_hammered():
    backoff = Backoff(1.0, 30.0, reset_after=10.0)
    delays = []
    for _ in range(6):
        assert backoff.lived(9.99) is False
        delays.append(backoff.next_delay(1.0))
    assert delays == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0]


def test_a_base_above_the_maximum_is_cut():
    assert Backoff(60.0, 30.0).next_delay(1.0) == 30.0


@pytest.mark.parametrize("base", [0.0, 1e-9, 1.0])
def test_thousands_of_failures_neither_overflow_nor_leave_the_bounds(base: float):
    backoff = Backoff(base, 30.0)
    assert all(0.0 <= backoff.next_delay(0.999) <= 30.0 for _ in range(5000))


@given(
    base=st.floats(0, 100),
    maximum=st.floats(0, 1000),
    draws=st.lists(st.floats(0, 1), max_size=40),
)
def test_every_delay_is_within_its_own_ceiling(base: float, maximum: float, draws: list[float]):
    backoff = Backoff(base, maximum)
    for failures, random01 in enumerate(draws):
        assert 0 <= backoff.next_delay(random01) <= min(maximum, base * 2.0**failures)
