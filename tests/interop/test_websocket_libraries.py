"""Hand-written clients on other people's WebSocket libraries against our server: `websockets`, `aiohttp`, Node's `ws`.

The libraries carry frames; the envelopes are written here, as somebody would who has read only the wire protocol.
"""

from __future__ import annotations

import json

import pytest

from tests.interop.bare_client import LIBRARIES, BareClient, start_bare_client
from tests.interop.ours import (
    ALICE,
    BOB,
    PLATFORM,
    WRONG_KEY,
    Inbox,
    ack_for,
    envelope,
    one_of_each_kind,
    parsed,
    text_to,
)


@pytest.fixture(params=LIBRARIES)
async def client(request, start_peer) -> BareClient:
    return await start_bare_client(request.param, start_peer)


@pytest.mark.parametrize("where", ["query", "headers"])
async def test_it_connects_with_its_key_in_either_place(client, serve, where):
    arrivals, departures = Inbox(), Inbox()
    server = await serve(on_connect=arrivals.put, on_disconnect=departures.put)
    await client.open(server, where=where)
    connected = await client.peer.expect("connected")
    assert connected["headers"]["x-maim-protocol"] == "1"
    connection_uuid, metadata = await arrivals.get()
    assert (metadata["user_id"], metadata["platform"]) == ("alice", PLATFORM)
    await client.peer.do("close")
    assert (await client.peer.expect("closed"))["code"] == 1000
    left_uuid, left = await departures.get()
    assert (left_uuid, left["close_code"]) == (connection_uuid, 1000)
    await client.peer.stop()


@pytest.mark.parametrize("where", ["query", "headers"])
async def test_a_wrong_key_is_answered_with_401_before_the_upgrade(client, serve, where):
    server = await serve()
    await client.open(server, WRONG_KEY, where=where)
    refused = await client.peer.expect("refused")
    assert refused["status"] == 401
    if refused["body"] is not None:  # aiohttp does not hand it out
        assert set(json.loads(refused["body"])) == {"error", "code"}
        assert WRONG_KEY not in refused["body"]
    assert server.get_stats()["failed_auths"] == 1
    await client.peer.stop()


async def test_messages_travel_both_ways_unchanged_and_acked(client, serve):
    inbox, arrivals = Inbox(), Inbox()
    server = await serve(on_message=inbox.put, on_connect=arrivals.put)
    await client.open(server)
    connection_uuid, _ = await arrivals.get()
    payloads = one_of_each_kind(ALICE)
    for payload in payloads:
        assert await server.send_message(parsed(payload)) == {connection_uuid: True}
        received = await client.receive()
        assert (received["ver"], received["type"], received["payload"]) == (1, "sys_std", payload)
        await client.send(ack_for(received))
        msg_id = "msg_of_mine_" + payload["message_info"]["message_id"]
        await client.send(envelope("sys_std", payload, msg_id=msg_id))
        message, metadata = await inbox.get()
        assert message.to_dict() == payload
        ack = await client.receive()
        assert (ack["type"], ack["meta"]["uuid"]) == ("sys_ack", connection_uuid)
        assert ack["meta"]["acked_msg_id"] == metadata["msg_id"] == msg_id
        assert ack["payload"]["status"] == "received"
    assert server.get_stats()["messages_acked"] == len(payloads)
    await client.peer.stop()


async def test_custom_messages_travel_both_ways(client, serve):
    pings, arrivals = Inbox(), Inbox()
    server = await serve(on_connect=arrivals.put, custom_handlers={"ping": pings.put})
    await client.open(server)
    connection_uuid, _ = await arrivals.get()
    await client.send(envelope("custom_ping", {"number": 7}))
    assert (await pings.get())[0] == {"number": 7}
    assert (await client.receive())["type"] == "sys_ack"
    await server.send_custom_message("pong", {"number": 8}, connection_uuid=connection_uuid)
    received = await client.receive()
    assert (received["type"], received["payload"]) == ("custom_pong", {"number": 8})
    await client.peer.stop()


async def test_a_payload_without_envelope_and_one_in_a_binary_frame_are_taken(client, serve):
    inbox, arrivals = Inbox(), Inbox()
    server = await serve(on_message=inbox.put, on_connect=arrivals.put)
    await client.open(server)
    await arrivals.get()
    bare, binary = text_to(BOB, "no envelope"), text_to(BOB, "二进制")
    await client.send(json.dumps(bare))
    assert (await inbox.get())[0].to_dict() == bare
    await client.send(envelope("sys_std", binary, msg_id="msg_binary"), binary=True)
    assert (await inbox.get())[0].to_dict() == binary
    assert (await client.receive())["meta"]["acked_msg_id"] == "msg_binary"
    await client.peer.stop()


async def test_what_is_no_message_gets_a_sys_error_and_the_connection_lives_on(client, serve):
    inbox, arrivals = Inbox(), Inbox()
    server = await serve(on_message=inbox.put, on_connect=arrivals.put)
    await client.open(server)
    await arrivals.get()
    incomplete = text_to(BOB, "")
    del incomplete["message_segment"]
    for frame, code in [("{", "invalid_json"), (envelope("sys_std", incomplete, msg_id="msg_bad"), "invalid_payload")]:
        await client.send(frame)
        answer = await client.receive()
        assert (answer["type"], answer["payload"]["code"]) == ("sys_error", code)
    assert answer["meta"]["failed_msg_id"] == "msg_bad"
    assert "message_segment" in answer["payload"]["message"]
    await client.send(envelope("sys_std", text_to(BOB, "a good one")))
    assert (await inbox.get())[0].message_segment.data == "a good one"
    assert server.get_stats()["invalid_frames"] == 2
    await client.peer.stop()


async def test_it_is_told_1001_when_our_server_stops_and_can_come_back(client, serve):
    arrivals = Inbox()
    first = await serve(on_connect=arrivals.put)
    await client.open(first)
    await arrivals.get()
    await client.peer.expect("connected")
    port = first.port
    await first.stop()
    assert (await client.peer.expect("closed"))["code"] == 1001
    second = await serve(port=port, on_connect=arrivals.put)
    await client.open(second)
    await arrivals.get()
    await client.peer.expect("connected")
    await client.peer.stop()
