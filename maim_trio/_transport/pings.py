"""Our pings that wait for their pongs."""

from __future__ import annotations

import trio

__all__ = ["Pings"]


class Pings:
    """Of one link."""

    __slots__ = ("_number", "_waiting")

    def __init__(self) -> None:
        self._number = 0
        self._waiting: dict[bytes, trio.Event] = {}

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def new(self) -> bytes:
        """The payload of another ping."""
        self._number += 1
        key = self._number.to_bytes(4, "big")
        self._waiting[key] = trio.Event()
        return key

    async def wait(self, key: bytes, timeout: float) -> float:
        """Until it is answered, or all have ended; returns the seconds that took. `trio.TooSlowError` after `timeout`
        seconds. Cancel-safe."""
        start = trio.current_time()
        try:
            with trio.fail_after(timeout):
                await self._waiting[key].wait()
        finally:
            self._waiting.pop(key, None)
        return trio.current_time() - start

    def answered(self, payload: bytes) -> None:
        """A pong has come: it answers this ping and all earlier ones (RFC 6455 §5.5.3), or nothing."""
        if payload in self._waiting:
            for key in list(self._waiting):
                self._waiting.pop(key).set()
                if key == payload:
                    return

    def end(self) -> None:
        """Wakes everybody."""
        for answered in self._waiting.values():
            answered.set()
        self._waiting.clear()
