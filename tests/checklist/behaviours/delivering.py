"""What becomes of messages that were accepted: kept, sent again, recognised, confirmed, given up."""

from __future__ import annotations

import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from maim_trio.errors import NotConnected
from tests.checklist.behaviour import real_sockets
from tests.checklist.world import NAME, Recorder, content, linked, made, scripted, settle, side_of
from tests.client.raw import drops, refuses, sends, welcomes
from tests.client.raw import standard as from_server
from tests.memory import Network, text_message
from tests.server.peer import joined, standard, text_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.checklist.rows import Row

    Send = Callable[[Any], Awaitable[bool]]

PEER_UUID = "the-peer"


@asynccontextmanager
async def _without_acks(side: str, **fields: Any) -> AsyncIterator[tuple[Any, Send]]:
    """A subject whose other side acknowledges nothing, and a way to send to that side."""
    network = Network()
    if side == "server":
        async with network.server(ping_interval=0, **fields) as server:
            await joined(network, uuid=PEER_UUID, platform="default")

            async def send_to_peer(text: Any) -> bool:
                sent: bool = (await server.broadcast_message(text_message(text)))[PEER_UUID]
                return sent

            yield server, send_to_peer
        return
    own = fields if side == "client" else {}
    async with scripted(network, welcomes), made(side, network, **own) as subject:
        if side == "multi":
            subject.update_connection(NAME, **fields)
        await subject.connect()

        async def send_to_server(text: Any) -> bool:
            sent: bool = await subject.send_message(*([NAME] if side == "multi" else []), text_message(text))
            return sent

        yield subject, send_to_server


async def _cut(network: Network) -> None:
    """Ends all connections without a word."""
    for stream in list(network.open_streams):
        await trio.aclose_forcefully(stream)
    await settle()


# -- confirmed


async def a_confirmed_message_was_acknowledged(row: Row) -> None:
    async with linked({"on_message": lambda *_: None}, {"on_message": lambda *_: None}) as (server, client):
        if side_of(row) == "client":
            assert await client.send_and_confirm(text_message()) is True
        else:
            assert await server.send_and_confirm(text_message()) == {client.get_connection_uuid(): True}


async def without_an_ack_nothing_is_confirmed(row: Row) -> None:
    async with _without_acks(side_of(row)) as (subject, _send):
        began = trio.current_time()
        outcome = await subject.send_and_confirm(text_message(), timeout=3.0)
        assert outcome == (False if side_of(row) == "client" else {PEER_UUID: False})
        assert trio.current_time() == began + 3.0
        await subject.send_and_confirm(text_message())
        assert trio.current_time() == began + 13.0, "10 seconds by default"


async def a_client_that_gave_up_cannot_confirm() -> None:
    network = Network()
    async with scripted(network, refuses(401)), network.client() as client:
        assert not await client.connect()
        with pytest.raises(NotConnected):
            await client.send_and_confirm(text_message())


# -- kept and sent again


async def what_is_accepted_while_a_connection_is_away_arrives(row: Row) -> None:
    """Only with a message cache; without it the answer is an honest no."""
    for kept in (True, False):
        network, heard = Network(), Recorder()
        at_server = {"on_message": heard} if side_of(row) == "client" else {"enable_message_cache": kept}
        at_client = {"on_message": heard} if side_of(row) == "server" else {"enable_message_cache": kept}
        async with network.server(**at_server) as server, network.client(**at_client) as client:
            assert await client.connect()
            uuid = client.get_connection_uuid()
            await _cut(network)
            assert (client.is_connected(), server.get_connection_count()) == (False, 0)
            if side_of(row) == "server":
                assert await server.broadcast_message(text_message("kept")) == ({uuid: True} if kept else {})
            else:
                assert await client.send_message(text_message("kept")) is kept
            await trio.sleep(60)
            assert client.is_connected()
            assert [content(message) for message, _ in heard.calls] == (["kept"] if kept else [])


async def a_detached_connection_is_sent_to_and_in_no_query() -> None:
    network = Network()
    async with network.server() as server:
        peer = await joined(network, uuid=PEER_UUID)
        await peer.aclose()
        await settle()
        assert await server.broadcast_message(text_message()) == {PEER_UUID: True}
        assert (server.get_connections(), server.get_connection_count()) == ({}, 0)
        assert server.get_connection_info(PEER_UUID) is None
        assert server.get_user_connections("sys_default") == set()


