"""A coroutine that is awaited, and watched for its first checkpoint."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from maim_trio._runtime.stepping import watched


class Watch:
    """Counts how often it was told."""

    def __init__(self) -> None:
        self.told = 0

    def __call__(self) -> None:
        self.told += 1


async def test_what_does_not_wait_is_one_step_and_nobody_is_told() -> None:
    told, steps = Watch(), []

    async def running() -> int:
        await trio.lowlevel.checkpoint_if_cancelled()  # no checkpoint as long as nothing is cancelled
        return 5

    async def other() -> None:
        steps.append("other")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        assert await watched(running(), told) == 5
        assert steps == []
    assert told.told == 0


async def test_each_checkpoint_is_told_before_the_task_leaves_off() -> None:
    told, seen = Watch(), []

    async def running() -> str:
        for _ in range(3):
            await trio.lowlevel.checkpoint()
        return "done"

    async def other() -> None:
        seen.append(told.told)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        assert await watched(running(), told) == "done"
    assert seen[0] in (1, 2)  # in the tick of its first checkpoint, or the next
    assert told.told == 3


@pytest.mark.parametrize("checkpoints", [0, 1])
async def test_what_is_raised_comes_out_as_it_is(checkpoints: int) -> None:
    async def running() -> None:
        for _ in range(checkpoints):
            await trio.lowlevel.checkpoint()
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug") as caught:
        await watched(running(), Watch())
    assert caught.value.__context__ is None


async def test_cancelling_reaches_it_and_its_clean_up_runs() -> None:
    told, cleaned = Watch(), []

    async def running() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.lowlevel.checkpoint()
            cleaned.append(True)

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watched_in_a_task, running(), told)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancelled_caught
    assert (told.told, cleaned) == (2, [True])


async def watched_in_a_task(running, told) -> None:
    await watched(running, told)


async def test_it_may_catch_its_cancellation_and_go_on() -> None:
    async def running() -> str:
        with trio.move_on_after(0):
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        return "went on"

    assert await watched(running(), Watch()) == "went on"


def test_what_is_thrown_into_it_is_thrown_into_what_it_awaits() -> None:
    caught = []

    async def running() -> str:
        try:
            await suspend()
        except ValueError as error:
            caught.append(error)
        return "done"

    generator = within(running())
    generator.send(None)
    with pytest.raises(StopIteration) as end:
        generator.throw(ValueError("from outside"))
    assert end.value.value == "done"
    assert [str(error) for error in caught] == ["from outside"]


def test_closing_it_closes_what_it_awaits() -> None:
    closed = []

    async def running() -> None:
        try:
            await suspend()
        finally:
            closed.append(True)

    generator = within(running())
    generator.send(None)
    generator.close()
    assert closed == [True]


def within(running):
    async def task() -> str | None:
        return await watched(running, Watch())

    return task()


class suspend:
    """Waits for a loop that is none."""

    def __await__(self):
        yield "a trap"
