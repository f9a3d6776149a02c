"""What bounds a connection, and how its end is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Closed", "Limits", "LinkClosed"]


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one connection. Sizes are bytes, times are seconds."""

    max_message: int = 16 * 1024 * 1024
    """A larger message is refused with 1009 as soon as its head is there."""
    max_queued: int = 4 * 1024 * 1024
    """What may wait to be written; one larger frame may wait alone."""
    max_head: int = 16 * 1024
    """The head of the HTTP request or answer, with its blank line."""
    handshake_timeout: float = 10.0
    """For the whole head to arrive (TLS handshake included), and again for our answer to be written."""
    send_timeout: float = 30.0
    """Without any progress in writing; the link ends then."""
    close_timeout: float = 5.0
    """For `Link.aclose`: what is queued, both close frames and the end of TCP together."""


class Closed(NamedTuple):
    """How a link ended: the close code (1006: without a close frame), its reason, and whether the peer began it."""

    code: int
    reason: str
    by_peer: bool


class LinkClosed(Exception):
    """The link has ended, or is ending. `code`, `reason` and `by_peer` are those of `Link.closed`."""

    def __init__(self, code: int, reason: str, by_peer: bool) -> None:
        super().__init__(code, reason, by_peer)
        self.code = code
        self.reason = reason
        self.by_peer = by_peer

    def __str__(self) -> str:
        return f"{self.code} {self.reason}".rstrip()
