"""Starting and stopping, in all forms and from everywhere."""

from __future__ import annotations

import errno
import functools
import socket
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from maim_trio.errors import NotRunning
from maim_trio.server import ServerConfig, WebSocketServer
from tests.server.peer import Peer, custom, joined, standard, text_frame
from tests.transport.raw import request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.memory import Network

SETTLED = trio.testing.wait_all_tasks_blocked


def real_server(**config: Any) -> WebSocketServer:
    return WebSocketServer(ServerConfig(host="127.0.0.1", port=0, on_auth=lambda _: True, **config))


async def can_be_reached(port: int) -> bool:
    try:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
    except OSError:
        return False
    await stream.aclose()
    return True


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


class TestForms:
    """Over sockets: that it really listens is the point."""

    async def test_it_listens_within_the_body_and_no_longer_after_it(self) -> None:
        async with real_server() as server:
            port = server.port
            assert port != 0
            assert server.is_running()
            assert await can_be_reached(port)
        assert not server.is_running()
        assert not await can_be_reached(port)

    async def test_start_returns_when_it_listens_and_stop_when_nothing_is_left(self, nursery: trio.Nursery) -> None:
        server = real_server()
        assert not server.is_running()
        await server.start(nursery)
        port = server.port
        assert await can_be_reached(port)
        await server.stop()
        assert nursery.child_tasks == frozenset()
        assert not server.is_running()
        assert not await can_be_reached(port)

    async def test_run_in_a_nursery_reports_the_server_when_it_listens(self, nursery: trio.Nursery) -> None:
        server = await nursery.start(real_server().run)
        assert await can_be_reached(server.port)
        await server.stop()
        await SETTLED()
        assert nursery.child_tasks == frozenset()

    def test_run_is_a_whole_program(self) -> None:
        async def stop_it(metadata: Any) -> bool:
            await server.stop()
            return metadata is not None

        async def knock() -> None:
            while not (server.is_running() and server.port):
                await trio.lowlevel.checkpoint()
            peer = Peer(await trio.open_tcp_stream("127.0.0.1", server.port))
            assert (await peer.upgrade()).code == "stopping"
            await peer.aclose()

        async def program() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(server.run)
                nursery.start_soon(knock)

        server = real_server()
        server.config.on_auth = stop_it
        trio.run(program)
        assert not server.is_running()

    async def test_cancelling_run_ends_it(self) -> None:
        async with trio.open_nursery() as nursery:
            server = await nursery.start(real_server().run)
            port = server.port
            nursery.cancel_scope.cancel()
        assert not server.is_running()
        assert not await can_be_reached(port)


class TestStartingFails:
    async def test_a_taken_port_is_a_plain_oserror_in_every_form(self, taken_port: int) -> None:
        server = WebSocketServer(ServerConfig(host="127.0.0.1", port=taken_port, on_auth=lambda _: True))
        for form in (_with, _start, server.run):
            with pytest.raises(OSError, match=f"port {taken_port}") as caught:
                await (form() if form == server.run else form(server))
            assert caught.value.errno == errno.EADDRINUSE
            assert not server.is_running()

    def test_also_when_it_is_the_whole_program(self, taken_port: int) -> None:
        server = WebSocketServer(ServerConfig(host="127.0.0.1", port=taken_port, on_auth=lambda _: True))
        with pytest.raises(OSError, match="in use"):
            trio.run(server.run)

    async def test_who_starts_in_a_nursery_learns_it_there_and_the_nursery_lives(
        self, nursery: trio.Nursery, taken_port: int
    ) -> None:
        server = WebSocketServer(ServerConfig(host="127.0.0.1", port=taken_port, on_auth=lambda _: True))
        with pytest.raises(OSError, match="in use"):
            await server.start(nursery)
        assert nursery.child_tasks == frozenset()
        server.config.port = 0
        await server.start(nursery)
        assert await can_be_reached(server.port)
        await server.stop()

    async def test_a_second_start_is_refused_and_the_first_goes_on(self, network: Network) -> None:
        async with network.server() as server, trio.open_nursery() as nursery:
            for form in (functools.partial(server.start, nursery), server.run, server.__aenter__):
                with pytest.raises(NotRunning, match="runs already"):
                    await form()
            await joined(network)
            assert server.get_connection_count() == 1

    async def test_a_nursery_that_has_ended_is_refused_and_another_will_do(self, network: Network) -> None:
        server = network.server()
        async with trio.open_nursery() as ended:
            ended.cancel_scope.cancel()
        with pytest.raises(RuntimeError, match="closed"):
            await server.start(ended)
        assert not server.is_running()
        async with server:
            await joined(network)

    async def test_a_cancelled_start_leaves_nothing_running(self, network: Network) -> None:
        server = network.server()
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                scope.cancel()
                await server.start(nursery)
            assert scope.cancelled_caught
            assert not server.is_running()
            assert nursery.child_tasks == frozenset()
            await server.start(nursery)
            await joined(network)
            await server.stop()


async def _with(server: WebSocketServer) -> None:
    async with server:
        raise AssertionError("not reached")


async def _start(server: WebSocketServer) -> None:
    error: BaseException | None = None
    async with trio.open_nursery() as nursery:
        try:
            await server.start(nursery)
        except OSError as raised:
            error = raised
    assert error is not None
    raise error


