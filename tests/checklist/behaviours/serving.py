"""What a server sends, and what it knows."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from maim_trio.errors import InvalidMessage
from tests.checklist.world import KEY, Recorder, beside, content, linked, settle, talking, user_is_key
from tests.memory import Network, text_message
from tests.server.peer import joined

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from maim_trio.server import WebSocketServer


class Crowd:
    """Three clients: alice on wechat and on qq, bob on qq; and what each got."""

    def __init__(self, server: WebSocketServer, uuids: dict[str, str], heard: dict[str, Recorder]) -> None:
        self.server = server
        self.uuids = uuids
        self.heard = heard

    async def got(self) -> dict[str, list[Any]]:
        """What arrived so far, by name: texts of messages, payloads of custom ones."""
        await settle()
        calls = {name: [call[0] for call in recorder.calls] for name, recorder in self.heard.items()}
        return {
            name: [item if isinstance(item, dict) else content(item) for item in items]
            for name, items in calls.items()
            if items
        }

    def results(self, *names: str) -> dict[str, bool]:
        return {self.uuids[name]: True for name in names}


@asynccontextmanager
async def _crowd(**fields: Any) -> AsyncIterator[Crowd]:
    network = Network()
    who = {"alice_wechat": ("alice", "wechat"), "alice_qq": ("alice", "qq"), "bob_qq": ("bob", "qq")}
    heard = {name: Recorder() for name in who}
    clients = {
        name: network.client(key, platform=platform, on_message=heard[name], custom_handlers={"news": heard[name]})
        for name, (key, platform) in who.items()
    }
    async with (
        network.server(on_auth_extract_user=user_is_key, **fields) as server,
        clients["alice_wechat"] as a,
        clients["alice_qq"] as b,
        clients["bob_qq"] as c,
    ):
        assert [await client.connect() for client in (a, b, c)] == [True] * 3
        yield Crowd(server, {name: client.get_connection_uuid() or "" for name, client in clients.items()}, heard)


# -- standard messages


async def a_message_goes_to_its_user_and_platform() -> None:
    async with _crowd() as crowd:
        sent = await crowd.server.send_message(text_message("hi", to="alice", platform="wechat"))
        assert sent == crowd.results("alice_wechat")
        assert await crowd.got() == {"alice_wechat": ["hi"]}


async def a_message_for_nobody_goes_nowhere() -> None:
    async with _crowd() as crowd:
        for message in (text_message(to="carol", platform="qq"), text_message(to="alice", platform="telegram")):
            assert await crowd.server.send_message(message) == {}
        assert await crowd.got() == {}


async def a_message_without_receiver_is_refused() -> None:
    async with _crowd() as crowd:
        for message in (text_message(to=""), text_message(to="alice", platform=""), {"no": "message"}):
            with pytest.raises(InvalidMessage):
                await crowd.server.send_message(message)


async def target_platform_overrides_the_message() -> None:
    async with _crowd() as crowd:
        message = text_message("hi", to="alice", platform="wechat")
        assert await crowd.server.send_message(message, target_platform="qq") == crowd.results("alice_qq")
        assert await crowd.got() == {"alice_qq": ["hi"]}


async def a_broadcast_reaches_everyone() -> None:
    async with _crowd() as crowd:
        sent = await crowd.server.broadcast_message(text_message("all", to="server", platform="server"))
        assert sent == crowd.results("alice_wechat", "alice_qq", "bob_qq")
        assert await crowd.got() == {"alice_wechat": ["all"], "alice_qq": ["all"], "bob_qq": ["all"]}


async def a_broadcast_reaches_a_platform() -> None:
    async with _crowd() as crowd:
        sent = await crowd.server.broadcast_message(text_message("qq only"), platform="qq")
        assert sent == crowd.results("alice_qq", "bob_qq")
        assert await crowd.got() == {"alice_qq": ["qq only"], "bob_qq": ["qq only"]}


# -- custom messages


async def a_custom_message_goes_to_a_user() -> None:
    async with _crowd() as crowd:
        sent = await crowd.server.send_custom_message("news", {"n": 1}, target_user="alice")
        assert sent == crowd.results("alice_wechat", "alice_qq")
        assert await crowd.got() == {"alice_wechat": [{"n": 1}], "alice_qq": [{"n": 1}]}


async def a_custom_message_goes_to_a_platform_of_a_user() -> None:
    async with _crowd() as crowd:
        sent = await crowd.server.send_custom_message("news", {"n": 1}, target_user="alice", target_platform="wechat")
        assert sent == crowd.results("alice_wechat")
        assert await crowd.got() == {"alice_wechat": [{"n": 1}]}


async def a_custom_message_goes_to_a_platform() -> None:
    async with _crowd() as crowd:
        sent = await crowd.server.send_custom_message("news", {"n": 1}, target_platform="qq")
        assert sent == crowd.results("alice_qq", "bob_qq")


async def a_custom_message_goes_to_a_connection() -> None:
    async with _crowd() as crowd:
        uuid = crowd.uuids["bob_qq"]
        sent = await crowd.server.send_custom_message("news", {"n": 1}, target_user="alice", connection_uuid=uuid)
        assert sent == crowd.results("bob_qq"), "the narrowest target wins"
        assert await crowd.got() == {"bob_qq": [{"n": 1}]}
        assert await crowd.server.send_custom_message("news", {}, connection_uuid="nobody") == {}


async def a_custom_message_needs_a_target() -> None:
    async with _crowd() as crowd:
        with pytest.raises(ValueError, match="target"):
            await crowd.server.send_custom_message("news", {})


async def a_custom_broadcast_reaches_everyone_or_a_platform() -> None:
    async with _crowd() as crowd:
        everyone = await crowd.server.broadcast_custom_message("news", {"n": 1})
        assert everyone == crowd.results("alice_wechat", "alice_qq", "bob_qq")
        assert await crowd.server.broadcast_custom_message("news", {"n": 2}, platform="wechat") == crowd.results(
            "alice_wechat"
        )
        got = (await crowd.got())["alice_wechat"]
        assert sorted(got, key=str) == [{"n": 1}, {"n": 2}]


async def custom_types_get_their_prefix() -> None:
    for side in ("server", "client", "multi"):
        heard = Recorder()
        async with talking(side) as talk:
            talk.far.register_custom_handler("news", heard)
            for kind in ("news", "custom_news"):
                if side == "server":
                    await talk.subject.send_custom_message(kind, {}, target_platform="default")
                elif side == "client":
                    await talk.subject.send_custom_message(kind, {})
                else:
                    await talk.subject.send_custom_message("wechat", kind, {})
            _, metadata = await heard.wait(2)
            assert metadata["message_type"] == "custom_news"


# -- who is there


async def a_server_knows_who_is_there() -> None:
    async with _crowd() as crowd:
        server, uuids = crowd.server, crowd.uuids
        assert (server.get_user_count(), server.get_connection_count()) == (2, 3)
        assert server.get_user_connections("alice") == {uuids["alice_wechat"], uuids["alice_qq"]}
        assert server.get_platform_connections("alice", "qq") == {uuids["alice_qq"]}
        assert server.get_connection_info(uuids["bob_qq"]) == {"user_id": "bob", "platform": "qq"}
        assert server.get_user_connections("carol") == server.get_platform_connections("bob", "wechat") == set()
        assert server.get_connection_info("nobody") is None
        status = server.get_coroutine_status()
        assert (status["active_connections"], status["registered_users"]) == (3, 2)
    assert (crowd.server.get_user_count(), crowd.server.get_connection_count()) == (0, 0)


async def what_a_server_tells_is_a_copy() -> None:
    async with _crowd() as crowd:
        server, uuid = crowd.server, crowd.uuids["alice_qq"]
        server.get_user_connections("alice").clear()
        server.get_platform_connections("alice", "qq").clear()
        server.get_connections()[uuid].clear()
        server.get_connections().clear()
        assert len(server.get_user_connections("alice")) == 2
        assert server.get_platform_connections("alice", "qq") == {uuid}
        assert server.get_connections()[uuid]["platform"] == "qq"
    async with linked({"on_auth_extract_user": user_is_key}) as (server, _client):
        assert KEY not in repr(server.get_connections()), "a user id that equals the key is shortened"


async def extract_user_runs_the_callback() -> None:
    asked = Recorder("alice")
    async with Network().server(on_auth_extract_user=asked) as server:
        assert await server.extract_user("key_1", "wechat") == "alice"
    (metadata,) = asked.calls[0]
    assert (metadata["api_key"], metadata["platform"], metadata["message_type"]) == ("key_1", "wechat", "outgoing")


async def extract_user_without_callback_knows_who_is_there() -> None:
    async with linked() as (server, _client):
        assert await server.extract_user(KEY) == "sys_default"
    async with linked({"on_auth": lambda _: True}) as (server, _client):
        user = await server.extract_user(KEY)
        assert server.get_user_connections(user)
        assert await server.extract_user("another_key") != user


async def a_server_disconnects_a_connection() -> None:
    network = Network()
    async with network.server() as server:
        peer = await joined(network, uuid="the-peer")
        assert not await server.disconnect("nobody")

        async def says_goodbye() -> None:
            assert await peer.closed() == (4000, "enough")
            await peer.aclose()

        async with beside(says_goodbye):
            assert await server.disconnect("the-peer", code=4000, reason="enough")
        await settle()
        assert server.get_connection_count() == 0


async def a_server_disconnects_a_user() -> None:
    async with _crowd() as crowd:
        assert await crowd.server.disconnect_user("alice") == 2
        await settle()
        assert await crowd.server.disconnect_user("alice") == 0
        assert crowd.server.get_user_count() == 1
    async with linked({"on_auth_extract_user": user_is_key}) as (server, client):
        assert await server.disconnect_user(KEY) == 1
        await settle()
        assert not client.wants_connection(), "4003: it does not come back"
        assert "revoked" in (client.get_last_error() or "")
