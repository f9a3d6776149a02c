"""Our WebSocketMultiClient against maim_message's WebSocketServer, as its users run it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.interop.ours import ALICE, BOB, CAROL, ERIN, KEYS_BY_NAME, USERS, WRONG_KEY, Inbox, parsed, text_to

if TYPE_CHECKING:
    from tests.interop.peer_process import PeerProcess

ALL_CONNECTED = dict.fromkeys(KEYS_BY_NAME, True)


@pytest.fixture
async def server(maim_message, start_peer) -> PeerProcess:
    """The peer's server, listening."""
    peer = await start_peer("maim_message's server", maim_message, "maim_message_server.py")
    await peer.do("start", port=0, keys=USERS)
    return peer


async def listening_at(server: PeerProcess) -> str:
    return f"ws://127.0.0.1:{(await server.expect('listening'))['port']}/ws"


async def registered(server: PeerProcess, client: Any) -> dict[str, str]:
    """The ids of all connections, once the server has every one of them as the right user on the right platform."""
    uuids = {name: client.get_connection_info(name)["connection_uuid"] for name in KEYS_BY_NAME}
    for name, key in KEYS_BY_NAME.items():
        await server.expect("registered", user=USERS[key], platform=name, uuid=uuids[name])
    return uuids


async def texts_pass(client: Any, server: PeerProcess, inbox: Inbox, name: str) -> None:
    """One text each way over the connection of this name."""
    payload = text_to(KEYS_BY_NAME[name], f"over {name}", platform=name)
    assert await client.send_message(name, parsed(payload)) is True
    await server.expect("message", message=payload, user=USERS[KEYS_BY_NAME[name]], platform=name)
    await server.do("send", message=payload)
    message, metadata = await inbox.get()
    assert message.to_dict() == payload
    assert metadata["connection_name"] == name
    await server.expect("acked", msg_id=metadata["msg_id"])


async def test_connect_tells_the_truth_per_name_and_the_others_speak_both_ways(server, multi_client_of_ours):
    inbox, pongs = Inbox(), Inbox()
    keys = {"refused": WRONG_KEY, **KEYS_BY_NAME}
    client = await multi_client_of_ours(
        await listening_at(server), keys, on_message=inbox.put, custom_handlers={"pong": pongs.put}
    )
    assert await client.connect() == {"refused": False, **ALL_CONNECTED}
    assert "Authentication failed" in (client.get_last_error("refused") or "")
    for name, uuid in (await registered(server, client)).items():
        await texts_pass(client, server, inbox, name)
        assert await client.send_custom_message(name, "ping", {"from": name}) is True
        received = await server.expect("custom", type="custom_ping", platform=name)
        assert received["envelope"]["payload"] == {"from": name}
        await server.do("custom", type="custom_pong", payload={"to": name}, uuid=uuid)
        payload, metadata = await pongs.get()
        assert (payload, metadata["connection_name"]) == ({"to": name}, name)
    assert set(client.get_active_connections()) == set(KEYS_BY_NAME)
    await server.stop()


async def test_a_message_is_routed_to_the_connection_that_fits_best_and_is_there(server, multi_client_of_ours):
    keys = {"refused": WRONG_KEY, **KEYS_BY_NAME}
    client = await multi_client_of_ours(await listening_at(server), keys)
    await client.connect()
    uuids = await registered(server, client)
    for key, platform, taken in [
        (BOB, "qq", "qq"),
        (CAROL, "wechat", "telegram"),
        (ALICE, "line", "wechat"),
        (ERIN, "telegram", "telegram"),
    ]:
        payload = text_to(key, "find your way", platform=platform)
        assert await client.route_message(parsed(payload)) is True
        await server.expect("message", message=payload, user=USERS[KEYS_BY_NAME[taken]], platform=taken)
    for key, platform in [(ERIN, "line"), (WRONG_KEY, "refused")]:
        assert await client.route_message(parsed(text_to(key, "nowhere to go", platform=platform))) is False
    assert await client.disconnect("qq") == {"qq": True}
    await server.expect("gone", uuid=uuids["qq"])
    assert await client.route_message(parsed(text_to(BOB, "too late", platform="qq"))) is False
    assert await client.route_message(parsed(text_to(CAROL, "not for me", platform="telegram"))) is True
    await server.expect("message", user="carol", platform="telegram")
    await server.stop()


async def test_every_connection_comes_back_by_itself_after_the_server_was_restarted(server, multi_client_of_ours):
    inbox, arrivals = Inbox(), Inbox()
    client = await multi_client_of_ours(
        await listening_at(server), KEYS_BY_NAME, on_message=inbox.put, on_connect=arrivals.put
    )
    assert await client.connect() == ALL_CONNECTED
    uuids = await registered(server, client)
    await server.do("restart")
    assert await registered(server, client) == uuids
    for _ in range(2 * len(uuids)):
        await arrivals.get()
    for name in KEYS_BY_NAME:
        await texts_pass(client, server, inbox, name)
    await server.stop()
