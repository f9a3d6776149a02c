"""What keeps people out of a server, and what ends their connections."""

from __future__ import annotations

from typing import Any

import trio

from tests.checklist.world import Recorder, linked, settle, user_is_key
from tests.memory import Network, text_message
from tests.server.peer import Peer, joined, standard, text_frame
from tests.transport.raw import request


async def slow_authentication_is_answered_503() -> None:
    async def slow(_metadata: Any) -> bool:
        await trio.sleep(100)
        return True

    network = Network()
    async with network.server(on_auth=slow, auth_timeout=3.0):
        began = trio.current_time()
        answer = await Peer(network.connect()).upgrade()
        assert (answer.status, trio.current_time()) == (503, began + 3.0)


async def only_the_path_is_served() -> None:
    network = Network()
    async with network.server(path="/chat"):
        for target, status in ((b"/chat", 101), (b"/chat?api_key=k", 101), (b"/ws", 404), (b"/", 404)):
            assert (await Peer(network.connect()).ask(request(target=target))).status == status


async def only_allowed_pages_may_connect() -> None:
    for fields, origin, status in (
        ({"allowed_origins": ["https://chat.example"]}, b"https://chat.example", 101),
        ({"allowed_origins": ["https://chat.example"]}, b"https://evil.example", 403),
        ({}, b"https://evil.example", 403),
        ({"on_auth": lambda _: True}, b"https://any.example", 101),
    ):
        network = Network()
        async with network.server(**fields):
            assert (await Peer(network.connect()).upgrade(b"Origin: " + origin)).status == status


async def the_connection_limit_is_answered_503() -> None:
    network = Network()
    async with network.server(max_connections=2):
        for status in (101, 101, 503):
            assert (await Peer(network.connect()).upgrade()).status == status


async def the_limit_per_user_is_answered_503() -> None:
    network = Network()
    async with network.server(on_auth_extract_user=user_is_key, max_connections_per_user=1):
        for key, status in (("alice", 101), ("alice", 503), ("bob", 101)):
            assert (await Peer(network.connect()).upgrade(key=key)).status == status


async def a_silent_peer_is_shown_out() -> None:
    network = Network()
    async with network.server(handshake_timeout=3.0):
        peer, began = Peer(network.connect()), trio.current_time()
        await peer.until_end()
        assert trio.current_time() == began + 3.0


async def too_many_invalid_frames_end_a_connection() -> None:
    network = Network()
    async with network.server(max_invalid_frames=3) as server:
        peer = await joined(network)
        for _ in range(3):
            await peer.say(b"not JSON")
        await settle()
        assert server.get_connection_count() == 1
        await peer.say(b"not JSON")
        assert (await peer.closed())[0] == 1008


async def a_server_notices_a_dead_peer() -> None:
    network, went = Network(), Recorder()
    async with network.server(ping_interval=7.0, ping_timeout=3.0, on_disconnect=went):
        await joined(network)  # and never answers a ping
        began = trio.current_time()
        _, metadata = await went.wait()
        assert (trio.current_time(), metadata["close_code"]) == (began + 10.0, 1006)


async def a_server_waits_close_timeout_for_a_goodbye() -> None:
    network = Network()
    async with network.server(close_timeout=4.0) as server:
        await joined(network, uuid="the-peer")  # and never answers a close
        began = trio.current_time()
        assert await server.disconnect("the-peer")
        assert trio.current_time() == began + 4.0


async def a_message_that_is_too_large_ends_its_connection(row: Any) -> None:
    if row.of == "ServerConfig":
        network = Network()
        async with network.server(max_message_size=2000):
            peer = await joined(network)
            await peer.send(text_frame(standard("m1", text="x" * 3000)))
            assert (await peer.closed())[0] == 1009
        return
    went = Recorder()
    async with linked({"on_disconnect": went}, {"max_message_size": 2000}) as (server, _client):
        await server.send_message(text_message("x" * 3000))
        _, metadata = await went.wait()
        assert metadata["close_code"] == 1009