class TestTheBody:
    @pytest.mark.parametrize("error", [ValueError("mine"), SystemExit(3), ExceptionGroup("", [ValueError()])], ids=repr)
    async def test_its_exception_leaves_it_as_it_is(self, network: Network, error: BaseException) -> None:
        caught: BaseException | None = None
        try:
            async with network.server():
                await joined(network)
                raise error
        except (Exception, SystemExit) as raised:
            caught = raised
        assert caught is error
        assert network.served_streams == set()

    async def test_nor_is_one_lost_that_comes_together_with_a_cancellation(self, network: Network) -> None:
        async def untidy() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                scope.cancel()
                try:
                    await trio.sleep_forever()
                finally:
                    raise ValueError("mine")

        scope = trio.CancelScope()
        with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="mine"), flatten_subgroups=True), scope:
            async with network.server():
                await untidy()

    async def test_its_own_stop_is_fine(self, network: Network) -> None:
        async with network.server() as server:
            await server.stop()
            assert not server.is_running()

    async def test_a_server_that_fails_takes_it_along(self, network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
        async def broken(*_: Any) -> None:
            raise RuntimeError("a bug of ours")

        server = network.server()
        monkeypatch.setattr(server, "_handle", broken)
        with pytest.RaisesGroup(RuntimeError, flatten_subgroups=True):
            async with server:
                await (await joined(network)).say(standard())
                await trio.sleep_forever()
        assert not server.is_running()


class TestStopping:
    async def test_it_is_idempotent_and_may_come_before_any_start(self, network: Network) -> None:
        server = network.server()
        await server.stop()
        async with server:
            await server.stop()
            await server.stop()
        await server.stop()

    async def test_from_several_tasks_at_once_all_return_at_the_end(self, network: Network) -> None:
        returned = []

        async def stop() -> None:
            await server.stop()
            returned.append((server.is_running(), len(network.served_streams)))

        async with network.server(on_message=_sleep_5) as server:
            peer = await joined(network)
            await peer.say(standard())
            await SETTLED()
            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(stop)
                await SETTLED()
                assert returned == []
                await peer.closed()
                await peer.aclose()
        assert returned == [(False, 0)] * 5

    async def test_cancelling_the_call_does_not_take_it_back(self, network: Network) -> None:
        async with network.server(on_message=_sleep_5) as server:
            peer = await joined(network)
            await peer.say(standard())
            await SETTLED()
            with trio.move_on_after(1) as scope:
                await server.stop()
            assert scope.cancelled_caught
            assert server.is_running()
            assert (await peer.closed())[0] == 1001
            assert trio.current_time() == 5
            await peer.aclose()
            await SETTLED()
            assert not server.is_running()

    async def test_in_the_middle_of_starting_it_ends_that(self, network: Network) -> None:
        server = network.server()

        async def slow() -> Any:
            await trio.sleep(100)

        server.open_listeners = slow  # type: ignore[method-assign]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.start, nursery)
            await SETTLED()
            assert server.is_running()
            await server.stop()
            assert not server.is_running()
        assert trio.current_time() == 0

    @pytest.mark.parametrize(
        "callback", ["on_message", "custom", "on_connect", "on_auth", "on_disconnect", "child task"]
    )
    async def test_from_one_of_its_own_callbacks_it_only_begins(self, network: Network, callback: str) -> None:
        returned = trio.Event()

        async def stop(*_: Any) -> bool:
            if callback == "child task":
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(server.stop)
            else:
                await server.stop()
            returned.set()
            return True

        hooks = {"custom": {"custom_handlers": {"stop": stop}}, "child task": {"on_message": stop}}
        server = network.server(close_timeout=1, **hooks.get(callback, {callback: stop}))
        async with trio.open_nursery() as nursery:
            await server.start(nursery)
            peer = Peer(network.connect())
            await peer.send(request(target=b"/ws"))
            if callback != "on_auth":
                await peer.head()
                await peer.send(text_frame(standard()) + text_frame(custom("custom_stop")))
                await SETTLED()
            await (peer.close() if callback == "on_disconnect" else peer.until_end())
            await peer.aclose()
        assert returned.is_set() or callback == "on_auth"  # whose own handshake is answered 503 instead
        assert not server.is_running()
        assert trio.current_time() <= 1

    async def test_afterwards_it_can_be_started_again(self, network: Network) -> None:
        seen = []
        server = network.server(on_message=lambda message, _: seen.append(message.message_segment.data))
        for number in range(3):
            async with server:
                peer = await joined(network, uuid="u1")
                await peer.say(standard("m1", number))
                assert await peer.hear_acks(1) == ["m1"]
                await SETTLED()
                assert (server.get_connection_count(), server.get_user_count()) == (1, 1)
            assert (server.get_connection_count(), server.get_user_count()) == (0, 0)
            await server.stop()
        assert seen == [0, 1, 2]
        assert server.get_stats()["messages_processed"] == 3

    async def test_after_a_stop_that_cut_handlers_off_too(self, network: Network) -> None:
        seen = []

        async def on_message(message: Any, _metadata: Any) -> None:
            seen.append(message.message_segment.data)
            await trio.sleep_forever()

        server = network.server(on_message=on_message, shutdown_timeout=1, max_concurrent_handlers=1)
        for number in range(3):
            async with server:
                peer = await joined(network, uuid="u1")
                await peer.send(text_frame(standard(text=number)) * 3)
                await SETTLED()
                assert server.get_coroutine_status()["active_handler_tasks"] == 1
        assert seen == [0, 1, 2]


async def _sleep_5(*_: Any) -> None:
    await trio.sleep(5)


async def test_what_runs_has_few_enough_attributes_for_fast_methods(network: Network) -> None:
    """CPython 3.11 looks methods up the slow way in objects with more than thirty."""
    async with network.server() as server, network.client() as client:
        await client.connect()
        assert max(len(vars(server)), len(vars(client))) <= 30
