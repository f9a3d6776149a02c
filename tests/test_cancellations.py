"""Servers that are cancelled at every step there is: afterwards nothing is registered, runs or is open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from tests.memory import Network, text_message
from tests.server.peer import KEY, Peer, joined, standard, text_frame, text_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.memory import MemoryServer

CLOSE_TIMEOUT = 3.0


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope after so many steps of all tasks together. A step is what a task does between two awaits."""

    def __init__(self, scope: trio.CancelScope, steps: int) -> None:
        self._scope = scope
        self._left = steps
        self.at: float | None = None
        """When that was, None as long as it was not."""

    def after_task_step(self, _task: trio.lowlevel.Task) -> None:
        self._left -= 1
        if self._left == 0:
            self.at = trio.current_time()
            self._scope.cancel()


async def cancelled_at(steps: int, call: Callable[[], Awaitable[Any]]) -> float | None:
    """When `call` was cancelled; None when it needs fewer steps."""
    with trio.CancelScope() as scope:
        instrument = CancelAtStep(scope, steps)
        trio.lowlevel.add_instrument(instrument)
        try:
            await call()
        finally:
            trio.lowlevel.remove_instrument(instrument)
    return instrument.at


def run(program: Callable[[int], Awaitable[float | None]]) -> int:
    """Runs `program` in virtual time with 1, 2, 3 … steps until it was through before it was cancelled."""
    steps = 1
    while trio.run(program, steps, clock=trio.testing.MockClock(autojump_threshold=0)) is not None:
        steps += 1
    return steps


async def pause(*_: Any) -> None:
    for _ in range(3):
        await trio.lowlevel.checkpoint()


async def yes(_metadata: Any) -> bool:
    await pause()
    return True


async def extract(metadata: dict[str, Any]) -> str:
    await pause()
    return "user of " + metadata["api_key"]


def hooks() -> dict[str, Any]:
    """Every callback there is, with awaits in each."""
    return {
        "on_auth": yes,
        "on_auth_extract_user": extract,
        "on_connect": pause,
        "on_disconnect": pause,
        "on_message": pause,
    }


def is_clean(server: MemoryServer, network: Network) -> None:
    """Nothing is left of the server, and nothing of what it accepted."""
    assert not server.is_running()
    assert server.get_connection_count() == server.get_user_count() == server._connection_tasks == 0
    assert (server._sessions.pending, server._sessions._sessions, server._opening) == (0, {}, {})
    assert server._registry._by_key == server._registry._by_user == {}
    assert server.deciding == server.links == set()
    assert server.get_coroutine_status()["active_handler_tasks"] == 0
    assert network.served_streams == set()


async def a_full_life(network: Network, server: MemoryServer) -> None:
    """Handshake, messages, a replacement, sending, sending away, a refusal, stopping."""
    async with server:
        peer = await joined(network, uuid="u1", platform="p")
        await peer.send(text_frame(standard("m1")) * 2)
        await peer.hear_acks(2)
        newer = await joined(network, uuid="u1", platform="p")
        assert (await peer.closed())[0] == 4001
        await server.send_message(text_message(to=KEY, platform="p"))
        text_of(await newer.hear())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.disconnect, "u1")
            await newer.closed()
        assert (await Peer(network.connect()).upgrade(key="bad\x01")).status == 400
        last = await joined(network)
        await last.say(b"nonsense")
        await last.hear()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.stop)
            await last.closed()


