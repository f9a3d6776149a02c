"""Our pings that wait for their pongs, in virtual time."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from maim_trio._transport.pings import Pings


async def test_a_pong_answers_its_ping_and_all_earlier_ones(nursery, autojump_clock):
    pings, done = Pings(), []

    async def ask(name):
        key = pings.new()
        done.append((name, key, await pings.wait(key, 10)))

    for name in "abc":
        nursery.start_soon(ask, name)
        await trio.testing.wait_all_tasks_blocked()
    await trio.sleep(2)
    pings.answered((2).to_bytes(4, "big"))
    await trio.testing.wait_all_tasks_blocked()
    assert sorted((name, took) for name, _, took in done) == [("a", 2.0), ("b", 2.0)]
    pings.answered(b"never asked")
    await trio.testing.wait_all_tasks_blocked()
    assert len(done) == 2
    pings.end()
    await trio.testing.wait_all_tasks_blocked()
    assert len(done) == 3


async def test_without_a_pong_it_is_too_slow_and_a_late_one_does_no_harm(autojump_clock):
    pings = Pings()
    key = pings.new()
    with pytest.raises(trio.TooSlowError):
        await pings.wait(key, 3)
    assert trio.current_time() == pytest.approx(3)
    pings.answered(key)
    assert pings.new() != key


async def test_a_cancelled_ping_is_forgotten(autojump_clock):
    pings = Pings()
    with trio.move_on_after(1):
        await pings.wait(pings.new(), 10)
    assert len(pings) == 0


def test_a_pong_is_known_without_anybody_waiting_for_it():
    pings = Pings()
    first, second, third = pings.new(), pings.new(), pings.new()
    pings.answered(second)
    assert first < second == pings.answered_up_to < third
    for unasked in (b"", b"x", b"none", (4).to_bytes(4, "big"), third + b"\0"):
        pings.answered(unasked)
    assert pings.answered_up_to == second
    pings.answered(third)
    pings.answered(second)
    assert pings.answered_up_to == third
    assert len(pings) == 0