async def who_has_said_goodbye_is_not_sent_to() -> None:
    network = Network()
    async with network.server() as server:
        await (await joined(network, uuid=PEER_UUID)).close(1000)
        await (await joined(network)).aclose()  # with an id of the server's: it cannot come back to it
        await settle()
        assert await server.broadcast_message(text_message()) == {}


async def what_was_not_acknowledged_is_sent_again_in_order(row: Row) -> None:
    network = Network()
    if side_of(row) == "server":
        async with network.server() as server:
            peer = await joined(network, uuid=PEER_UUID)
            for text in ("a", "b"):
                assert await server.broadcast_message(text_message(text)) == {PEER_UUID: True}
            first = [await peer.hear() for _ in range(2)]
            await peer.aclose()
            await settle()
            await server.broadcast_message(text_message("c"))
            peer = await joined(network, uuid=PEER_UUID)
            again = [await peer.hear() for _ in range(3)]
            assert (again[:2], text_of(again[2])) == (first, "c")
            assert server.get_stats()["messages_resent"] == 2
        return
    side = side_of(row)
    name = [NAME] if side == "multi" else []
    async with scripted(network, drops(after=1.0), welcomes) as peers, made(side, network) as client:
        await client.connect()
        for text in ("a", "b"):
            assert await client.send_message(*name, text_message(text))
        await trio.sleep(60)
        assert [text_of(message) for message in peers[1].heard] == ["a", "b"]
        assert client.get_stats()["messages_resent"] == 2


async def nothing_is_sent_more_than_three_times() -> None:
    network, given_up = Network(), Recorder()
    scripts = [drops(after=1.0)] * 3 + [welcomes]
    async with scripted(network, *scripts) as peers, network.client(on_undelivered=given_up) as client:
        await client.connect()
        assert await client.send_message(text_message())
        _, reason = await given_up.wait()
        await trio.sleep(60)
        assert (len(peers), peers[3].heard) == (4, [])
        assert "three times" in reason
        assert client.get_stats()["messages_sent"] == 3


async def a_duplicate_is_acknowledged_and_ignored(row: Row) -> None:
    network, heard = Network(), Recorder()
    if side_of(row) == "server":
        async with network.server(on_message=heard) as server:
            for _ in range(2):  # across a reconnect
                peer = await joined(network, uuid=PEER_UUID)
                await peer.say(standard("m1", "once"))
                assert await peer.hear_acks(1) == ["m1"]
                await peer.aclose()
            await settle()
            assert server.get_stats()["duplicate_messages_ignored"] == 1
    else:
        once = from_server("once", msg_id="m1")
        async with (
            scripted(network, sends(once, once)) as peers,
            made(side_of(row), network, on_message=heard) as client,
        ):
            await client.connect()
            await settle()
            assert peers[0].acked == ["m1", "m1"]
            assert client.get_stats()["duplicate_messages_ignored"] == 1
    assert len(heard.calls) == 1


async def a_client_learns_that_it_was_resumed() -> None:
    network, heard = Network(), Recorder()
    async with network.server() as server, network.client(on_message=heard) as client:
        await client.connect()
        await server.broadcast_message(text_message())
        await heard.wait()
        await _cut(network)
        await trio.sleep(60)
        await server.broadcast_message(text_message())
        await heard.wait(2)
        assert [metadata["resumed"] for _, metadata in heard.calls] == [False, True]


async def an_absent_client_is_waited_for_message_cache_ttl() -> None:
    came, network = Recorder(), Network()
    async with network.server(on_connect=came, message_cache_ttl=100.0):
        for away in (0.0, 90.0, 250.0):
            await trio.sleep(away)
            peer = await joined(network, uuid=PEER_UUID)
            await peer.aclose()
            await settle()
        assert [metadata["resumed"] for _, metadata in came.calls] == [False, True, False]


# -- given up, and told


async def what_is_not_acknowledged_in_time_is_given_up_and_told(row: Row) -> None:
    side, told = side_of(row), Recorder()
    limits = {"message_cache_ttl": 5.0, "on_undelivered": told}
    async with _without_acks(side, **limits) as (subject, send):
        assert await send("in vain")
        await settle()
        assert subject.get_stats()["outbox_size"] == 1
        began = trio.current_time()
        envelope, reason = await told.wait()
        assert 5.0 <= trio.current_time() - began <= 10.0
        assert (envelope["type"], text_of(envelope)) == ("sys_std", "in vain")
        assert "message_cache_ttl" in reason
        stats = subject.get_stats()
        assert (stats["messages_expired"], stats["messages_undelivered"], stats["outbox_size"]) == (1, 1, 0)


