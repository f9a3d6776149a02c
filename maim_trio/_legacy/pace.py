"""When a legacy client tries again, pure. It never gives up: a server may learn its token, or move, at any time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from maim_trio._delivery.backoff import Backoff
from maim_trio._legacy._tcp.parser import ENDED
from maim_trio._wire import close
from maim_trio._wire.close import after_close
from maim_trio._wire.text import one_line

if TYPE_CHECKING:
    from maim_trio._legacy.settings import ClientSettings
    from maim_trio._transport.limits import Closed
    from maim_trio._wire.close import Verdict

__all__ = ["REPLACED", "Ending", "Pace", "after_end"]

REPLACED: Final = "新的连接已建立"
"""With this and 1000 the older of two connections of one platform is closed."""
MAX_REASON: Final = 200
"""Characters of a reason that are told."""
RIVAL_DELAY: Final = 2.0
RIVAL_MAX_DELAY: Final = 300.0
RIVAL_CALM: Final = 600.0
"""Seconds. A client that was replaced comes back after 2, 4, 8 … up to 300 of them, and begins anew once it was left in
peace for 600. So two that use the same platform take turns ever more slowly, and yet the one that stays takes over when
the other is gone."""
RIVALRY_SAID: Final = 3
"""Replacements in a row after which it is no restart but a fight."""


@dataclass(frozen=True, slots=True)
class Ending:
    """Why there is no connection, or none any more.

    `refused`: the server does not want this client as it is, so trying again soon is of no use. `replaced`: another
    client has come with the same platform. `at_least`: seconds the server has asked for. `lasting`: there is something
    to mend before it can work.
    """

    reason: str
    refused: bool = False
    replaced: bool = False
    at_least: float = 0.0
    whole_delay: bool = False
    lasting: bool = False


def after_end(closed: Closed | None, *, counted: bool) -> Ending:
    """What the end of a link means. `counted`: it had counted as a connection."""
    code, reason = (closed.code, closed.reason) if closed is not None else (close.ABNORMAL, "")
    if closed is not None and not closed.by_peer and code != close.ABNORMAL:
        return Ending(f"this client closed the connection (close {code}): {reason}".rstrip(": "))
    if reason == ENDED:
        return Ending("the server ended the connection")
    if code == close.NORMAL and reason == REPLACED:
        return Ending("replaced by a newer connection of the same platform", replaced=True)
    if not counted and code == close.POLICY_VIOLATION:  # maim_message accepts first and looks at the token later
        said = one_line(reason, MAX_REASON)
        return Ending(f"the server refused this client (close {code}): {said}".rstrip(": "), refused=True)
    return of_verdict(after_close(code, reason))


def of_verdict(verdict: Verdict) -> Ending:
    """The same in other words: what is final for a client of the API-Server is a long wait here."""
    return Ending(
        verdict.reason,
        refused=not verdict.reconnect,
        at_least=verdict.at_least,
        whole_delay=verdict.whole_delay,
        lasting=verdict.lasting,
    )


class Pace:
    """The delays of one client."""

    def __init__(self, config: ClientSettings) -> None:
        self._config = config
        self._backoff = Backoff(
            config.reconnect_delay, config.max_reconnect_delay, reset_after=config.reconnect_reset_after
        )
        self.replaced = 0
        """How often in a row it was replaced."""

    def next_delay(self, ending: Ending, lived: float | None, random01: float) -> float:
        """Seconds until the next attempt. `lived`: how long the connection was there; None: there was none."""
        if lived is not None:
            self._backoff.lived(lived)
            if not ending.replaced or lived >= RIVAL_CALM:
                self.replaced = 0
        if ending.replaced:
            self.replaced += 1
            delay = min(RIVAL_DELAY * 2.0 ** min(self.replaced - 1, 30), RIVAL_MAX_DELAY)
            return delay * (1 + random01) / 2
        at_least = max(ending.at_least, self._config.reconnect_delay if ending.whole_delay else 0.0)
        if ending.refused:
            at_least = max(at_least, self._config.max_reconnect_delay * (1 + random01) / 2)
        return self._backoff.next_delay(random01, at_least=at_least)
