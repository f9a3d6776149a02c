"""Awaiting what waits for nothing, in one step."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from maim_trio._transport.at_once import at_once


async def lets_others_have_their_turn() -> str:
    await trio.lowlevel.checkpoint()
    async with trio.Lock():
        await trio.lowlevel.cancel_shielded_checkpoint()
    return "done"


async def test_where_it_only_lets_others_have_their_turn_it_goes_on() -> None:
    order = []

    async def other() -> None:
        order.append("other")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        order.append(await at_once(lets_others_have_their_turn()))
    assert order == ["done", "other"]


async def test_where_it_has_to_wait_it_waits() -> None:
    event = trio.Event()

    async def waits() -> str:
        await trio.lowlevel.checkpoint()
        await event.wait()
        await trio.lowlevel.checkpoint()
        return "woken"

    async def set_later() -> None:
        await trio.testing.wait_all_tasks_blocked()
        event.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(set_later)
        assert await at_once(waits()) == "woken"


async def test_an_error_passes() -> None:
    async def fails() -> None:
        await trio.lowlevel.checkpoint()
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await at_once(fails())


@pytest.mark.parametrize("sleeps", [False, True])
async def test_a_cancellation_is_noticed_also_where_it_would_go_on(sleeps: bool) -> None:
    async def waits() -> None:
        if sleeps:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()

    with trio.CancelScope() as scope:
        scope.cancel()
        await at_once(waits())
    assert scope.cancelled_caught
