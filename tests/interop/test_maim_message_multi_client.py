"""maim_message's WebSocketMultiClient, as its users run it, against our server.

In no version does it call `on_message`: its base class asks a configuration for it that the multi client never has. A
text gets as far as its network layer, which acks it; that is what the tests look at. And in all versions `connect()`
answers True for whatever it has begun, a connection that is refused included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.interop.ours import KEYS_BY_NAME, USERS, WRONG_KEY, Inbox, parsed, text_to, url_of
from tests.interop.versions import OLD, RECENT, only_versions

if TYPE_CHECKING:
    from tests.interop.peer_process import PeerProcess


@pytest.fixture
def start_client(maim_message, start_peer):
    """Starts the peer's client with one connection per name; returns it when all of `KEYS_BY_NAME` are connected."""

    async def start(server: Any, keys: dict[str, str] = KEYS_BY_NAME) -> PeerProcess:
        client = await start_peer("maim_message's multi client", maim_message, "maim_message_multi_client.py")
        connections = {name: {"api_key": key, "platform": name} for name, key in keys.items()}
        await client.do("connect", url=url_of(server), connections=connections)
        assert (await client.expect("connect_result"))["results"] == dict.fromkeys(keys, True)
        for name in KEYS_BY_NAME:
            await client.expect("connected", name=name)
        return client

    return start


async def uuids_by_name(arrivals: Inbox) -> dict[str, str]:
    """The connections that our server has got, each of which must be the right user on the right platform."""
    found = {}
    for _ in KEYS_BY_NAME:
        uuid, metadata = await arrivals.get()
        assert metadata["user_id"] == USERS[KEYS_BY_NAME[metadata["platform"]]]
        found[metadata["platform"]] = uuid
    assert set(found) == set(KEYS_BY_NAME)
    return found


async def texts_pass(client: PeerProcess, server: Any, inbox: Inbox, name: str) -> None:
    """One text each way over the connection of this name."""
    payload = text_to(KEYS_BY_NAME[name], f"to {name}", platform=name)
    await server.send_message(parsed(payload))
    assert (await client.expect("received"))["message"] == payload
    await client.do("send", name=name, message=payload)
    message, metadata = await inbox.get()
    assert message.to_dict() == payload
    assert (metadata["user_id"], metadata["platform"]) == (USERS[KEYS_BY_NAME[name]], name)
    await client.expect("acked", name=name, msg_id=metadata["msg_id"])


async def test_three_users_speak_both_ways_while_a_fourth_connection_is_refused(serve, start_client):
    inbox, pings, arrivals = Inbox(), Inbox(), Inbox()
    server = await serve(on_message=inbox.put, on_connect=arrivals.put, custom_handlers={"ping": pings.put})
    client = await start_client(server, {"refused": WRONG_KEY, **KEYS_BY_NAME})
    assert "401" in (await client.expect("disconnected", name="refused"))["error"]
    for name, uuid in (await uuids_by_name(arrivals)).items():
        await texts_pass(client, server, inbox, name)
        assert await server.send_custom_message("pong", {"to": name}, connection_uuid=uuid) == {uuid: True}
        assert (await client.expect("custom"))["payload"] == {"to": name}
        await client.do("custom", name=name, type="ping", payload={"from": name})
        payload, metadata = await pings.get()
        assert (payload, metadata["uuid"]) == ({"from": name}, uuid)
        await client.expect("acked", name=name, msg_id=metadata["msg_id"])
    # The client wrote its acks before the custom messages that we have handled by now.
    assert server.get_stats()["messages_acked"] == 2 * len(KEYS_BY_NAME)
    await client.do("stats")
    state = await client.expect("stats")
    assert state["connected"] == {"refused": False, **dict.fromkeys(KEYS_BY_NAME, True)}
    assert "401" in state["errors"]["refused"]
    assert len(arrivals) == 0
    await client.stop()
    assert not client.unread("message")


@only_versions(*RECENT)
async def test_disconnecting_one_leaves_the_others_alone(serve, start_client):
    inbox, arrivals, departures = Inbox(), Inbox(), Inbox()
    server = await serve(on_message=inbox.put, on_connect=arrivals.put, on_disconnect=departures.put)
    client = await start_client(server)
    uuids = await uuids_by_name(arrivals)
    await client.do("disconnect", name="qq")
    assert (await client.expect("disconnect_result"))["results"] == {"qq": True}
    uuid, metadata = await departures.get()
    assert (uuid, metadata["close_code"]) == (uuids["qq"], 1000)
    assert await server.send_message(parsed(text_to(KEYS_BY_NAME["qq"], "too late", platform="qq"))) == {}
    await client.do("send", name="qq", message=text_to(KEYS_BY_NAME["qq"], "too late"))
    assert (await client.expect("sent"))["ok"] is False
    for name in ("wechat", "telegram"):
        await texts_pass(client, server, inbox, name)
    assert len(departures) == len(arrivals) == 0
    await client.stop()


@only_versions(*OLD)
async def test_disconnecting_one_makes_an_old_client_only_forget_it(serve, start_client):
    """Up to 0.6.2 `disconnect()` only strikes it off a list: it stays open, and what comes is read but not acked."""
    inbox, arrivals, departures = Inbox(), Inbox(), Inbox()
    server = await serve(on_message=inbox.put, on_connect=arrivals.put, on_disconnect=departures.put)
    client = await start_client(server)
    uuids = await uuids_by_name(arrivals)
    await client.do("disconnect", name="qq")
    assert (await client.expect("disconnect_result"))["results"] == {"qq": True}
    late = text_to(KEYS_BY_NAME["qq"], "too late", platform="qq")
    await client.do("send", name="qq", message=late)
    assert (await client.expect("sent"))["ok"] is False
    assert await server.send_message(parsed(late)) == {uuids["qq"]: True}
    await client.expect("received", name=None, message=late)
    for name in ("wechat", "telegram"):
        await texts_pass(client, server, inbox, name)
    assert len(departures) == 0
    await client.stop()  # which closes it, at last
    assert {(await departures.get())[0] for _ in uuids} == set(uuids.values())
    assert server.get_stats()["messages_acked"] == 2
