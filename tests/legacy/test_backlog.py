"""What waits to be sent."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from maim_trio._legacy.backlog import Backlog


def test_first_in_first_out():
    backlog = Backlog(10, 100, 60.0)
    for payload in (b"a", b"bb", b"ccc"):
        assert backlog.put(payload, 0.0)
    assert (len(backlog), backlog.bytes) == (3, 6)
    seen = []
    while backlog:
        seen.append(backlog.first)
        backlog.pop()
    assert seen == [b"a", b"bb", b"ccc"]
    assert backlog.bytes == 0


def test_it_is_bounded_in_messages_and_in_bytes():
    backlog = Backlog(2, 100, 60.0)
    assert [backlog.put(b"x", 0.0) for _ in range(3)] == [True, True, False]
    backlog = Backlog(10, 3, 60.0)
    assert [backlog.put(b"xx", 0.0), backlog.put(b"xx", 0.0), backlog.put(b"x", 0.0)] == [True, False, True]


def test_one_larger_message_may_stand_alone():
    backlog = Backlog(10, 3, 60.0)
    assert backlog.put(b"x" * 100, 0.0)
    assert not backlog.put(b"x", 0.0)
    backlog.pop()
    assert backlog.put(b"x", 0.0)
    assert not backlog.put(b"x" * 100, 0.0)


def test_what_has_outlived_its_time_is_dropped():
    backlog = Backlog(10, 100, 60.0)
    for second in range(4):
        backlog.put(b"x", float(second))
    assert backlog.expire(59.9) == 0
    assert backlog.expire(61.0) == 2
    assert (len(backlog), backlog.bytes) == (2, 2)
    assert backlog.clear() == 2
    assert backlog.clear() == 0
    assert (len(backlog), backlog.bytes) == (0, 0)


@given(st.lists(st.tuples(st.sampled_from(["put", "pop", "expire"]), st.integers(0, 8)), max_size=60))
def test_its_count_of_bytes_is_that_of_its_messages(steps):
    backlog, model, now = Backlog(5, 20, 10.0), [], 0.0
    for what, number in steps:
        now += 1.0
        if what == "put":
            fits = not model or (len(model) < 5 and sum(size for size, _ in model) + number <= 20)
            assert backlog.put(b"x" * number, now) is fits
            model += [(number, now + 10.0)] if fits else []
        elif what == "expire":
            kept = [entry for entry in model if entry[1] > now]
            assert backlog.expire(now) == len(model) - len(kept)
            model = kept
        elif model:
            assert len(backlog.first) == model.pop(0)[0]
            backlog.pop()
        assert (len(backlog), backlog.bytes) == (len(model), sum(size for size, _ in model))
