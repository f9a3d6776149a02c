"""What the relay does with messages, and what it says about them."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import trio

from maim_trio._cli.access import KnownKeys
from maim_trio._cli.keys import KeyEntry, check_entries
from maim_trio._cli.relay import INVALID, NOT_CONNECTED, QUEUE_FULL, REPORT, Relay
from maim_trio._transport.handshake import open_link
from maim_trio._transport.limits import Limits
from maim_trio._transport.link import Link, running
from maim_trio._wire.codec import Custom, decode
from maim_trio.client import WebSocketClient, create_client_config
from maim_trio.message import APIMessageBase, BaseMessageInfo, MessageDim, Seg
from tests.cli.program import ALICE, BOB, PATIENCE

Connect = Callable[..., Awaitable["Person"]]


class Person:
    """A connected client, and what it has received."""

    def __init__(self, relay: Relay, key: str, platform: str) -> None:
        self._put, self._received = trio.open_memory_channel[Any](1000)
        config = create_client_config(
            f"ws://127.0.0.1:{relay.server.port}/ws", key, platform=platform, on_message=self._take,
            custom_handlers={REPORT: self._take}, handler_ordering="per_connection",
        )  # fmt: skip
        self.client = WebSocketClient(config)

    async def _take(self, content: Any, _metadata: dict[str, Any]) -> None:
        await self._put.send(content)

    async def next(self) -> Any:
        with trio.fail_after(PATIENCE):
            return await self._received.receive()

    async def write(self, text: str, *, to: str, platform: str = "qq", message_id: str = "m1") -> None:
        message = APIMessageBase(
            BaseMessageInfo(platform="qq", message_id=message_id, time=1.5), Seg("text", text), MessageDim(to, platform)
        )
        # The library refuses to send to nobody, and other people's programs do not.
        assert await self.client.send_message(message)


@pytest.fixture
async def relay(nursery: trio.Nursery) -> AsyncIterator[Relay]:
    relay = Relay(
        KnownKeys(check_entries([KeyEntry(ALICE, "alice"), KeyEntry(BOB, "bob")])),
        host="127.0.0.1",
        port=0,
        close_timeout=0.5,
    )
    await relay.server.start(nursery)
    yield relay
    await relay.server.stop()


@pytest.fixture
async def connect(relay: Relay, nursery: trio.Nursery) -> AsyncIterator[Connect]:
    people: list[Person] = []

    async def connect(key: str, platform: str = "qq") -> Person:
        person = Person(relay, key, platform)
        people.append(person)
        await person.client.start(nursery)
        assert await person.client.connect()
        return person

    yield connect
    for person in people:
        await person.client.stop()


async def bare_link(relay: Relay, key: str) -> Link:
    """A connection of which only the test reads."""
    stream = await trio.open_tcp_stream("127.0.0.1", relay.server.port)
    headers = [(b"x-apikey", key.encode()), (b"x-platform", b"qq")]
    return await open_link(stream, host="127.0.0.1", target="/ws", headers=headers, limits=Limits())


def lines_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "maim_trio.relay"]


async def test_a_message_goes_to_every_connection_it_is_for_and_to_no_other(relay, connect, caplog):
    caplog.set_level(logging.INFO)
    alice, first, second, elsewhere = [await connect(*who) for who in [(ALICE,), (BOB,), (BOB,), (BOB, "wechat")]]
    await alice.write("private words", to=BOB)
    for person in (first, second):
        assert (await person.next()).message_segment.data == "private words"
    await alice.write("other words", to=BOB, platform="wechat")
    assert (await elsewhere.next()).message_segment.data == "other words"
    assert relay.relayed == 2
    said = lines_of(caplog)
    assert said[0].startswith("relayed m1 (msg_")
    assert "from alice on qq for bob on qq, " in said[0]
    assert said[0].endswith(" bytes, to 2 connections")
    assert said[1].endswith(" bytes, to 1 connection")
    assert not any(secret in caplog.text for secret in (ALICE, BOB, "private words"))


async def test_a_whole_message_arrives_as_it_was_sent(connect):
    alice, bob = await connect(ALICE), await connect(BOB)
    nested = Seg("seglist", [Seg("text", "你好"), Seg("seglist", [Seg("emoji", "🙂"), Seg("notify", {"a": [1, 2.5]})])])
    sent = APIMessageBase(
        BaseMessageInfo(platform="qq", message_id="m1", time=1.5, additional_config={"reply": None}),
        nested,
        MessageDim(BOB, "qq"),
    )
    assert await alice.client.send_message(sent)
    assert await bob.next() == sent


async def test_messages_of_one_sender_stay_in_order(connect):
    alice, bob = await connect(ALICE), await connect(BOB)
    for number in range(200):
        await alice.write(str(number), to=BOB)
    assert [(await bob.next()).message_segment.data for _ in range(200)] == [str(number) for number in range(200)]


@pytest.mark.parametrize("receiver", [BOB, "sk-nobody-knows"])
async def test_the_sender_is_told_when_nobody_is_there(relay, connect, caplog, receiver):
    alice, elsewhere = await connect(ALICE), await connect(BOB, "wechat")
    await alice.write("are you there?", to=receiver, message_id="m7")
    report = await alice.next()
    msg_id = report.pop("msg_id")
    assert report == {
        "message_id": "m7",
        "platform": "qq",
        "delivered": 0,
        "reason": NOT_CONNECTED,
        "message": "nobody is connected there",
    }
    assert (relay.relayed, relay.undelivered) == (0, 1)
    (said,) = lines_of(caplog)
    assert said.startswith(f"not delivered m7 ({msg_id}) from alice on qq for ")
    assert receiver not in said
    await alice.write("here?", to=BOB, platform="wechat")
    assert (await elsewhere.next()).message_segment.data == "here?"


async def test_a_message_for_nobody_is_reported_as_invalid(relay, caplog):
    link = await bare_link(relay, ALICE)
    receiver_left_out = (
        b'{"ver":1,"msg_id":"msg_1","type":"sys_std","meta":{},"payload":{"message_info":{"platform":"qq",'
        b'"message_id":"m1\\n","time":1},"message_segment":{"type":"text","data":"x"},'
        b'"message_dim":{"api_key":"","platform":""}}}'
    )
    async with running(link):
        link.send_text_nowait(receiver_left_out)
        with trio.fail_after(PATIENCE):
            frames = await link.receive()
            while not isinstance(received := decode(frames[-1]), Custom):
                frames = await link.receive()
    report = received.payload
    assert report["reason"] == INVALID
    assert "message_dim.api_key" in report["message"]
    (said,) = lines_of(caplog)
    assert said.startswith("not delivered m1\\n (msg_1) from alice on qq for nobody on nothing, ")


async def test_the_sender_is_told_when_the_receiver_does_not_read(relay, connect):
    alice, silent = await connect(ALICE), await bare_link(relay, BOB)
    for _ in range(2):  # the first fills what the server keeps for one connection
        await alice.write("x" * 50 * 2**20, to=BOB)
    report = await alice.next()
    silent.abort()
    await silent.aclose()
    assert report["reason"] == QUEUE_FULL
    assert (relay.relayed, relay.undelivered) == (1, 1)
