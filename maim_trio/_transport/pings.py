"""Our pings that wait for their pongs."""

from __future__ import annotations

import trio

__all__ = ["Pings"]


class Pings:
    """Of one link."""

    __slots__ = ("_number", "_waiting", "answered_up_to")

    def __init__(self) -> None:
        self.answered_up_to = 0
        """The number of the latest ping whose pong has come."""
        self._number = 0
        self._waiting: dict[bytes, trio.Event] = {}

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def count(self) -> tuple[int, bytes]:
        """The number and the payload of another ping, for which nobody waits."""
        self._number += 1
        return self._number, self._number.to_bytes(4, "big")

    def new(self) -> bytes:
        """The payload of another ping."""
        _, key = self.count()
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
        number = int.from_bytes(payload, "big") if len(payload) == 4 else 0
        if self.answered_up_to < number <= self._number:
            self.answered_up_to = number
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
