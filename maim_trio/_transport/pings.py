"""Our pings that wait for their pongs."""

from __future__ import annotations

import trio

__all__ = ["Pings"]


class Pings:
    """Of one link. The payload of a ping is a number, so that a pong tells which one it answers."""

    __slots__ = ("_number", "_waiting", "answered_up_to")

    def __init__(self) -> None:
        self.answered_up_to = b""
        """The latest ping whose pong has come."""
        self._number = 0
        self._waiting: dict[bytes, trio.Event] | None = None

    def __len__(self) -> int:
        """How many are waited for."""
        return len(self._waiting or ())

    def new(self) -> bytes:
        """The payload of another ping."""
        self._number += 1
        return self._number.to_bytes(4, "big")

    async def wait(self, key: bytes, timeout: float) -> float:
        """Until it is answered, or all have ended; returns the seconds that took. `trio.TooSlowError` after `timeout`
        seconds. Cancel-safe."""
        start = trio.current_time()
        if self._waiting is None:
            self._waiting = {}
        waiting, answered = self._waiting, trio.Event()
        waiting[key] = answered
        try:
            with trio.fail_after(timeout):
                await answered.wait()
        finally:
            waiting.pop(key, None)
        return trio.current_time() - start

    def answered(self, payload: bytes) -> None:
        """A pong has come: it answers this ping and all earlier ones (RFC 6455 §5.5.3), or nothing."""
        if len(payload) == 4 and self.answered_up_to < payload <= self._number.to_bytes(4, "big"):
            self.answered_up_to = payload
            if self._waiting:
                for key in [key for key in self._waiting if key <= payload]:
                    self._waiting.pop(key).set()

    def end(self) -> None:
        """Wakes everybody."""
        if self._waiting:
            for answered in self._waiting.values():
                answered.set()
            self._waiting.clear()
