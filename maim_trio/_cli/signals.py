"""SIGINT and SIGTERM: the first asks, the second insists."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final

import trio

from maim_trio._cli.failure import CommandError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


async def watch_signals(
    on_first: Callable[[int], None], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Calls `on_first` with the first signal and ends the process at the second. Runs until it is cancelled."""
    with trio.open_signal_receiver(*SIGNALS) as signals:
        task_status.started()
        asked = False
        async for number in signals:
            if asked:
                die_of(number)
            asked = True
            on_first(number)


def die_of(number: int) -> None:
    """Ends the process at once, as the signal does in a program that does not handle it."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


async def until_signal(command: Callable[[trio.CancelScope], Awaitable[int]]) -> int:
    """The exit status of `command`, or 128 + the number of the signal that interrupted it.

    `command` is given the scope that a signal cancels: what it does after that, such as saying goodbye, it still may.
    Its CommandError comes out unwrapped.
    """
    status = 0
    failure: CommandError | None = None
    interruptible = trio.CancelScope()

    def interrupt(number: int) -> None:
        nonlocal status
        status = 128 + number
        interruptible.cancel()

    async with trio.open_nursery() as nursery:
        await nursery.start(watch_signals, interrupt)
        try:
            ended_with = await command(interruptible)
        except CommandError as error:
            failure = error
        else:
            status = status or ended_with
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return status
