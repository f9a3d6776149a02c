"""Which session a handshake gets."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest

from maim_trio._runtime.session import Session
from maim_trio.server import ServerConfig
from maim_trio.server._sessions import REPLACE_LIMIT, REPLACE_WINDOW, Sessions


class FakeConnection:
    """What a session knows of its connection."""

    def __init__(self, platform: str = "qq") -> None:
        self.platform = platform


@dataclass
class Waiting:
    """A message that waits for a handler."""

    size: int = 1
    name: str = "on_message"

    def waits(self) -> None:
        """Nobody is there to be told."""

    def accepted(self) -> None:
        """Nobody is there to be told."""


@pytest.fixture
def sessions() -> Sessions:
    numbers, config = count(1), ServerConfig()

    def make(user_id: str, uuid: str | None, platform: str) -> Session:
        return Session(user_id, uuid or f"made {next(numbers)}", platform, config, resumable=uuid is not None)

    return Sessions(make, 10)


def claim(sessions: Sessions, user: str, uuid: str | None, now: float = 0.0) -> tuple[Session, bool, str | None]:
    return sessions.claim(user, uuid, "qq", now)


def connect(sessions: Sessions, user: str, uuid: str | None, now: float = 0.0, connection: Any = None) -> Session:
    session, _, _ = claim(sessions, user, uuid, now)
    sessions.attach(session, connection or FakeConnection())
    return session


def leave(sessions: Sessions, session: Session) -> list[Session]:
    """Its client has said goodbye."""
    return sessions.detach(session, 0.0, keep=False)


def test_without_an_id_everybody_gets_a_session_of_its_own(sessions: Sessions) -> None:
    first, resumed, warning = claim(sessions, "alice", None)
    second, _, _ = claim(sessions, "alice", None)
    assert (first.uuid, second.uuid) == ("made 1", "made 2")
    assert (resumed, warning) == (False, None)


def test_only_who_came_with_an_id_can_come_back_to_it_and_has_an_outbox(sessions: Sessions) -> None:
    own, made = connect(sessions, "alice", "u"), connect(sessions, "alice", None)
    assert (own.resumable, made.resumable) == (True, False)
    assert (own.outbox is None, made.outbox is None) == (False, True)


def test_a_live_session_of_the_same_user_continues(sessions: Sessions) -> None:
    session = connect(sessions, "alice", "u")
    assert claim(sessions, "alice", "u", 1.0) == (session, True, None)


def test_the_id_of_another_user_gives_a_fresh_one_and_a_warning(sessions: Sessions) -> None:
    victim = connect(sessions, "alice", "u")
    session, resumed, warning = claim(sessions, "mallory", "u", 1.0)
    assert session is not victim
    assert (session.uuid, session.user_id, resumed) == ("made 1", "mallory", False)
    assert warning is not None
    assert claim(sessions, "alice", "u", 2.0)[0] is victim


def test_more_than_three_replacements_in_a_minute_give_a_fresh_id(sessions: Sessions) -> None:
    session = connect(sessions, "alice", "u")
    for number in range(REPLACE_LIMIT):
        assert connect(sessions, "alice", "u", float(number)) is session
    other, resumed, warning = claim(sessions, "alice", "u", 10.0)
    assert other is not session
    assert (resumed, warning is not None) == (False, True)


def test_the_window_of_replacements_moves_on(sessions: Sessions) -> None:
    session = connect(sessions, "alice", "u")
    for number in range(REPLACE_LIMIT):
        connect(sessions, "alice", "u", float(number))
    assert claim(sessions, "alice", "u", REPLACE_WINDOW - 0.5)[0] is not session
    assert claim(sessions, "alice", "u", REPLACE_WINDOW)[0] is session
    assert claim(sessions, "alice", "u", REPLACE_WINDOW + 0.5)[0] is not session


def test_handshakes_at_the_same_time_count_as_replacements(sessions: Sessions) -> None:
    claimed = [claim(sessions, "alice", "u")[0] for _ in range(REPLACE_LIMIT + 2)]
    assert len({session.uuid for session in claimed}) == 2


@pytest.mark.parametrize("keep", [True, False])
def test_coming_back_after_the_end_is_no_replacement(sessions: Sessions, keep: bool) -> None:
    for number in range(10):
        session = connect(sessions, "alice", "u", float(number))
        assert session.uuid == "u"
        sessions.detach(session, float(number), keep=keep)


def test_a_session_whose_client_has_said_goodbye_ends_with_its_connection(sessions: Sessions) -> None:
    session = connect(sessions, "alice", "u")
    assert leave(sessions, session) == [session]
    assert session.connection is None
    newer, resumed, _ = claim(sessions, "bob", "u", 1.0)
    assert newer is not session
    assert (newer.uuid, newer.user_id, resumed) == ("u", "bob", False)


def test_who_comes_back_on_another_platform_is_found_there(sessions: Sessions) -> None:
    session = connect(sessions, "alice", "u")
    assert connect(sessions, "alice", "u", connection=FakeConnection("wx")) is session
    sessions.detach(session, 1.0, keep=True)
    assert sessions.detached_of("alice", "wx") == [session]
    assert sessions.detached_of("alice", "qq") == []


def test_a_session_outlives_its_connection_while_its_messages_wait(sessions: Sessions) -> None:
    session = connect(sessions, "alice", "u")
    session.lane.put(Waiting())
    leave(sessions, session)
    assert claim(sessions, "alice", "u", 1.0) == (session, True, None)


def test_a_session_without_connection_ends_when_its_last_message_is_handled(sessions: Sessions) -> None:
    session = connect(sessions, "alice", "u")
    session.lane.put(Waiting())
    leave(sessions, session)
    session.lane.take()
    assert session.lane.on_idle is not None
    session.lane.on_idle()
    assert sessions.all() == []
    assert claim(sessions, "alice", "u", 1.0)[0] is not session


def test_one_that_has_come_back_meanwhile_does_not(sessions: Sessions) -> None:
    session = connect(sessions, "alice", "u")
    session.lane.put(Waiting())
    leave(sessions, session)
    assert connect(sessions, "alice", "u", 1.0) is session
    session.lane.take()
    assert session.lane.on_idle is not None
    session.lane.on_idle()
    assert sessions.all() == [session]


def test_a_promise_keeps_a_session_until_it_is_given_up(sessions: Sessions) -> None:
    session = connect(sessions, "alice", "u")
    claim(sessions, "alice", "u", 1.0)
    leave(sessions, session)
    assert claim(sessions, "alice", "u", 2.0)[0] is session
    sessions.give_up(session)
    sessions.give_up(session)
    assert claim(sessions, "alice", "u", 3.0)[0] is not session


def test_promises_are_counted_and_listed_by_user(sessions: Sessions) -> None:
    first, _, _ = claim(sessions, "alice", "u")
    claim(sessions, "alice", "u")
    claim(sessions, "bob", None)
    assert (sessions.pending, sessions.promised_to("alice"), sessions.promised_to("bob")) == (3, {"u"}, {"made 1"})
    sessions.attach(first, FakeConnection())
    assert (sessions.pending, sessions.promised_to("alice")) == (2, {"u"})
    sessions.give_up(first)
    assert (sessions.pending, sessions.promised_to("alice")) == (1, set())
