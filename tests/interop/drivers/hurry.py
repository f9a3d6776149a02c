"""Has asyncio.sleep of the driven program take a twentieth of its time: heartbeats each 0.75 s, new tries after 0.25 s.

It runs under the interpreter of the program that is driven, so it uses nothing but the standard library.
"""

from __future__ import annotations

import asyncio

FACTOR = 20


def hurry() -> None:
    sleep = asyncio.sleep

    async def sleep_less(delay: float, result: object = None) -> object:
        return await sleep(delay / FACTOR, result)

    asyncio.sleep = sleep_less  # type: ignore[assignment]
