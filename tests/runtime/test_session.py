"""An identity: what outlives its connections, and that nothing of it outlives its end."""

from __future__ import annotations

import gc
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from maim_trio._delivery.dedupe import WINDOW
from maim_trio._delivery.outbox import Entry
from maim_trio._runtime.session import Session
from maim_trio.server import ServerConfig
from tests.memory import text_message
from tests.server.peer import joined, standard


def session(*, resumable: bool = True, **config: Any) -> Session:
    return Session("user", "u1", "default", ServerConfig(**config), resumable=resumable)


def connection(*, closed: bool = False) -> Any:
    return SimpleNamespace(link=SimpleNamespace(closed=closed or None), acknowledged=[])


@pytest.mark.parametrize(
    ("resumable", "cached", "has_outbox"),
    [(True, True, True), (True, False, False), (False, True, False), (False, False, False)],
)
def test_only_who_can_come_back_has_an_outbox(resumable: bool, cached: bool, has_outbox: bool) -> None:
    assert (session(resumable=resumable, enable_message_cache=cached).outbox is not None) == has_outbox


@pytest.mark.parametrize(("ttl", "window"), [(300, WINDOW), (3600, 3600)])
async def test_duplicates_are_known_as_long_as_they_may_come(network, ttl, window):
    one = session(message_cache_ttl=ttl)
    one.dedupe.add(1, 0.0)
    one.dedupe.add(2, window - 1.0)
    assert 1 in one.dedupe


class TestOwingAcks:
    def written(self, acks: int = 0) -> Session:
        one = session()
        one.connection = connection()
        assert one.outbox is not None
        one.outbox.add(Entry("m", b"", expires=1e9))
        one.outbox.acks = acks
        return one

    def test_with_something_on_its_way_to_a_peer_that_acks(self) -> None:
        assert self.written(acks=1).owes_acks(unproven=False)

    def test_one_that_never_did_only_when_asked_for(self) -> None:
        assert not self.written().owes_acks(unproven=False)
        assert self.written().owes_acks(unproven=True)

    def test_not_without_a_connection_or_with_one_that_has_ended(self) -> None:
        one = self.written(acks=1)
        one.connection = connection(closed=True)
        assert not one.owes_acks(unproven=True)
        one.connection = None
        assert not one.owes_acks(unproven=True)

    def test_not_when_it_is_known_not_to_ack(self) -> None:
        one = self.written()
        assert one.outbox is not None
        one.outbox.non_acking = True
        assert not one.owes_acks(unproven=True)


def sessions_in_memory() -> list[Session]:
    gc.collect()
    return [one for one in gc.get_objects() if isinstance(one, Session)]


async def test_the_memory_of_an_ended_session_is_freed(network):
    async with network.server(message_cache_ttl=10, message_cache_cleanup_interval=1) as server:
        before = len(sessions_in_memory())
        for number in range(20):
            peer = await joined(network, uuid=f"u{number}" if number % 2 else "", key="key_of_client")
            await peer.say(standard("m1"))
            await server.send_message(text_message(number, platform="unknown"))
            await peer.stream.aclose()
        await trio.sleep(15)
        await joined(network, uuid="another")
        assert len(sessions_in_memory()) == before + 1
        assert server.courier.held_bytes == 0
        assert len(server._sessions.all()) == 1
