"""Identities on the server: which session a handshake gets, and how long it waits for its client to come back. Pure;
every change is one synchronous step."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from maim_trio._runtime.connection import Connection
    from maim_trio._runtime.session import Session

REPLACE_WINDOW = 60.0
REPLACE_LIMIT = 3
"""An id may be replaced so many times within the window (seconds); more is two clients that fight over it."""


class Sessions:
    """The sessions that live, by connection uuid. A uuid belongs to whoever came with it first.

    A session is attached (it has a connection), detached (its client may come back), or ended: then it only stays until
    its messages are handled. At most `max_detached` wait; the one that waits longest gives way.
    """

    def __init__(self, make: Callable[[str, str | None, str], Session], max_detached: int) -> None:
        self._make = make
        self._max_detached = max_detached
        self._sessions: dict[str, Session] = {}
        self._detached: dict[str, Session] = {}  # in the order they were left
        self._waiting_for: dict[tuple[str, str], dict[str, Session]] = {}  # detached, by user and platform
        self._promised: set[Session] = set()
        self.pending = 0  # handshakes that were promised a session and are not through yet

    def all(self) -> list[Session]:
        return list(self._sessions.values())

    def claim(self, user_id: str, uuid: str | None, platform: str, now: float) -> tuple[Session, bool, str | None]:
        """The session for a handshake, whether it continues an earlier connection, and a warning or None.

        Nobody takes over another user's connection, and nobody locks another out by squatting on an id: both get a
        fresh session with a server-made id.
        """
        session = self._sessions.get(uuid) if uuid is not None else None
        resumed, warning = session is not None, None
        if session is not None and session.user_id != user_id:
            warning = "the connection id of another user was asked for; a fresh one was given"
        elif session is not None and _replaced_too_often(session, now):
            warning = (
                f"an id was replaced more than {REPLACE_LIMIT} times in {REPLACE_WINDOW:g} s; a fresh one was given"
            )
        if session is None or warning is not None:
            session, resumed = self._make(user_id, uuid if warning is None else None, platform), False
            self._sessions[session.uuid] = session
        elif session.connection is not None or session.claims:
            session.replaced_at.append(now)
        if session.ended:  # it has said goodbye; only its place in the order of handlers is left
            session.ended = resumed = False
        session.claims += 1
        self.pending += 1
        self._promised.add(session)
        return session, resumed, warning

    def promised_to(self, user_id: str) -> set[str]:
        """The ids of a user's sessions that handshakes under way were promised."""
        return {session.uuid for session in self._promised if session.user_id == user_id}

    def attach(self, session: Session, connection: Connection) -> None:
        """The handshake is through."""
        self._redeem(session)
        self._take_out(session)
        session.platform = connection.platform
        session.connection = connection
        self._sessions[session.uuid] = session

    def replaced_dead(self, session: Session) -> None:
        """The connection that was replaced did not even answer: that was no fight, only a bad network."""
        if session.replaced_at:
            del session.replaced_at[0]

    def give_up(self, session: Session) -> None:
        """The handshake failed after the claim."""
        self._redeem(session)
        if session.uuid not in self._detached:
            self._forget_unused(session)

    def detach(self, session: Session, now: float, *, keep: bool) -> list[Session]:
        """The session has lost its connection. With `keep` it waits for its client; returns the sessions that ended."""
        session.connection = None
        if not keep:
            self._forget_unused(session)
            return [session]
        self.wait_for(session, now)
        if len(self._detached) <= self._max_detached:
            return []
        oldest = next(iter(self._detached.values()))
        self.end(oldest)
        return [oldest]

    def wait_for(self, session: Session, now: float) -> None:
        """Keeps a session without connection."""
        session.detached_at = now
        self._sessions[session.uuid] = session
        self._detached[session.uuid] = session
        self._waiting_for.setdefault((session.user_id, session.platform), {})[session.uuid] = session

    def any_detached(self) -> bool:
        """Whether any session waits for its client."""
        return bool(self._detached)

    def keep_until_idle(self, session: Session) -> None:
        """Keeps a session that nobody will come back to while its messages are handled."""
        session.ended = True
        self._sessions[session.uuid] = session
        self._forget_unused(session)

    def detached(self, uuid: str) -> Session | None:
        session = self._detached.get(uuid)
        return session if session is not None and session.outbox is not None else None

    def detached_of(self, user_id: str, platform: str | None = None) -> list[Session]:
        """The sessions of a user that wait for their client, on one platform or (None) on all."""
        if platform is not None:
            found: Iterable[Session] = self._waiting_for.get((user_id, platform), {}).values()
        else:
            found = [session for session in self._detached.values() if session.user_id == user_id]
        return [session for session in found if session.outbox is not None]

    def all_detached(self, platform: str | None = None) -> list[Session]:
        """All sessions that wait for their client, on one platform or (None) on all."""
        return [
            session
            for session in self._detached.values()
            if platform in (None, session.platform) and session.outbox is not None
        ]

    def expired(self, now: float, ttl: float) -> list[Session]:
        """Ends and returns the sessions whose client has not come back within `ttl` seconds."""
        old = []
        for session in self._detached.values():
            if session.detached_at is None or session.detached_at + ttl > now:
                break  # the others were left later
            if not session.claims:
                old.append(session)
        for session in old:
            self.end(session)
        return old

    def end(self, session: Session) -> None:
        """Nobody will come back to this session."""
        self._take_out(session)
        self._forget_unused(session)

    def _take_out(self, session: Session) -> None:
        if self._detached.pop(session.uuid, None) is None:
            return
        session.detached_at = None
        key = (session.user_id, session.platform)
        waiting = self._waiting_for[key]
        del waiting[session.uuid]
        if not waiting:
            del self._waiting_for[key]

    def _redeem(self, session: Session) -> None:
        session.claims -= 1
        self.pending -= 1
        if not session.claims:
            self._promised.discard(session)

    def _forget_unused(self, session: Session) -> None:
        """A session without connection stays while its messages are handled: whoever comes back meanwhile finds its
        place in the order again."""
        if session.connection is not None or session.claims or session.uuid in self._detached:
            return
        if not session.lane.idle:
            session.lane.on_idle = partial(self._forget_unused, session)
        elif self._sessions.get(session.uuid) is session:
            del self._sessions[session.uuid]


def _replaced_too_often(session: Session, now: float) -> bool:
    while session.replaced_at and session.replaced_at[0] <= now - REPLACE_WINDOW:
        del session.replaced_at[0]
    return len(session.replaced_at) >= REPLACE_LIMIT