class TestTheWholeServer:
    def test_cancelled_anywhere_it_leaves_nothing_behind(self) -> None:
        async def program(steps: int) -> float | None:
            network = Network()
            server = network.server(**hooks(), close_timeout=CLOSE_TIMEOUT)
            cut = await cancelled_at(steps, lambda: a_full_life(network, server))
            assert cut is None or trio.current_time() <= cut + CLOSE_TIMEOUT + 0.01
            is_clean(server, network)
            return cut

        assert run(program) > 200

    def test_peers_that_stay_are_told_as_far_as_they_were_let_in(self) -> None:
        async def program(steps: int) -> float | None:
            network = Network()
            server = network.server(**hooks(), close_timeout=CLOSE_TIMEOUT)
            answers: list[bytes] = []

            async def stay() -> None:
                peer = Peer(network.connect())
                answer = await peer.upgrade(uuid="u1")
                if answer.status == 101:
                    await peer.say(standard("m1"))
                    answers.append((await peer.closed())[0].to_bytes(2, "big"))
                    await peer.aclose()

            async def serve() -> None:
                async with server:
                    started.set()
                    await trio.sleep(1)

            started = trio.Event()
            with trio.move_on_after(10):
                async with trio.open_nursery() as nursery:

                    async def come_in() -> None:
                        await started.wait()
                        try:
                            await stay()
                        except (AssertionError, OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                            answers.append(b"")  # cut off before it had its answer

                    nursery.start_soon(come_in)
                    cut = await cancelled_at(steps, serve)
                    assert cut is None or trio.current_time() <= cut + CLOSE_TIMEOUT + 0.01
                    is_clean(server, network)
                    nursery.cancel_scope.cancel()
            assert set(answers) <= {b"", (1001).to_bytes(2, "big")}
            return cut

        assert run(program) > 30

    def test_a_stop_that_is_cut_short_anywhere_is_as_clean(self) -> None:
        async def program(steps: int) -> float | None:
            network = Network()
            server = network.server(
                **{**hooks(), "on_message": forever, "on_disconnect": forever}, close_timeout=CLOSE_TIMEOUT
            )
            cut = None
            with trio.CancelScope() as outer:
                async with server:
                    for number in range(3):
                        peer = await joined(network, uuid=str(number))
                        await peer.say(standard("m"))
                        await peer.hear()
                    await (await joined(network)).aclose()
                    await Peer(network.connect()).send(b"GET /ws HTTP/1.1\r\n")
                    await trio.testing.wait_all_tasks_blocked()
                    start = trio.current_time()
                    cut = await cancelled_at(steps, server.stop)
                    outer.cancel()
            assert trio.current_time() - start <= server.config.shutdown_timeout + CLOSE_TIMEOUT + 0.01
            is_clean(server, network)
            return cut

        assert run(program) > 1


async def forever(*_: Any) -> None:
    await trio.sleep_forever()


class TestSingleCalls:
    def test_a_cancelled_start_can_be_repeated(self) -> None:
        async def program(steps: int) -> float | None:
            network = Network()
            server = network.server(**hooks(), close_timeout=CLOSE_TIMEOUT)
            async with trio.open_nursery() as nursery:
                cut = await cancelled_at(steps, lambda: server.start(nursery))
                if not server.is_running():
                    is_clean(server, network)
                    assert nursery.child_tasks == frozenset()
                    await server.start(nursery)
                await (await joined(network)).aclose()
                await server.stop()
                is_clean(server, network)
            return cut

        assert run(program) > 3

    def test_a_cancelled_send_reaches_all_or_nobody_and_breaks_no_frame(self) -> None:
        async def program(steps: int) -> float | None:
            network = Network()
            async with network.server(on_auth=yes, on_auth_extract_user=extract, close_timeout=CLOSE_TIMEOUT) as server:
                peers = [await joined(network, platform="p") for _ in range(3)]
                message = text_message("first", to=KEY, platform="p")
                cut = await cancelled_at(steps, lambda: server.send_message(message))
                await server.send_message(text_message("second", to=KEY, platform="p"))
                heard = [text_of(await peer.hear()) for peer in peers]
                assert heard in (["first"] * 3, ["second"] * 3)
                if heard[0] == "first":
                    assert [text_of(await peer.hear()) for peer in peers] == ["second"] * 3
                for peer in peers:
                    await peer.aclose()
            is_clean(server, network)
            return cut

        assert run(program) > 3

    @pytest.mark.parametrize("answers", [True, False])
    def test_a_cancelled_disconnect_has_closed_the_connection(self, answers: bool) -> None:
        async def program(steps: int) -> float | None:
            network = Network()
            async with network.server(**hooks(), close_timeout=CLOSE_TIMEOUT) as server:
                peer, other = await joined(network, uuid="u1"), await joined(network, uuid="u2")
                await trio.testing.wait_all_tasks_blocked()
                async with trio.open_nursery() as nursery:
                    if answers:
                        nursery.start_soon(close_or_lose, peer)
                    cut = await cancelled_at(steps, lambda: server.disconnect("u1"))
                    nursery.cancel_scope.cancel()
                await trio.sleep(CLOSE_TIMEOUT)
                assert set(server.get_connections()) - {"u1"} == {"u2"}
                if cut is not None and steps > 1:
                    assert set(server.get_connections()) == {"u2"}
                assert len(network.served_streams) == server.get_connection_count()
                await other.say(standard("m1"))
                assert await other.hear_acks(1) == ["m1"]
                await other.aclose()
                await peer.aclose()
            is_clean(server, network)
            return cut

        assert run(program) > 3


async def close_or_lose(peer: Peer) -> None:
    try:
        await peer.closed()
    except (AssertionError, trio.BrokenResourceError):
        assert peer.unread == b""
    await peer.aclose()
