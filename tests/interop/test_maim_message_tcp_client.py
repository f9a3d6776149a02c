"""maim_message's MessageClient and Router against our server in mode tcp."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

from maim_trio import MessageServer
from tests.interop.legacy import TOKEN, WRONG_TOKEN, Heard, message, one_of_each_kind, until
from tests.interop.versions import only_versions

if TYPE_CHECKING:
    import trio

    from tests.interop.peer_process import PeerProcess

pytestmark = only_versions("0.6.8", "0.6.0")

Serve = Callable[..., Awaitable[tuple[MessageServer, Heard]]]


@pytest.fixture
async def serve_tcp(nursery: trio.Nursery) -> AsyncIterator[Serve]:
    """Starts a server of ours in mode tcp that wants a token; stopped after the test."""
    servers: list[MessageServer] = []

    async def start(*, port: int = 0, **settings: Any) -> tuple[MessageServer, Heard]:
        server, heard = MessageServer("127.0.0.1", port, enable_token=True, mode="tcp", **settings), Heard()
        server.add_valid_token(TOKEN)
        server.register_message_handler(heard)
        server.register_custom_message_handler("poke", heard)
        await server.start(nursery)
        servers.append(server)
        return server, heard

    yield start
    for server in servers:
        await server.stop()


@pytest.fixture
async def client(maim_message, start_peer) -> PeerProcess:
    return await start_peer("maim_message's tcp client", maim_message, "maim_message_tcp_client.py")


async def connect(client: PeerProcess, server: MessageServer, *, platform: str = "qq", token: str = TOKEN) -> None:
    await client.do("connect", url=f"tcp://127.0.0.1:{server.port}", platform=platform, token=token)


async def test_messages_of_every_kind_travel_both_ways_unchanged(client, serve_tcp):
    server, heard = await serve_tcp()
    await connect(client, server)
    await until(lambda: server.get_platforms() == {"qq"})
    for payload in one_of_each_kind():
        await client.do("send", message=payload)
        assert await heard.get_one() == payload
        assert await server.broadcast_to_platform("qq", payload)
        assert (await client.expect("message"))["message"] == payload
    await client.stop()
    await until(lambda: server.get_platforms() == set())


async def test_custom_messages_travel_both_ways(client, serve_tcp):
    server, heard = await serve_tcp()
    await connect(client, server)
    await until(lambda: server.get_platforms() == {"qq"})
    await client.do("custom", platform="qq", type="poke", content={"times": 3})
    got = await heard.get_one()
    assert (got["message_type_name"], got["content"], got["is_custom_message"]) == ("poke", {"times": 3}, True)
    assert await server.send_custom_message("qq", "poke", {"back": True})
    assert (await client.expect("custom"))["message"]["content"] == {"back": True}
    await client.stop()


async def test_a_wrong_token_is_refused_and_disturbs_nobody(client, serve_tcp, maim_message, start_peer):
    server, heard = await serve_tcp()
    await connect(client, server)
    await until(lambda: server.get_platforms() == {"qq"})
    stranger = await start_peer("a stranger", maim_message, "maim_message_tcp_client.py")
    await connect(stranger, server, token=WRONG_TOKEN)
    await until(lambda: server.get_stats()["failed_auths"] >= 2)  # it comes back
    assert server.get_platforms() == {"qq"}
    await client.do("send", message=message("still here").to_dict())
    assert (await heard.get_one())["message_segment"]["data"] == "still here"
    await stranger.stop()
    await client.stop()


async def test_a_burst_arrives_whole_and_in_order_both_ways(client, serve_tcp):
    server, heard = await serve_tcp(handler_ordering="per_connection")
    await connect(client, server)
    await until(lambda: server.get_platforms() == {"qq"})
    for number in range(200):
        await client.do("send", message=message(number).to_dict())
        assert await server.send_message(message(number))
    assert [(await heard.get_one())["message_segment"]["data"] for _ in range(200)] == [*range(200)]
    got = [(await client.expect("message"))["message"]["message_segment"]["data"] for _ in range(200)]
    assert got == [*range(200)]
    await client.stop()


async def test_its_heartbeats_are_answered_and_are_no_messages(client, serve_tcp):
    server, _ = await serve_tcp()
    await connect(client, server)
    await until(lambda: server.get_platforms() == {"qq"})
    before = server.get_stats()
    await until(lambda: server.get_stats()["bytes_received"] >= before["bytes_received"] + 15)  # three of 5 bytes
    await until(lambda: server.get_stats()["bytes_sent"] >= before["bytes_sent"] + 15)
    assert server.get_stats()["messages_received"] == 0
    assert server.get_platforms() == {"qq"}
    await client.stop()


async def test_it_comes_back_to_a_server_that_was_restarted(client, serve_tcp):
    server, heard = await serve_tcp()
    await connect(client, server)
    await until(lambda: server.get_platforms() == {"qq"})
    port = server.port
    for number in range(3):
        await server.stop()
        server, heard = await serve_tcp(port=port)
        await until(lambda: server.get_platforms() == {"qq"})  # noqa: B023 - called before the next round
        await client.do("send", message=message(number).to_dict())
        assert (await heard.get_one())["message_segment"]["data"] == number
        await until(lambda: server.get_stats()["messages_received"] == 1)  # noqa: B023
        assert await server.send_message(message(f"back {number}"))
        assert (await client.expect("message"))["message"]["message_segment"]["data"] == f"back {number}"
    await client.stop()


async def test_the_newer_connection_of_a_platform_wins_and_stays(client, serve_tcp, maim_message, start_peer):
    server, heard = await serve_tcp()
    await connect(client, server)
    await until(lambda: server.get_platforms() == {"qq"})
    newer = await start_peer("the newer client", maim_message, "maim_message_tcp_client.py")
    await connect(newer, server)
    await until(lambda: server.get_stats()["total_connections"] >= 2)
    await client.stop()  # it may have come back meanwhile, and then the newer one does
    await until(lambda: server.get_stats()["current_connections"] == 1)
    await newer.do("send", message=message("newer").to_dict())
    assert (await heard.get_one())["message_segment"]["data"] == "newer"
    assert server.get_platforms() == {"qq"}
    assert await server.send_message(message("to the newer"))
    assert (await newer.expect("message"))["message"]["message_segment"]["data"] == "to the newer"
    await newer.stop()


async def test_a_router_connects_each_platform_to_its_server(client, serve_tcp):
    (first, heard_first), (second, heard_second) = await serve_tcp(), await serve_tcp()
    urls = {"qq": f"tcp://127.0.0.1:{first.port}", "wechat": f"tcps://127.0.0.1:{second.port}"}
    await client.do("route", urls=urls, tokens={"qq": TOKEN, "wechat": TOKEN})
    for server, heard, platform in ((first, heard_first, "qq"), (second, heard_second, "wechat")):
        await until(lambda: server.get_platforms() == {platform})  # noqa: B023 - called before the next round
        payload = message("by the router", platform=platform).to_dict()
        await client.do("send", message=payload)
        assert await heard.get_one() == payload
        assert await server.broadcast_to_platform(platform, payload)
        assert (await client.expect("message"))["message"] == payload
    await client.stop()
