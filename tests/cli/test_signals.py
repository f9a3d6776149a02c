"""Signals to a command that runs; the processes of the other modules show the rest."""

from __future__ import annotations

import signal

import pytest
import trio

from maim_trio._cli.failure import CommandError
from maim_trio._cli.signals import until_signal


async def test_a_command_that_ends_by_itself_gives_its_status():
    async def command(_interruptible: trio.CancelScope) -> int:
        await trio.lowlevel.checkpoint()
        return 3

    assert await until_signal(command) == 3


async def test_a_command_that_fails_raises_its_own_error():
    async def command(_interruptible: trio.CancelScope) -> int:
        await trio.lowlevel.checkpoint()
        raise CommandError("no luck")

    with pytest.raises(CommandError, match="no luck"):
        await until_signal(command)


async def test_a_signal_interrupts_the_command_and_is_its_status_however_it_ends_then():
    said: list[str] = []

    async def command(interruptible: trio.CancelScope) -> int:
        with interruptible:
            signal.raise_signal(signal.SIGTERM)
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        said.append("goodbye")
        return 0

    assert await until_signal(command) == 128 + signal.SIGTERM
    assert said == ["goodbye"]
