"""One peer that raises, stalls, floods or vanishes ends its own connection at most. Over real sockets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from maim_trio.server import ServerConfig, WebSocketServer
from tests.e2e.conftest import BAD, GOOD
from tests.server.peer import Peer, custom, standard, text_frame
from tests.transport.raw import PING, TEXT, masked, request

if TYPE_CHECKING:
    from tests.e2e.conftest import Arena

MIB = 1 << 20
DESCRIPTORS = Path("/proc/self/fd")


async def raises(*_: Any) -> None:
    raise ExceptionGroup("many things at once", [ValueError("one"), KeyError("two")])


async def stalls(*_: Any) -> None:
    await trio.sleep_forever()


def many_for_x(count: int) -> bytes:
    """Messages m0, m1, … for the handler x."""
    return b"".join(text_frame(custom("custom_x", {}, f"m{number}")) for number in range(count))


class TestHandlers:
    @pytest.mark.server_config(custom_handlers={"x": raises})
    async def test_one_that_raises_for_each_message(self, arena: Arena) -> None:
        peer = await arena.joined()
        await peer.send(many_for_x(50))
        assert await peer.hear_acks(50) == [f"m{number}" for number in range(50)]
        await arena.until(lambda: arena.server.get_stats()["handler_errors"] == 50)
        await arena.good_client_notices_nothing()

    @pytest.mark.server_config(
        custom_handlers={"x": stalls}, max_concurrent_handlers_per_connection=3, max_concurrent_handlers=5, inbox_size=4
    )
    async def test_one_that_never_ends_takes_no_more_than_its_connections_share(self, arena: Arena) -> None:
        peer = await arena.joined()
        await peer.send(many_for_x(50))
        assert await peer.hear_acks(7) == [f"m{number}" for number in range(7)]
        assert arena.server.get_coroutine_status()["active_handler_tasks"] >= 3
        await arena.good_client_notices_nothing()

    @pytest.mark.server_config(custom_handlers={"x": stalls}, handler_timeout=0.05)
    async def test_one_that_outruns_its_time(self, arena: Arena) -> None:
        peer = await arena.joined()
        await peer.send(many_for_x(20))
        await arena.until(lambda: arena.server.get_stats()["handler_timeouts"] == 20)
        await arena.good_client_notices_nothing()


class TestHooks:
    async def test_one_that_thinks_for_long_about_somebody_else(self, arena: Arena) -> None:
        thinking = trio.Event()

        async def on_auth(metadata: dict[str, Any]) -> bool:
            if metadata["api_key"] == BAD:
                thinking.set()
                await trio.sleep_forever()
            return True

        arena.server.config.on_auth = on_auth
        arena.server.config.auth_timeout = 0.3
        slow = await arena.peer()
        await slow.send(request(target=b"/ws?api_key=" + BAD.encode()))
        await thinking.wait()
        for number in range(20):
            await arena.joined(key="another key", uuid=str(number))
        assert arena.server.get_connection_count() == 21
        await arena.good_client_notices_nothing()
        assert (await slow.answer()).status == 503

    @pytest.mark.server_config(on_connect=stalls, auth_timeout=0.05, on_disconnect=raises)
    async def test_those_around_a_connection_that_stall_and_raise(self, arena: Arena) -> None:
        for _ in range(3):
            peer = await arena.joined()
            await peer.say(standard("m1"))
            assert await peer.hear_acks(1) == ["m1"]
            await peer.close(settle=False)
        await arena.until(lambda: arena.server.get_stats()["handler_errors"] == 3)
        assert arena.server.get_stats()["handler_timeouts"] == 4
        await arena.good_client_notices_nothing()


class TestPeers:
    @pytest.mark.server_config(send_timeout=0.3, message_cache_max_bytes=MIB)
    async def test_one_that_never_reads_is_refused_then_cut_off(
        self, arena: Arena, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("maim_trio.server._host.EXTRA_QUEUED", 0)
        await arena.joined()
        (link,) = [link for link in arena.server.links if link.bytes_in < 1000 and not link.client][-1:]
        outcomes = []
        while not outcomes or outcomes[-1]:
            sent = await arena.server.send_custom_message("x", {"filler": "x" * 60_000}, connection_uuid="bad")
            outcomes.append(sent["bad"])
            assert link.queued_bytes <= MIB
            await trio.lowlevel.checkpoint()
        assert len(outcomes) > 10
        await arena.good_client_notices_nothing()
        await arena.until(lambda: "bad" not in arena.server.get_connections())
        await arena.good_client_notices_nothing()

    async def test_one_that_pings_and_never_reads(self, arena: Arena) -> None:
        peer = await arena.joined()
        pings = masked(PING, b"x" * 125) * 2000
        with trio.move_on_after(0.3):
            while True:
                await peer.send(pings)
        assert sum(link.queued_bytes for link in arena.server.links) < MIB
        await arena.good_client_notices_nothing()

    @pytest.mark.parametrize(
        "message",
        [standard(), custom("custom_nobody", {}), custom("custom_x", {}), {"type": "sys_later"}],
        ids=["messages", "messages nobody handles", "messages whose handler stalls", "later system types"],
    )
    @pytest.mark.server_config(custom_handlers={"x": stalls}, inbox_size=50)
    async def test_one_that_floods(self, arena: Arena, message: dict[str, Any]) -> None:
        peer = await arena.joined()
        flood = text_frame(message) * 500
        before = len(arena.chat)

        async def send_for_ever() -> None:
            while True:
                await peer.send(flood)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.until_end)
            nursery.start_soon(send_for_ever)
            await arena.until(lambda: len(arena.chat) > before + 5)  # the good client goes on talking meanwhile
            await arena.until(lambda: arena.server.get_stats()["bytes_received"] > 100_000)
            nursery.cancel_scope.cancel()
        await arena.good_client_notices_nothing()

    async def test_many_that_vanish_at_every_moment(self, arena: Arena) -> None:
        data = request(target=b"/ws?api_key=" + BAD.encode()) + text_frame(standard("m1")) * 2

        async def vanish_after(size: int) -> None:
            peer = await arena.peer()
            await peer.send(data[:size])
            await trio.lowlevel.checkpoint()
            await (peer.reset() if size % 2 else peer.aclose())

        async with trio.open_nursery() as nursery:
            for size in range(0, len(data), 3):
                nursery.start_soon(vanish_after, size)
        await arena.until(lambda: arena.server.get_connection_count() == 1)
        await arena.good_client_notices_nothing()

    async def test_one_that_vanishes_while_it_is_sent_to(self, arena: Arena) -> None:
        for _ in range(5):
            peer = await arena.joined()
            for number in range(20):
                await arena.server.send_custom_message("x", {"filler": "x" * 50_000}, connection_uuid="bad")
                if number == 10:
                    await peer.reset()
        await arena.until(lambda: arena.server.get_connection_count() == 1)
        await arena.good_client_notices_nothing()

    async def test_two_that_fight_over_an_id(self, arena: Arena) -> None:
        peers = []
        for _ in range(8):
            peer = await arena.joined(uuid="contested")
            await peer.say(standard("m1"))
            assert await peer.hear_acks(1) == ["m1"]
            peers.append(peer)
        for peer in peers[:-1]:
            await peer.aclose()
        await arena.until(lambda: arena.server.get_connection_count() <= 3)
        await arena.good_client_notices_nothing()

    @pytest.mark.server_config(max_message_size=4 * MIB)
    async def test_one_with_a_message_of_many_megabytes_in_small_pieces(self, arena: Arena) -> None:
        peer = await arena.joined()
        message = masked(
            TEXT, b'{"type": "custom_nobody", "msg_id": "m1", "payload": {"a": "' + b"x" * (3 * MIB) + b'"}}'
        )
        before = len(arena.chat)
        for start in range(0, len(message), 16_384):
            await peer.send(message[start : start + 16_384])
        assert await peer.hear_acks(1) == ["m1"]
        assert len(arena.chat) > before
        await arena.good_client_notices_nothing()


@pytest.mark.skipif(not DESCRIPTORS.exists(), reason="open descriptors can be listed on Linux only")
async def test_after_all_that_no_socket_is_left_open() -> None:
    before = set(os.listdir(DESCRIPTORS))
    config = ServerConfig(host="127.0.0.1", port=0, on_auth=lambda _: True, close_timeout=0.2, shutdown_timeout=0.2)
    config.on_message = stalls
    peers = []
    async with WebSocketServer(config) as server:
        for number in range(30):
            peer = Peer(await trio.open_tcp_stream("127.0.0.1", server.port))
            peers.append(peer)
            if number % 3:
                await peer.upgrade(uuid=f"u{number % 7}")
            if number % 3 == 2:
                await peer.say(standard("m1"))
            if number % 5 == 4:
                await peer.reset()
    for peer in peers:
        await peer.aclose()
    assert set(os.listdir(DESCRIPTORS)) <= before
    assert GOOD not in repr(config)
