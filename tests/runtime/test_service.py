"""How everything ends: in which order, and how long it may take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from tests.memory import text_message
from tests.server.peer import KEY, Peer, acked, joined, standard, text_frame, text_of
from tests.transport.raw import memory_pair, request

if TYPE_CHECKING:
    from tests.memory import MemoryServer, Network

SETTLED = trio.testing.wait_all_tasks_blocked


async def forever(*_: Any) -> None:
    await trio.sleep_forever()


async def listen(peer: Peer, heard: list[Any]) -> None:
    """Everything up to the close, which is answered, and the end."""
    heard.extend(await peer.hear_all())
    heard.append(await peer.closed())
    await peer.until_end()
    await peer.aclose()


class TestStopping:
    async def test_what_runs_and_what_waits_is_finished_and_its_replies_leave(
        self, network: Network, nursery: trio.Nursery
    ) -> None:
        heard: list[Any] = []

        async def on_message(message: Any, _metadata: Any) -> None:
            await trio.sleep(2)
            assert all(
                (await server.send_message(text_message(message.message_segment.data, to=KEY, platform="p"))).values()
            )

        server = network.server(on_auth=lambda _: True, on_message=on_message, max_concurrent_handlers=1)
        async with server:
            peer = await joined(network, platform="p")
            for number in range(4):
                await peer.say(standard(text=number))
            await SETTLED()
            nursery.start_soon(listen, peer, heard)
        assert trio.current_time() == 8
        assert [text_of(message) for message in heard[:-1]] == [0, 1, 2, 3]
        assert heard[-1] == (1001, "server stopping")

    async def test_handlers_that_outrun_the_shutdown_timeout_are_cancelled(self, network: Network) -> None:
        ended = []

        async def on_message(*_: Any) -> None:
            try:
                await trio.sleep_forever()
            finally:
                ended.append(trio.current_time())

        async with network.server(on_message=on_message, shutdown_timeout=3, max_concurrent_handlers=2) as server:
            peer = await joined(network)
            await peer.send(text_frame(standard()) * 5)
            await SETTLED()
            await peer.aclose()
            await server.stop()
            assert trio.current_time() == 3
        assert ended == [3.0, 3.0]

    async def test_each_connection_is_told_1001_at_the_same_time(self, network: Network) -> None:
        async with network.server(close_timeout=5) as server:
            for _ in range(20):
                await joined(network)
            await server.stop()
            assert trio.current_time() == 5
        assert network.served_streams == set()

    @pytest.mark.parametrize("hook", ["on_connect", "on_disconnect"])
    async def test_hooks_count_as_handlers(self, network: Network, hook: str) -> None:
        ended = []

        async def hangs(*_: Any) -> None:
            try:
                await trio.sleep_forever()
            finally:
                ended.append(trio.current_time())

        async with network.server(**{hook: hangs}, shutdown_timeout=3, auth_timeout=1000, ping_interval=0) as server:
            before = await joined(network)
            await SETTLED()
            await before.aclose()
            await SETTLED()
            await trio.sleep(100)
            assert ended == []
            await server.stop()
            assert trio.current_time() <= 103.1
        assert ended == [103.0]

    async def test_hooks_that_the_stop_itself_calls_have_no_longer(self, network: Network) -> None:
        async with network.server(on_disconnect=forever, shutdown_timeout=3, close_timeout=100) as server:
            peer = await joined(network)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(server.stop)
                await peer.closed()
                await peer.aclose()
            assert trio.current_time() == 3

    async def test_a_hook_that_fails_while_it_is_cut_off_changes_nothing(self, network: Network, log: Any) -> None:
        async def untidy(*_: Any) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                try:
                    await trio.sleep_forever()
                finally:
                    raise ValueError("while tidying up")

        async with network.server(on_disconnect=untidy, shutdown_timeout=3):
            await (await joined(network)).aclose()
            await SETTLED()
        assert "while tidying up" in log.text

    @pytest.mark.parametrize("ticks", range(0, 40, 2))
    async def test_who_is_let_in_at_the_very_end_is_told_at_once_too(self, network: Network, ticks: int) -> None:
        """From the first tick of a handshake to its last: whatever is under way never holds up the end."""
        async with network.server(on_auth=lambda _: True, shutdown_timeout=50, close_timeout=1) as server:
            peer = Peer(network.connect())
            await peer.send(request(target=b"/ws"))
            for _ in range(ticks):
                await trio.lowlevel.checkpoint()
            await server.stop()
            assert trio.current_time() <= 2
            said = await peer.until_end()
            assert said == b"" or said.startswith((b"HTTP/1.1 503 ", b"HTTP/1.1 101 "))
        assert network.served_streams == set()

    async def test_who_is_let_in_while_all_others_are_sent_away_is_told_at_once(
        self, network: Network, nursery: trio.Nursery
    ) -> None:
        admitted = trio.Event()

        def on_auth(_metadata: Any) -> bool:
            admitted.set()
            return True

        async with network.server(on_auth=on_auth, shutdown_timeout=50, close_timeout=5) as server:
            peer = Peer(network.connect(memory_pair(16)))
            nursery.start_soon(peer.send, request(target=b"/ws"))
            await admitted.wait()
            start = trio.current_time()
            nursery.start_soon(server.stop)
            assert (await peer.answer()).status == 101
            assert await peer.closed() == (1001, "server stopping")
            await peer.aclose()
        assert trio.current_time() < start + 2

    async def test_a_handshake_whose_answer_nobody_reads_does_not_hold_it_up(self, network: Network) -> None:
        async with network.server(
            on_auth=lambda _: True, handshake_timeout=50, shutdown_timeout=5, close_timeout=5
        ) as server:
            peer = Peer(network.connect(trio.testing.lockstep_stream_pair()))
            await peer.send(request(target=b"/ws"))
            await SETTLED()
            await server.stop()
            assert trio.current_time() <= 10
            assert not server.is_running()


class TestCancelling:
    async def test_handlers_end_at_once_while_what_is_queued_still_leaves(
        self, network: Network, nursery: trio.Nursery
    ) -> None:
        heard: list[Any] = []
        ended = []

        async def on_message(*_: Any) -> None:
            try:
                await trio.sleep_forever()
            finally:
                ended.append(trio.current_time())

        with trio.CancelScope() as scope:
            async with network.server(on_auth=lambda _: True, on_message=on_message, close_timeout=5) as server:
                peer = await slow_peer(network, platform="p")
                nursery.start_soon(listen, peer, heard)
                await peer.send(b"".join(text_frame(standard(f"m{number}")) for number in range(3)))
                await trio.sleep(10)
                for number in range(50):
                    await server.send_message(text_message(number, to=KEY, platform="p"))
                start = trio.current_time()
                scope.cancel()
        assert scope.cancelled_caught
        assert ended == [start] * 3
        assert trio.current_time() < start + 5
        await SETTLED()
        assert [acked(message) for message in heard[:3]] == ["m0", "m1", "m2"]
        assert [text_of(message) for message in heard[3:-1]] == [*range(50)]
        assert heard[-1] == (1001, "server stopping")

    async def test_peers_that_do_not_answer_cost_no_more_than_close_timeout(self, network: Network) -> None:
        with trio.CancelScope() as scope:
            async with network.server(close_timeout=5):
                for _ in range(5):
                    await joined(network)
                stuck = Peer(network.connect(trio.testing.lockstep_stream_pair()))
                await stuck.send(request(target=b"/ws"))
                await stuck.answer()
                scope.cancel()
        assert trio.current_time() == 5
        assert network.served_streams == set()

    async def test_nor_does_a_handshake_whose_answer_nobody_reads(self, network: Network) -> None:
        patient = {"handshake_timeout": 50, "shutdown_timeout": 50, "close_timeout": 5}
        with trio.CancelScope() as scope:
            async with network.server(on_auth=lambda _: True, **patient):
                stuck = Peer(network.connect(trio.testing.lockstep_stream_pair()))
                await stuck.send(request(target=b"/ws"))
                await SETTLED()
                scope.cancel()
        assert trio.current_time() == 5
        assert network.served_streams == set()

    async def test_a_cancelled_stop_that_waits_for_handlers_becomes_short(self, network: Network) -> None:
        async def on_message(*_: Any) -> None:
            await trio.sleep_forever()

        with trio.CancelScope() as scope:
            async with (
                network.server(on_message=on_message, shutdown_timeout=1000) as server,
                trio.open_nursery() as inner,
            ):
                peer = await joined(network)
                await peer.say(standard())
                await SETTLED()
                await peer.aclose()
                inner.start_soon(server.stop)
                await trio.sleep(10)
                scope.cancel()
        assert trio.current_time() == 10
        assert not server.is_running()

    async def test_hooks_under_way_are_cancelled_too(self, network: Network, log: Any) -> None:
        ended = []

        async def hangs(*_: Any) -> bool:
            try:
                await trio.sleep_forever()
            finally:
                ended.append(trio.current_time())
            return True

        with trio.CancelScope() as scope:
            async with network.server(
                on_disconnect=hangs, on_connect=hangs, close_timeout=5, auth_timeout=1000
            ) as server:
                await (await joined(network)).aclose()
                await SETTLED()
                server.config.on_auth = hangs
                await Peer(network.connect()).send(request(target=b"/ws"))
                await SETTLED()
                scope.cancel()
        assert ended == [0.0, 0.0, 0.0]
        assert log.having("too long") == []
        assert network.served_streams == set()

    async def test_nothing_is_left_registered(self, network: Network) -> None:
        server: MemoryServer = network.server()
        with trio.CancelScope() as scope:
            async with server:
                for number in range(3):
                    await (await joined(network, uuid=str(number))).aclose()
                    await joined(network, uuid=str(number))
                scope.cancel()
        assert (server.get_connection_count(), server.get_user_count(), server.get_user_connections("sys_default")) == (
            0,
            0,
            set(),
        )
        assert server._sessions.pending == 0
        assert server._sessions._sessions == {}


async def slow_peer(network: Network, **credentials: str) -> Peer:
    """Its line carries 64 bytes each 10 ms."""
    peer = Peer(network.connect(memory_pair(64)))
    assert (await peer.upgrade(**credentials)).status == 101
    return peer
