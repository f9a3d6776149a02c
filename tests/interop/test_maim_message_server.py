"""Our client against maim_message's WebSocketServer, as its users run it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.interop.ours import ALICE, PLATFORM, USERS, WRONG_KEY, Inbox, one_of_each_kind, parsed, text_to
from tests.interop.versions import DIFFERENT_SERVERS, OLD, RECENT, only_versions

if TYPE_CHECKING:
    from tests.interop.peer_process import PeerProcess

BURST = 50


@pytest.fixture
async def server(maim_message, start_peer) -> PeerProcess:
    """The peer's server, listening."""
    peer = await start_peer("maim_message's server", maim_message, "maim_message_server.py")
    await peer.do("start", port=0, keys=USERS)
    return peer


async def listening_at(server: PeerProcess) -> str:
    return f"ws://127.0.0.1:{(await server.expect('listening'))['port']}/ws"


@only_versions(*RECENT)
async def test_we_connect_and_are_registered_as_the_user_of_our_key(server, client_of_ours):
    client = await client_of_ours(await listening_at(server))
    assert await client.connect() is True
    assert client.is_connected()
    registered = await server.expect("registered", user="alice", platform=PLATFORM)
    assert registered["uuid"] == client.get_connection_uuid()
    assert await client.disconnect() is True
    await server.expect("gone", uuid=client.get_connection_uuid())
    await server.stop()


@only_versions(*DIFFERENT_SERVERS)
async def test_messages_of_every_kind_travel_both_ways_unchanged(server, client_of_ours):
    inbox = Inbox()
    client = await client_of_ours(await listening_at(server), on_message=inbox.put)
    assert await client.connect()
    await server.expect("registered")
    for payload in one_of_each_kind(ALICE):
        assert await client.send_message(parsed(payload)) is True
        assert await server.expect("message") == {
            "event": "message", "message": payload, "user": "alice", "platform": PLATFORM
        }  # fmt: skip
        await server.do("send", message=payload)
        message, metadata = await inbox.get()
        assert message.to_dict() == payload
        assert (metadata["sender_user"], metadata["target_user"]) == ("server", "alice")
        assert (await server.expect("sent"))["results"] == {client.get_connection_uuid(): True}
    await server.stop()


@only_versions(*DIFFERENT_SERVERS)
async def test_bursts_arrive_whole_and_acked_in_both_directions(server, client_of_ours, maim_message_version):
    """Up to 0.6.2 the number of a message is the millisecond: messages with one number are still many messages."""
    inbox = Inbox()
    client = await client_of_ours(await listening_at(server), on_message=inbox.put)
    assert await client.connect()
    await server.expect("registered")
    texts = [f"{number}" for number in range(BURST)]
    for text in texts:
        await client.send_message(parsed(text_to(ALICE, text)))
    received = [await server.expect("message") for _ in texts]
    assert [event["message"]["message_segment"]["data"] for event in received] == texts
    await server.do("burst", messages=[text_to(ALICE, text) for text in texts])
    calls = [await inbox.get() for _ in texts]
    assert sorted(message.message_segment.data for message, _ in calls) == sorted(texts)
    msg_ids = [metadata["msg_id"] for _, metadata in calls]
    assert (len(set(msg_ids)) < BURST) is (maim_message_version in OLD)
    for msg_id in msg_ids:
        await server.expect("acked", msg_id=msg_id)
    # The server wrote its acks before the texts that we have handled by now.
    assert client.get_stats()["messages_acked"] == BURST
    await server.stop()


@only_versions(*DIFFERENT_SERVERS)
async def test_custom_messages_travel_both_ways(server, client_of_ours):
    pongs = Inbox()
    client = await client_of_ours(await listening_at(server), custom_handlers={"pong": pongs.put})
    assert await client.connect()
    uuid = (await server.expect("registered"))["uuid"]
    # Without the prefix: adding it is our part, the peer's handler waits for "custom_ping".
    assert await client.send_custom_message("ping", {"number": 7, "名": ["值", None]}) is True
    received = await server.expect("custom", type="custom_ping")
    assert received["envelope"]["payload"] == {"number": 7, "名": ["值", None]}
    # The peer's server does not add the prefix, so its users write it.
    await server.do("custom", type="custom_pong", payload={"number": 8}, uuid=uuid)
    payload, metadata = await pongs.get()
    assert payload == {"number": 8}
    await server.expect("acked", msg_id=metadata["msg_id"])
    await server.stop()


@only_versions(*RECENT)
async def test_a_custom_message_whose_prefix_the_server_forgot_does_no_harm(server, client_of_ours):
    inbox = Inbox()
    client = await client_of_ours(await listening_at(server), on_message=inbox.put)
    assert await client.connect()
    uuid = (await server.expect("registered"))["uuid"]
    await server.do("custom", type="pong", payload={}, uuid=uuid)
    await server.do("send", message=text_to(ALICE, "still there"))
    assert (await inbox.get())[0].message_segment.data == "still there"
    assert client.get_stats()["invalid_frames"] == 1
    await server.stop()


@only_versions(*RECENT)  # the older ones with several connections: test_maim_message_server_with_many.py
async def test_we_come_back_by_ourselves_after_the_server_was_restarted(server, client_of_ours):
    inbox, arrivals, losses = Inbox(), Inbox(), Inbox()
    client = await client_of_ours(
        await listening_at(server),
        on_message=inbox.put,
        on_connect=arrivals.put,
        on_disconnect=losses.put,
        max_reconnect_attempts=0,
    )
    assert await client.connect()
    await arrivals.get()
    uuid = (await server.expect("registered"))["uuid"]
    await server.do("restart")
    await losses.get()
    await arrivals.get()
    assert (await server.expect("registered"))["uuid"] == uuid
    assert await client.send_message(parsed(text_to(ALICE, "here I am"))) is True
    assert (await server.expect("message"))["message"]["message_segment"]["data"] == "here I am"
    await server.do("send", message=text_to(ALICE, "welcome back"))
    assert (await inbox.get())[0].message_segment.data == "welcome back"
    await server.stop()


@only_versions(*RECENT)  # the older ones: likewise
async def test_with_a_wrong_key_connect_is_false_and_the_error_says_why(server, client_of_ours):
    client = await client_of_ours(await listening_at(server), api_key=WRONG_KEY)
    assert await client.connect() is False
    assert not client.is_connected()
    assert "Authentication failed" in (client.get_last_error() or "")
    await server.stop()
