"""WebSocket close codes, refused handshakes, and what a client does after each."""

from __future__ import annotations

from typing import Final

import msgspec

from maim_trio._wire.text import one_line

__all__ = [
    "ABNORMAL",
    "GOING_AWAY",
    "INTERNAL_ERROR",
    "INVALID_DATA",
    "KEY_REVOKED",
    "MAX_RETRY_AFTER",
    "NORMAL",
    "NO_STATUS",
    "POLICY_VIOLATION",
    "PROTOCOL_ERROR",
    "REPLACED",
    "SERVICE_RESTART",
    "TOO_BIG",
    "TRY_AGAIN_LATER",
    "UNSUPPORTED_DATA",
    "Verdict",
    "after_close",
    "after_refusal",
    "parse_retry_after",
]

# RFC 6455 section 7.4.1 and the IANA registry.
NORMAL: Final = 1000
GOING_AWAY: Final = 1001
PROTOCOL_ERROR: Final = 1002
UNSUPPORTED_DATA: Final = 1003
NO_STATUS: Final = 1005  # never on the wire: the close frame was empty
ABNORMAL: Final = 1006  # never on the wire: there was no close frame
INVALID_DATA: Final = 1007
POLICY_VIOLATION: Final = 1008
TOO_BIG: Final = 1009
INTERNAL_ERROR: Final = 1011
SERVICE_RESTART: Final = 1012
TRY_AGAIN_LATER: Final = 1013
# Ours, from the private range.
REPLACED: Final = 4001
KEY_REVOKED: Final = 4003

MAX_RETRY_AFTER: Final = 3600.0
"""Seconds: a wrong clock or a hostile proxy must not park a client for a year."""

_AUTH_REASON: Final = "Authentication failed"
_MAX_TEXT: Final = 200

_CLOSE_TEXTS: Final = {
    NORMAL: "the server closed the connection",
    GOING_AWAY: "the server is stopping",
    PROTOCOL_ERROR: "the server saw a violation of the WebSocket protocol",
    UNSUPPORTED_DATA: "the server does not take this kind of data",
    NO_STATUS: "the server closed the connection without a status",
    ABNORMAL: "the connection was lost",
    INVALID_DATA: "the server saw invalid text data",
    POLICY_VIOLATION: "the server ended the connection: too many invalid frames, or against its policy",
    TOO_BIG: "a message was too large for the server",
    INTERNAL_ERROR: "the server had an internal error",
    SERVICE_RESTART: "the server is restarting",
    TRY_AGAIN_LATER: "the server is overloaded, or this client reads too slowly",
    REPLACED: "replaced by a newer connection with the same connection id",
    KEY_REVOKED: "the API key was revoked",
}
_FATAL_CLOSES: Final = frozenset(
    {PROTOCOL_ERROR, UNSUPPORTED_DATA, INVALID_DATA, POLICY_VIOLATION, REPLACED, KEY_REVOKED}
)

_REFUSAL_TEXTS: Final = {
    400: "the server refused the request as malformed",
    401: "authentication failed",
    403: "the server does not allow this client",
    404: "there is no WebSocket endpoint at this path",
    426: "the request was not seen as a WebSocket handshake; a proxy may be removing the upgrade headers",
    429: "the server limits the rate of connections",
    500: "the server had an internal error",
    503: "the server takes no connections at the moment",
}
_NO_REFUSALS: Final = {  # by their first digit
    2: "there is a web server, but no WebSocket at this url: check its host, port and path",
    3: "the server redirects, which is not followed: the url must name the other address itself",
}
_FATAL_REFUSALS: Final = frozenset({400, 401, 403, 404})


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """What the client does now.

    `reconnect`: try again with backoff, otherwise give up for good. `reason`: a sentence for `get_last_error()`.
    `unauthorized`: the key was refused. `at_least`: seconds the server asked to wait. `whole_delay`: the first delay is
    not to be shortened by jitter, wait at least `reconnect_delay`. `lasting`: with `reconnect`, somebody has to mend
    something first, so whoever waits for an outcome is told now; attempts go on in the background.
    """

    reconnect: bool
    reason: str
    unauthorized: bool = False
    at_least: float = 0.0
    whole_delay: bool = False
    lasting: bool = False


def after_close(code: int, reason: str = "") -> Verdict:
    """What to do after the server (or the network: 1006) has ended an established connection.

    A code that nobody has defined counts as passing trouble: a client that never comes back is the worse mistake.
    """
    if code == NORMAL and reason.startswith(_AUTH_REASON):
        # maim_message's server accepts first and authenticates later: this is its 401.
        return Verdict(False, _sentence(_REFUSAL_TEXTS[401], "close 1000", reason), unauthorized=True)
    text = _CLOSE_TEXTS.get(code, "the server closed the connection")
    return Verdict(
        reconnect=code not in _FATAL_CLOSES,
        reason=_sentence(text, f"close {code}", reason),
        unauthorized=code == KEY_REVOKED,
        whole_delay=code == TRY_AGAIN_LATER,
    )


def after_refusal(
    status: int, retry_after: str | None = None, *, now: float, detail: str = "", lasting: bool = False
) -> Verdict:
    """What to do after a handshake was answered with HTTP `status`; 0 means that no answer came at all.

    `retry_after` is the header as it came, `now` the Unix time in seconds, `detail` what the body or the network said.
    `lasting`: no answer came because of what somebody has to mend. Only the four statuses that cannot change by
    themselves are final.
    """
    if status == 0:
        return Verdict(True, _sentence("the server could not be reached", "", detail), lasting=lasting)
    kind = _NO_REFUSALS.get(status // 100, "the server refused the WebSocket handshake")
    text = _REFUSAL_TEXTS.get(status, kind)
    return Verdict(
        reconnect=status not in _FATAL_REFUSALS,
        reason=_sentence(text, f"HTTP {status}", detail),
        unauthorized=status == 401,
        at_least=parse_retry_after(retry_after, now) if status == 429 or status >= 500 else 0.0,
    )


def parse_retry_after(value: str | None, now: float) -> float:
    """Seconds to wait by a Retry-After header (RFC 9110 section 10.2.3): 0 to `MAX_RETRY_AFTER`, 0 if unreadable."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        # Longer digit strings are beyond the limit anyway, and int() refuses the longest.
        return min(float(text[:9]), MAX_RETRY_AFTER)
    from email.utils import mktime_tz, parsedate_tz  # rarely needed, and slow to load

    try:
        date = parsedate_tz(text[:64])
        seconds = mktime_tz(date) - now if date is not None else 0.0
    except (ValueError, IndexError, TypeError, OverflowError):  # what email.utils lets out for absurd dates
        return 0.0
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)


def _sentence(text: str, label: str, detail: str) -> str:
    """One printable line of bounded length: the last part was written by the other side."""
    said = one_line(detail, _MAX_TEXT)
    head = f"{text} ({label})" if label else text
    return f"{head}: {said}" if said else head
