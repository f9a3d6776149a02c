"""maim_message's WebSocketClient, as its users run it, against our server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.interop.ours import ALICE, BOB, PLATFORM, WRONG_KEY, Inbox, one_of_each_kind, parsed, text_to, url_of
from tests.interop.versions import OLD, RECENT, only_versions

if TYPE_CHECKING:
    from tests.interop.peer_process import PeerProcess

BURST = 50


@pytest.fixture
def start_client(maim_message, start_peer):
    """Starts the peer's client and lets it connect; the ``connected`` event is left to the test."""

    async def start(server: Any, api_key: str = ALICE) -> PeerProcess:
        client = await start_peer("maim_message's client", maim_message, "maim_message_client.py")
        await client.do("connect", url=url_of(server), api_key=api_key, platform=PLATFORM)
        return client

    return start


@only_versions(*RECENT)
async def test_it_connects_and_is_registered_as_the_user_of_its_key(serve, start_client):
    arrivals, departures = Inbox(), Inbox()
    server = await serve(on_connect=arrivals.put, on_disconnect=departures.put)
    client = await start_client(server)
    connection_uuid, metadata = await arrivals.get()
    assert (await client.expect("connected"))["uuid"] == connection_uuid
    assert (await client.expect("connect_result"))["ok"] is True
    assert (metadata["user_id"], metadata["platform"]) == ("alice", PLATFORM)
    assert server.get_connection_info(connection_uuid) == {"user_id": "alice", "platform": PLATFORM}
    await client.stop()
    assert (await departures.get())[0] == connection_uuid


async def test_messages_of_every_kind_travel_both_ways_unchanged(serve, start_client):
    inbox, arrivals = Inbox(), Inbox()
    server = await serve(on_message=inbox.put, on_connect=arrivals.put)
    client = await start_client(server)
    connection_uuid, _ = await arrivals.get()
    await client.expect("connected")
    for payload in one_of_each_kind(ALICE):
        assert await server.send_message(parsed(payload)) == {connection_uuid: True}
        received = await client.expect("message")
        assert received["message"] == payload
        assert (received["meta"]["sender_user"], received["meta"]["target_user"]) == ("server", "alice")
        await client.do("send", message=payload)
        message, metadata = await inbox.get()
        assert message.to_dict() == payload
        assert (metadata["user_id"], metadata["uuid"]) == ("alice", connection_uuid)
    await client.stop()


async def test_bursts_arrive_whole_and_acked_in_both_directions(serve, start_client, maim_message_version):
    """Up to 0.6.2 the number of a message is the millisecond: messages with one number are still many messages."""
    inbox, arrivals = Inbox(), Inbox()
    server = await serve(on_message=inbox.put, on_connect=arrivals.put)
    client = await start_client(server)
    await arrivals.get()
    await client.expect("connected")
    texts = [f"{number}" for number in range(BURST)]
    for text in texts:
        await server.send_message(parsed(text_to(ALICE, text)))
    received = [await client.expect("message") for _ in texts]
    assert [event["message"]["message_segment"]["data"] for event in received] == texts
    await client.do("burst", messages=[text_to(BOB, text) for text in texts])
    assert (await client.expect("sent"))["ok"] is True
    calls = [await inbox.get() for _ in texts]
    assert sorted(message.message_segment.data for message, _ in calls) == sorted(texts)
    msg_ids = [metadata["msg_id"] for _, metadata in calls]
    assert (len(set(msg_ids)) < BURST) is (maim_message_version in OLD)
    for msg_id in msg_ids:
        await client.expect("acked", msg_id=msg_id)
    # The client wrote its acks before the texts that we have handled by now.
    assert server.get_stats()["messages_acked"] == BURST
    await client.stop()


async def test_custom_messages_travel_both_ways(serve, start_client):
    pings, arrivals = Inbox(), Inbox()
    server = await serve(on_connect=arrivals.put, custom_handlers={"ping": pings.put})
    client = await start_client(server)
    connection_uuid, _ = await arrivals.get()
    await client.expect("connected")
    await client.do("custom", type="ping", payload={"number": 7, "名": ["值", None]})
    payload, metadata = await pings.get()
    assert payload == {"number": 7, "名": ["值", None]}
    assert (metadata["message_type"], metadata["user_id"]) == ("custom_ping", "alice")
    await client.expect("acked", msg_id=metadata["msg_id"])
    # Without the prefix: adding it is our part, the peer's handler waits for "custom_pong".
    assert await server.send_custom_message("pong", {"number": 8}, connection_uuid=connection_uuid) == {
        connection_uuid: True
    }
    assert (await client.expect("custom"))["payload"] == {"number": 8}
    await client.stop()


async def test_it_comes_back_by_itself_after_our_server_was_restarted(serve, start_client):
    inbox, arrivals = Inbox(), Inbox()
    first = await serve(on_connect=arrivals.put)
    client = await start_client(first)
    connection_uuid, _ = await arrivals.get()
    await client.expect("connected")
    port = first.port
    await first.stop()
    second = await serve(port=port, on_message=inbox.put, on_connect=arrivals.put)
    assert (await arrivals.get())[0] == connection_uuid
    await client.expect("connected")
    await second.send_message(parsed(text_to(ALICE, "welcome back")))
    assert (await client.expect("message"))["message"]["message_segment"]["data"] == "welcome back"
    await client.do("send", message=text_to(BOB, "here I am"))
    assert (await inbox.get())[0].message_segment.data == "here I am"
    await client.stop()


@only_versions(*RECENT)  # the older ones with several connections: test_maim_message_multi_client.py
async def test_a_wrong_key_is_refused_with_401_and_the_client_says_so(serve, start_client):
    arrivals = Inbox()
    server = await serve(on_connect=arrivals.put)
    client = await start_client(server, api_key=WRONG_KEY)
    assert "401" in (await client.expect("disconnected"))["error"]
    await client.do("stats")
    state = await client.expect("stats")
    assert (state["connected"], state["stats"]["successful_connects"]) == (False, 0)
    assert "401" in state["last_error"]
    await client.stop()  # its connect() is still waiting, for 10 s in all
    assert not client.unread("connected")
    assert len(arrivals) == 0
    assert server.get_stats()["failed_auths"] >= 1
