"""Which messages were seen lately."""

from __future__ import annotations

import subprocess
import sys
import time
import zlib
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maim_trio._delivery.dedupe import MAX_ENTRIES, WINDOW, DedupeWindow, crc32, frame_key


class TestTheKey:
    def test_a_retransmission_has_the_same(self) -> None:
        assert frame_key("m", b"frame") == frame_key("m", bytes(bytearray(b"frame")))

    @pytest.mark.parametrize(("msg_id", "frame"), [("n", b"frame"), ("m", b"frames"), ("m", b"framf")])
    def test_another_id_length_or_content_another(self, msg_id: str, frame: bytes) -> None:
        assert frame_key("m", b"frame") != frame_key(msg_id, frame)

    def test_a_burst_with_one_id_is_told_apart(self) -> None:
        frames = [b'{"msg_id": "msg_1", "payload": %d}' % number for number in range(1000, 3000)]
        assert len({frame_key("msg_1", frame) for frame in frames}) == 2000

    @given(st.binary(max_size=2000))
    def test_its_checksum_is_that_of_zlib(self, frame: bytes) -> None:
        assert crc32 is not zlib.crc32, "the tests need the extra `speed`"
        assert crc32(frame) == zlib.crc32(frame)

    def test_without_the_extra_speed_the_standard_library_makes_it(self) -> None:
        program = (
            "import sys, zlib; sys.modules['zlib_ng'] = None\n"
            "from maim_trio._delivery import dedupe\n"
            "assert dedupe.crc32 is zlib.crc32"
        )
        subprocess.run([sys.executable, "-c", program], check=True)


class TestTheWindow:
    def test_what_was_added_is_known(self) -> None:
        window = DedupeWindow()
        window.add(7, 0.0)
        assert 7 in window
        assert 8 not in window

    def test_for_at_least_the_window_in_seconds(self) -> None:
        window = DedupeWindow(10.0, 1000)
        window.add(1, 0.0)
        for second in range(1, 11):
            window.add(1000 + second, float(second))
            assert 1 in window

    def test_and_at_most_twice_as_long(self) -> None:
        window = DedupeWindow(10.0, 1000)
        window.add(1, 0.0)
        window.add(2, 10.0)
        window.add(3, 20.0)
        assert 1 not in window

    def test_at_least_so_many_are_remembered_and_at_most_twice_as_many(self) -> None:
        window = DedupeWindow(WINDOW, 100)
        for number in range(1000):
            window.add(number, 0.0)
            assert len(window) <= 200
            assert all(known in window for known in range(max(0, number - 99), number + 1))

    def test_a_silent_identity_forgets_too(self) -> None:
        window = DedupeWindow(10.0, 1000)
        window.add(1, 0.0)
        window.forget_old(9.9)
        assert 1 in window
        window.forget_old(10.0)
        assert 1 in window
        window.forget_old(20.0)
        assert len(window) == 0

    @given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 5)), max_size=60))
    def test_nothing_is_forgotten_within_the_window(self, additions: list[tuple[int, float]]) -> None:
        window, now, recent = DedupeWindow(10.0, 10_000), 0.0, deque[tuple[float, int]]()
        for key, later in additions:
            now += later
            window.forget_old(now)
            window.add(key, now)
            recent.append((now, key))
            while recent[0][0] < now - 10.0:
                recent.popleft()
            assert all(known in window for _, known in recent)


def test_it_costs_little_per_message_and_per_entry() -> None:
    window, frames = DedupeWindow(), [b"x" * 300 + b"%d" % number for number in range(MAX_ENTRIES)]
    start = time.process_time()  # not what others take of the machine meanwhile
    for number, frame in enumerate(frames):
        key = frame_key(str(number), frame)
        if key not in window:
            window.add(key, 0.0)
    cost = (time.process_time() - start) / len(frames)
    assert len(window) == MAX_ENTRIES
    assert cost < 11e-6  # what a bounded dict costs; measured here: 0.6 µs
    assert sys.getsizeof(window._current) / MAX_ENTRIES < 100