async def time_is_looked_at_every_cleanup_interval(row: Row) -> None:
    for interval in (2.0, 40.0):
        told = Recorder()
        fields = {"message_cache_ttl": 50.0, "message_cache_cleanup_interval": interval, "on_undelivered": told}
        async with _without_acks(side_of(row), **fields) as (_subject, send):
            began = trio.current_time()
            assert await send("in vain")
            await told.wait()
            assert trio.current_time() - began <= 50.0 + interval


async def what_remains_when_it_stops_is_told(row: Row) -> None:
    told = Recorder()
    async with _without_acks(side_of(row), on_undelivered=told) as (_subject, send):
        assert await send("in vain")
    (envelope, _reason) = await told.wait()
    assert text_of(envelope) == "in vain"


# -- bounded


async def an_outbox_is_bounded_in_messages(row: Row) -> None:
    fields = {"message_cache_max_size": 3, "when_full": "refuse"}
    async with _without_acks(side_of(row), **fields) as (subject, send):
        assert [await send(number) for number in range(5)] == [True] * 3 + [False] * 2
        assert subject.get_stats()["outbox_size"] == 3


async def an_outbox_is_bounded_in_bytes(row: Row) -> None:
    fields = {"message_cache_max_bytes": 3000, "when_full": "refuse"}
    async with _without_acks(side_of(row), **fields) as (_subject, send):
        assert [await send("x" * 1000) for _ in range(4)] == [True, True, False, False]
    async with _without_acks(side_of(row), **fields) as (_subject, send):
        assert await send("x" * 10_000), "one that is larger may stand alone"
        assert not await send("x")


async def a_full_outbox_refuses_waits_or_closes(row: Row) -> None:
    side = side_of(row)
    for when_full, seconds in (("refuse", 0.0), ("wait", 4.0), ("close", 0.0)):
        gone = Recorder()
        fields = {"message_cache_max_size": 1, "when_full": when_full, "send_timeout": 4.0, "on_disconnect": gone}
        async with _without_acks(side, **fields) as (subject, send):
            assert await send("first")
            began = trio.current_time()
            assert not await send("second")
            assert trio.current_time() == began + seconds
            if when_full == "close":
                await gone.wait()
                if side == "server":
                    assert gone.calls[0][1]["close_code"] == 1013
                    assert subject.get_stats()["slow_consumers_closed"] == 1
            else:
                assert gone.calls == []


async def a_client_waits_for_room() -> None:
    network = Network()
    fields = {"message_cache_max_size": 1, "send_timeout": 100.0}
    async with network.server() as server, network.client(**fields) as client:
        await client.connect()
        for number in range(50):
            assert await client.send_message(text_message(number)), "the default is to wait"
        await settle()
        assert server.get_stats()["messages_received"] == 50


# -- durable


@real_sockets
async def accepted_messages_outlive_their_sender(row: Row) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "outbox.db")
        await (_through_a_server if side_of(row) == "server" else _through_a_client)(path)


async def _through_a_client(path: str) -> None:
    network, heard = Network(), Recorder()
    fields = {"outbox_path": path, "connect_timeout": 0.05, "max_reconnect_attempts": 0}
    async with network.client(**fields) as client:
        assert not await client.connect(), "there is no server"
        assert await client.send_message(text_message("kept"))
    async with network.server(on_message=heard), network.client(**fields) as client:
        assert client.get_stats()["outbox_size"] == 1
        assert await client.connect()
        message, _ = await heard.wait()
        assert content(message) == "kept"


async def _through_a_server(path: str) -> None:
    network = Network()
    fields = {"outbox_path": path, "shutdown_timeout": 0.05}
    async with network.server(**fields) as server:
        peer = await joined(network, uuid=PEER_UUID)
        await peer.aclose()
        await settle()
        assert await server.broadcast_message(text_message("kept")) == {PEER_UUID: True}
    async with network.server(**fields) as server:
        assert server.get_stats()["outbox_size"] == 1
        peer = await joined(network, uuid=PEER_UUID)
        assert text_of(await peer.hear()) == "kept"
        await peer.aclose()
