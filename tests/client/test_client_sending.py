"""What a client sends, and what it says when it cannot."""

from __future__ import annotations

import copy
import math
import re
import time

import pytest
import trio
import trio.testing

from maim_trio.client import _core
from maim_trio.errors import InvalidMessage
from maim_trio.message import APIMessageBase
from tests.client.raw import acks, old_server, silent, welcomes
from tests.memory import text_message

settled = trio.testing.wait_all_tasks_blocked


async def test_a_standard_message_goes_out_in_its_envelope(network, play):
    peers = await play(welcomes)
    message = text_message("hi 微信", to="key_of_bob", platform="wechat")
    async with network.client(platform="telegram") as client:
        assert await client.connect()
        assert await client.send_message(message) is True
        await settled()
        (envelope,) = peers[0].heard
    assert envelope["ver"] == 1
    assert envelope["type"] == "sys_std"
    assert envelope["msg_id"].startswith("msg_")
    assert envelope["payload"] == message.to_dict()
    assert envelope["payload"]["message_dim"] == {"api_key": "key_of_bob", "platform": "wechat"}
    assert envelope["meta"].keys() == {"sender_user", "platform", "timestamp"}
    assert envelope["meta"]["sender_user"] == "key_of_client"
    assert envelope["meta"]["platform"] == "telegram"
    assert envelope["meta"]["timestamp"] == pytest.approx(time.time(), abs=60)


async def test_a_custom_message_gets_its_prefix_once(network, play):
    peers = await play(welcomes)
    async with network.client() as client:
        assert await client.connect()
        assert await client.send_custom_message("ping", {"n": 1}) is True
        assert await client.send_custom_message("custom_pong", {"n": 2}) is True
        await settled()
        first, second = peers[0].heard
    assert (first["type"], first["payload"]) == ("custom_ping", {"n": 1})
    assert (second["type"], second["payload"]) == ("custom_pong", {"n": 2})
    assert first["msg_id"].startswith("custom_")
    assert first["msg_id"] != second["msg_id"]
    assert first["meta"].keys() == {"sender_user", "platform", "timestamp"}


async def test_ids_are_unique_and_order_is_kept(network, play):
    peers = await play(welcomes)
    async with network.client() as client:
        assert await client.connect()
        for n in range(300):
            assert await client.send_message(text_message(str(n)))
        await settled()
        heard = peers[0].heard
    assert [envelope["payload"]["message_segment"]["data"] for envelope in heard] == [str(n) for n in range(300)]
    assert len({envelope["msg_id"] for envelope in heard}) == 300
    assert all(re.fullmatch(r"msg_[0-9a-f]{12}_\d+", envelope["msg_id"]) for envelope in heard)


async def test_sending_changes_nothing_of_the_message(network, play):
    await play(welcomes)
    message = text_message()
    before = copy.deepcopy(message)
    async with network.client() as client:
        assert await client.connect()
        assert await client.send_message(message)
    assert message == before


async def test_a_loop_of_sends_lets_others_run(network, play):
    await play(welcomes)
    async with network.client() as client:
        assert await client.connect()
        turns = 0

        async def others():
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(others)
            for _ in range(1000):
                assert await client.send_message(text_message())
            nursery.cancel_scope.cancel()
        assert turns > 10


# -- False


async def test_false_before_start_before_connect_after_disconnect_and_after_stop(network, play):
    await play(welcomes)
    client = network.client()

    async def refused(*words):
        assert await client.send_message(text_message()) is False
        assert await client.send_custom_message("x", {}) is False
        assert all(word in client.get_last_error() for word in words)

    await refused()
    async with client:
        await refused("connect()")
        assert await client.connect()
        assert client.get_last_error() is None
        await client.disconnect()
        await refused()
    await refused()


@pytest.mark.parametrize("script", [silent, old_server])
async def test_false_while_the_first_connection_is_not_there_yet_or_it_is_delivered_later(network, play, script):
    """True would mean that the client has taken responsibility."""
    peers = await play(script, welcomes)
    async with network.client(connect_timeout=0.25) as client:
        await client.connect()
        accepted = await client.send_message(text_message("early"))
        await trio.sleep(60)
        arrived = [message for peer in peers for message in peer.heard]
        assert len(arrived) == accepted


# -- a server that does not read


class Stalled(trio.abc.Stream):
    """Passes on so many bytes and then takes no more."""

    def __init__(self, inner, budget):
        self.inner, self.budget = inner, budget
        self.opened = trio.Event()

    async def send_all(self, data):
        if self.budget < len(data):
            await self.opened.wait()
        self.budget -= len(data)
        await self.inner.send_all(data)

    async def wait_send_all_might_not_block(self):
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes=None):
        return await self.inner.receive_some(max_bytes)

    async def aclose(self):
        self.opened.set()
        await self.inner.aclose()


