"""Starting, running and stopping: the same for servers and both clients."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import pytest
import trio

from maim_trio.errors import NotRunning
from maim_trio.server import ServerConfig, WebSocketServer
from tests.checklist.behaviour import real_sockets
from tests.checklist.world import NAME, SIDES, Gate, Recorder, beside, linked, made, settle, side_of, talking
from tests.memory import Network
from tests.server.peer import joined

if TYPE_CHECKING:
    from tests.checklist.rows import Row

EACH_SIDE = sorted(set(SIDES.values()))


class BodyFailed(Exception):
    """What the body of an ``async with`` raises."""


async def it_says_whether_it_runs() -> None:
    for side in EACH_SIDE:
        subject = made(side, Network())
        assert not subject.is_running()
        async with trio.open_nursery() as nursery:
            await subject.start(nursery)
            assert subject.is_running()
            await subject.stop()
            assert not subject.is_running()


async def async_with_starts_and_stops() -> None:
    for side in EACH_SIDE:
        async with made(side, Network()) as subject:
            assert subject.is_running()
        assert not subject.is_running()


async def run_runs_until_stopped() -> None:
    for side in EACH_SIDE:
        subject = made(side, Network(), **_hopeless(side))
        async with trio.open_nursery() as nursery:
            assert await nursery.start(subject.run) is subject
            assert subject.is_running()
            await subject.stop()
        assert not subject.is_running()


def _hopeless(side: str) -> dict[str, Any]:
    """Nobody listens in an empty network: no connecting for longer than this."""
    return {} if side == "server" else {"connect_timeout": 0.5}


async def stopping_twice_is_fine() -> None:
    for side in EACH_SIDE:
        async with talking(side) as talk:
            await talk.subject.stop()
            await talk.subject.stop()
            assert not talk.subject.is_running()
        subject = made(side, Network())
        await subject.stop()


async def it_starts_again() -> None:
    for side in EACH_SIDE:
        async with talking(side) as talk, trio.open_nursery() as nursery:
            await talk.subject.stop()
            await talk.subject.start(nursery)
            assert talk.subject.is_running()
            if side != "server":
                assert await talk.subject.connect() in (True, {NAME: True})
            await talk.subject.stop()


async def starting_twice_is_refused() -> None:
    for side in EACH_SIDE:
        async with made(side, Network()) as subject, trio.open_nursery() as nursery:
            with pytest.raises(NotRunning):
                await subject.start(nursery)
            assert subject.is_running()


async def an_error_in_the_body_comes_out_as_it_is() -> None:
    for side in EACH_SIDE:
        with pytest.raises(BodyFailed):
            async with made(side, Network()):
                raise BodyFailed


async def a_callback_may_stop() -> None:
    returned = Recorder()

    async def stops(_message: Any, _metadata: Any) -> None:
        await subjects[-1].stop()
        returned()

    subjects: list[Any] = []
    for count, side in enumerate(EACH_SIDE, start=1):
        async with talking(side, on_message=stops) as talk:
            subjects.append(talk.subject)
            await talk.say("stop")
            await returned.wait(count)
            await talk.subject.stop()
            assert not talk.subject.is_running()


async def cancelling_ends_everything() -> None:
    for side in EACH_SIDE:
        gate, subject = Gate(), None
        with trio.CancelScope() as scope:
            async with talking(side, on_message=gate) as talk:
                subject = talk.subject
                await talk.say("hello")
                await settle()
                assert gate.running == 1
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert not subject.is_running()
        assert gate.running == 0


# -- the server


async def starting_a_server_returns_once_it_listens() -> None:
    network = Network()
    server = network.server()
    async with trio.open_nursery() as nursery:
        await server.start(nursery)
        peer = await joined(network)
        assert server.get_connection_count() == 1
        async with beside(peer.aclose):
            await server.stop()


@real_sockets
async def a_server_listens_on_host_and_port() -> None:
    connected = Recorder()
    server = WebSocketServer(ServerConfig(host="127.0.0.1", port=0, on_connect=connected))
    assert server.port == 0
    async with server:
        assert server.port > 0
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        request = b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        request += b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        await stream.send_all(request)
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 101")
        _, metadata = await connected.wait()
        assert metadata["client_ip"] == "127.0.0.1"
        await stream.aclose()


@real_sockets
async def a_taken_port_is_an_oserror() -> None:
    async with WebSocketServer(ServerConfig(host="127.0.0.1", port=0)) as server, trio.open_nursery() as nursery:
        with pytest.raises(OSError, match=str(server.port)) as refused:
            await WebSocketServer(ServerConfig(host="127.0.0.1", port=server.port)).start(nursery)
        assert refused.value.errno == errno.EADDRINUSE


async def stopping_a_server_closes_all_connections() -> None:
    network = Network()
    async with network.server() as server:
        peers = [await joined(network) for _ in range(3)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.stop)
            assert [await peer.closed() for peer in peers] == [(1001, "server stopping")] * 3
            for peer in peers:
                await peer.aclose()
        assert server.get_connection_count() == 0
        assert network.listener is not None
        with pytest.raises(ConnectionRefusedError):
            network.connect()


# -- the clients


async def starting_a_client_does_not_connect() -> None:
    network = Network()
    async with network.server() as server, trio.open_nursery() as nursery:
        client = network.client()
        await client.start(nursery)
        await trio.sleep(60)
        assert (client.is_running(), client.is_connected(), server.get_connection_count()) == (True, False, 0)
        await client.stop()


async def running_a_client_connects_it() -> None:
    network = Network()
    async with network.server(), trio.open_nursery() as nursery:
        client = await nursery.start(network.client().run)
        await client.wait_connected()
        assert client.is_connected()
        await client.stop()


async def stopping_a_client_closes_its_connection() -> None:
    gone = Recorder()
    async with linked({"on_disconnect": gone}) as (server, client):
        await client.stop()
        _, metadata = await gone.wait()
        assert metadata["close_code"] == 1001
        assert (client.is_connected(), server.get_connection_count()) == (False, 0)
        assert not await client.connect(), "after stop() it does not run"


async def connecting_before_start_is_false(row: Row) -> None:
    side = side_of(row)
    subject = made(side, Network())
    assert await subject.connect() in (False, {NAME: False})
    if side == "client":
        assert "start() it first" in subject.get_last_error()
