"""Identities without a connection: how long they wait, how many, and who finds them."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from maim_trio._runtime.session import Session
from maim_trio.server import ServerConfig
from maim_trio.server._sessions import REPLACE_LIMIT, Sessions
from tests.memory import text_message
from tests.server.peer import joined

MOST = 3


class FakeConnection:
    platform = "default"


@pytest.fixture
def sessions() -> Sessions:
    numbers = count(1)

    def make(user_id: str, uuid: str | None, platform: str) -> Session:
        config = ServerConfig()
        return Session(user_id, uuid or f"made {next(numbers)}", platform, config, resumable=uuid is not None)

    return Sessions(make, MOST)


def connected(sessions: Sessions, uuid: str, user: str = "alice", now: float = 0.0) -> Session:
    session, _, _ = sessions.claim(user, uuid, "default", now)
    sessions.attach(session, connection())
    return session


def connection() -> Any:
    return FakeConnection()


def test_who_comes_back_in_time_finds_the_same_session(sessions: Sessions) -> None:
    session = connected(sessions, "u1")
    assert sessions.detach(session, 0.0, keep=True) == []
    assert sessions.detached("u1") is session
    assert sessions.claim("alice", "u1", "default", 100.0) == (session, True, None)


def test_another_user_does_not(sessions: Sessions) -> None:
    session = connected(sessions, "u1")
    sessions.detach(session, 0.0, keep=True)
    other, resumed, warning = sessions.claim("mallory", "u1", "default", 1.0)
    assert other is not session
    assert (resumed, other.uuid, warning is not None) == (False, "made 1", True)
    assert sessions.detached("u1") is session


def test_without_keeping_it_is_gone_at_once(sessions: Sessions) -> None:
    session = connected(sessions, "u1")
    assert sessions.detach(session, 0.0, keep=False) == [session]
    assert sessions.all() == []


def test_they_end_after_the_time_to_live(sessions: Sessions) -> None:
    first, second = connected(sessions, "u1"), connected(sessions, "u2")
    sessions.detach(first, 0.0, keep=True)
    sessions.detach(second, 5.0, keep=True)
    assert sessions.expired(9.9, 10.0) == []
    assert sessions.expired(10.0, 10.0) == [first]
    assert sessions.all() == [second]


def test_not_while_a_handshake_was_promised_them(sessions: Sessions) -> None:
    session = connected(sessions, "u1")
    sessions.detach(session, 0.0, keep=True)
    sessions.claim("alice", "u1", "default", 9.0)
    assert sessions.expired(20.0, 10.0) == []
    sessions.give_up(session)
    assert sessions.expired(20.0, 10.0) == [session]


def test_of_too_many_the_one_that_waits_longest_gives_way(sessions: Sessions) -> None:
    waiting = [connected(sessions, f"u{number}") for number in range(MOST + 1)]
    for session in waiting[:MOST]:
        assert sessions.detach(session, 0.0, keep=True) == []
    assert sessions.detach(waiting[MOST], 1.0, keep=True) == [waiting[0]]
    assert sessions.all_detached() == waiting[1:]


def test_they_are_found_by_user_and_platform(sessions: Sessions) -> None:
    mine, other = connected(sessions, "u1"), connected(sessions, "u2", "bob")
    for session in (mine, other):
        sessions.detach(session, 0.0, keep=True)
    assert sessions.detached_of("alice") == sessions.detached_of("alice", "default") == [mine]
    assert sessions.detached_of("alice", "elsewhere") == []
    assert sessions.all_detached("default") == [mine, other]
    sessions.attach(sessions.claim("alice", "u1", "default", 1.0)[0], connection())
    assert sessions.detached_of("alice") == []


def test_one_without_an_outbox_is_kept_for_duplicates_and_found_by_no_sender(sessions: Sessions) -> None:
    session = connected(sessions, "u1")
    session.outbox = None
    sessions.detach(session, 0.0, keep=True)
    assert sessions.detached("u1") is None
    assert sessions.detached_of("alice") == sessions.detached_of("alice", "default") == sessions.all_detached() == []
    assert sessions.claim("alice", "u1", "default", 1.0)[0] is session


def test_one_that_ended_while_its_messages_are_handled_is_not_resumed(sessions: Sessions) -> None:
    session = connected(sessions, "u1")
    session.lane.running = 1
    sessions.detach(session, 0.0, keep=False)
    session.ended = True
    again, resumed, _ = sessions.claim("alice", "u1", "default", 1.0)
    assert (again, resumed, again.ended) == (session, False, False)


def test_replacing_what_was_dead_is_no_fight(sessions: Sessions) -> None:
    session = connected(sessions, "u1")
    for number in range(3 * REPLACE_LIMIT):
        again, resumed, _ = sessions.claim("alice", "u1", "default", float(number))
        assert (again, resumed) == (session, True)
        sessions.attach(session, connection())
        sessions.replaced_dead(session)


async def test_on_a_server_queries_do_not_show_them_and_sends_reach_them(network):
    async with network.server() as server:
        peer = await joined(network, uuid="u1", key="key_of_client")
        await peer.close(1001)
        assert server.get_connection_count() == server.get_user_count() == 0
        assert server.get_connections() == {}
        assert server.get_user_connections("sys_default") == set()
        assert server.get_connection_info("u1") is None
        assert await server.send_message(text_message(1, platform="unknown")) == {"u1": True}
        assert await server.broadcast_custom_message("x", {}) == {"u1": True}


async def test_on_connect_says_whether_it_was_resumed(network):
    seen = []
    async with network.server(on_connect=lambda uuid, metadata: seen.append(metadata["resumed"])):
        for code in (1001, 1000, 1001):
            peer = await joined(network, uuid="u1")
            await peer.close(code)
    assert seen == [False, True, False]