@pytest.fixture
def stalling(network, play, monkeypatch):
    """A connected client whose stream takes the handshake and no more, and whose outbox is full with one message."""
    monkeypatch.setattr(_core, "EXTRA_QUEUED", 0)

    async def make(**config):
        await play(acks)
        client = network.client(ping_interval=0, message_cache_max_bytes=1000, **config)
        streams = []

        async def open_stream(_address):
            await trio.lowlevel.checkpoint()
            streams.append(Stalled(network.connect(), 1000))
            return streams[-1]

        client.open_stream = open_stream
        return client, streams

    return make


async def fill(client):
    """Sends until there is no room; how many were accepted."""
    accepted = 0
    while True:
        with trio.move_on_after(1) as scope:
            accepted += await client.send_message(text_message("x" * 900))
        if scope.cancelled_caught:
            return accepted


async def test_true_once_there_is_room_again(stalling):
    client, streams = await stalling()
    async with client:
        assert await client.connect()
        await fill(client)
        results = []

        async def send():
            results.append(await client.send_message(text_message("x" * 900)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await trio.sleep(5)
            assert results == []
            streams[0].budget = 1_000_000
            streams[0].opened.set()
        assert results == [True]


async def test_false_after_send_timeout_and_never_partly_sent(stalling):
    client, _ = await stalling(send_timeout=3.0, auto_reconnect=False, close_timeout=1.0)
    async with client:
        assert await client.connect()
        start = trio.current_time()
        results = [await client.send_message(text_message("x" * 900)) for _ in range(3)]
        assert results[-1] is False
        assert trio.current_time() - start <= 3.1
        assert client.get_last_error()


async def test_a_sender_that_waits_is_told_when_the_connection_ends(stalling):
    client, _ = await stalling(send_timeout=1000.0, close_timeout=1.0)
    async with client:
        assert await client.connect()
        await fill(client)
        results = []

        async def send():
            results.append(await client.send_message(text_message("x" * 900)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await trio.sleep(1)
            await client.disconnect()
        assert results == [False]


async def test_a_cancelled_send_was_not_sent(stalling):
    client, streams = await stalling()
    async with client:
        assert await client.connect()
        accepted = await fill(client)
        assert accepted >= 1
        streams[0].budget = 1_000_000
        streams[0].opened.set()
        await settled()
        assert client.get_stats()["messages_sent"] == accepted


# -- messages that cannot be


def broken(**changes):
    message = text_message()
    for path, value in changes.items():
        *parents, name = path.split("__")
        target = message
        for parent in parents:
            target = getattr(target, parent)
        setattr(target, name, value)
    return message


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"message_dim__api_key": ""}, "message_dim.api_key"),
        ({"message_dim__platform": ""}, "message_dim.platform"),
        ({"message_dim__api_key": None}, "message_dim.api_key"),
        ({"message_dim": None}, "message_dim"),
        ({"message_info__time": math.nan}, "message_info.time"),
        ({"message_info__time": "now"}, "message_info.time"),
        ({"message_info__message_id": None}, "message_info.message_id"),
        ({"message_segment": None}, "message_segment"),
        ({"message_segment__data": math.inf}, "message_segment"),
        ({"message_segment__data": object()}, "message_segment"),
        ({"message_segment__data": b"bytes"}, "message_segment"),
        ({"message_segment__data": "\ud800"}, "message_segment"),
        ({"message_segment__data": {1: 2}}, "message_segment"),
    ],
)
async def test_an_invalid_message_is_an_error_that_names_the_place(network, play, changes, place):
    peers = await play(welcomes)
    async with network.client() as client:
        assert await client.connect()
        with pytest.raises(InvalidMessage, match=re.escape(place)):
            await client.send_message(broken(**changes))
        assert await client.send_message(text_message())
        await settled()
        assert len(peers[0].heard) == 1
        assert client.get_stats()["messages_sent"] == 1


@pytest.mark.parametrize("message", [None, "text", {"message_info": {}}, APIMessageBase])
async def test_only_messages_are_sent_as_messages(network, play, message):
    await play(welcomes)
    async with network.client() as client:
        assert await client.connect()
        with pytest.raises(InvalidMessage, match="APIMessageBase"):
            await client.send_message(message)


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("", {}),
        ("custom_", {}),
        (5, {}),
        (None, {}),
        ("x", None),
        ("x", []),
        ("x", "text"),
        ("x", {"a": math.nan}),
        ("x", {"a": object()}),
        ("x", {"a": "\ud800"}),
        ("x", {5: 1}),
        ("\ud800", {}),
    ],
)
async def test_an_invalid_custom_message_is_an_error(network, play, kind, payload):
    peers = await play(welcomes)
    async with network.client() as client:
        assert await client.connect()
        with pytest.raises(InvalidMessage):
            await client.send_custom_message(kind, payload)
        assert await client.send_custom_message("ok", {})
        await settled()
        assert len(peers[0].heard) == 1


async def test_a_payload_that_holds_itself_is_an_error(network, play):
    await play(welcomes)
    payload = {}
    payload["again"] = payload
    async with network.client() as client:
        assert await client.connect()
        with pytest.raises(InvalidMessage):
            await client.send_custom_message("x", payload)
        assert client.is_connected()
