"""Counters."""

from __future__ import annotations

import json

from maim_trio._runtime.stats import Counters


def test_everything_begins_at_zero_and_without_an_error() -> None:
    snapshot = Counters().snapshot()
    assert snapshot.pop("last_error") is None
    assert set(snapshot.values()) == {0}


def test_a_snapshot_is_fresh_and_serialisable() -> None:
    counters = Counters()
    before = counters.snapshot()
    counters.messages_sent += 2
    counters.messages_received += 3
    assert before["messages_sent"] == 0
    assert counters.snapshot()["total_messages"] == 5
    assert json.loads(json.dumps(counters.snapshot())) == counters.snapshot()


def test_the_last_error_is_remembered_and_all_are_counted() -> None:
    counters = Counters()
    counters.failed("one thing")
    counters.failed("another")
    assert (counters.error_count, counters.last_error) == (2, "another")


def test_a_counter_that_does_not_exist_cannot_be_counted() -> None:
    assert not hasattr(Counters(), "__dict__")
