"""How long to wait before the next attempt to connect."""

from __future__ import annotations

__all__ = ["Backoff"]


class Backoff:
    """Exponential backoff with full jitter, over consecutive failures of one connection.

    The n-th delay in a row is drawn uniformly from 0 to ``min(maximum, base * 2**(n - 1))`` seconds, so that clients a
    server lost together do not come back together. `base`, `maximum` and `reset_after` are seconds.
    """

    __slots__ = ("_base", "_ceiling", "_failures", "_maximum", "_reset_after")

    def __init__(self, base: float, maximum: float, *, reset_after: float = 10.0) -> None:
        self._base = base
        self._maximum = maximum
        self._reset_after = reset_after
        self._failures = 0
        self._ceiling = min(base, maximum)

    @property
    def failures(self) -> int:
        """How many delays were drawn since the last reset."""
        return self._failures

    def next_delay(self, random01: float, *, at_least: float = 0.0) -> float:
        """Count one failure and return the seconds to wait, given a random number from 0 to 1.

        `at_least` is what the server asked for (Retry-After, or the base delay after a 1013). It may exceed `maximum`:
        a server that names a time knows better.
        """
        delay = max(random01 * self._ceiling, at_least)
        self._failures += 1
        self._ceiling = min(self._ceiling * 2, self._maximum)
        return delay

    def lived(self, seconds: float) -> bool:
        """A connection has ended after `seconds`: start over if that was long enough. True when it was.

        A connection that is accepted and dropped at once is one more failure of the same series; otherwise a flapping
        server would be hammered at the base delay for ever.
        """
        if seconds < self._reset_after:
            return False
        self.reset()
        return True

    def reset(self) -> None:
        """Forget the failures: the next delay is drawn from 0 to `base` again."""
        self._failures = 0
        self._ceiling = min(self._base, self._maximum)
