"""Where one task waits for another."""

from __future__ import annotations

import trio
import trio.testing

from maim_trio._transport.parking import ParkingSpot


async def test_a_parked_task_goes_on_when_it_is_woken(nursery, autojump_clock):
    spot, woken = ParkingSpot(), trio.Event()

    async def park():
        await spot.wait()
        woken.set()

    nursery.start_soon(park)
    await trio.testing.wait_all_tasks_blocked()
    assert spot.taken
    spot.wake()
    assert not spot.taken
    spot.wake()  # nobody there: nothing happens
    await woken.wait()


async def test_a_cancelled_task_leaves_the_spot_empty(autojump_clock):
    spot = ParkingSpot()
    with trio.move_on_after(1) as scope:
        await spot.wait()
    assert scope.cancelled_caught
    assert not spot.taken
    spot.wake()
