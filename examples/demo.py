"""The demonstration behind `make demo`: a relay server and two people who talk through it, all on your screen.

Every line is something that happened: when, to whom, what. At the end stands what each of the three has sent, received
and had acknowledged. The exit status is 0 only if everything arrived, and arrived unchanged.

The server is the one of `python -m maim_trio serve`. A program of your own begins like quickstart_server.py.
"""

from __future__ import annotations

import base64
import io
import logging
import struct
import sys
import time
import zlib
from typing import Any

import trio

from maim_trio._cli.access import KnownKeys
from maim_trio._cli.keys import check_entries, parse_keys
from maim_trio._cli.relay import Relay
from maim_trio.client import WebSocketClient, create_client_config
from maim_trio.message import APIMessageBase, BaseMessageInfo, MessageDim, Seg, SenderInfo, UserInfo

KEYS = """
[[key]]
key = "demo-key-of-alice"
user = "alice"

[[key]]
key = "demo-key-of-bob"
user = "bob"
platforms = ["wechat"]

[[key]]
key = "demo-key-of-carol"
user = "carol"
"""
PATIENCE = 10.0  # seconds for any one thing to happen; it takes milliseconds


def show(who: str, event: str, detail: str = "") -> None:
    """One line of the log."""
    now = time.time()
    clock = f"{time.strftime('%H:%M:%S', time.localtime(now))}.{int(now * 1000) % 1000:03d}"
    print(f"{clock}  {who:<7}  {event:<9} {detail}".rstrip(), flush=True)


class OnScreen(logging.Handler):
    """What the server logs, as lines of the same log."""

    def emit(self, record: logging.LogRecord) -> None:
        show("server", "", record.getMessage())


class Checks:
    """What had to be true, and was or was not."""

    def __init__(self) -> None:
        self.failed: list[str] = []

    def __call__(self, what: str, holds: bool) -> None:
        if not holds:
            self.failed.append(what)


class Person:
    """A client, and what it has received."""

    def __init__(self, name: str, platform: str, port: int) -> None:
        self.name, self.platform, self.key = name, platform, f"demo-key-of-{name}"
        self._put, self.inbox = trio.open_memory_channel[Any](10)
        config = create_client_config(
            f"ws://127.0.0.1:{port}/ws", self.key, platform=platform, on_message=self._received, log_level="WARNING"
        )
        config.register_custom_handler("demo_answer", self._received)
        config.register_custom_handler("relay_report", self._received)
        self.client = WebSocketClient(config)

    async def _received(self, content: Any, _metadata: dict[str, Any]) -> None:
        await self._put.send(content)

    async def next(self) -> Any:
        """What arrived next; None when nothing does."""
        with trio.move_on_after(PATIENCE):
            return await self.inbox.receive()
        return None

    def message_to(self, receiver: Person, number: int, segment: Seg) -> APIMessageBase:
        return APIMessageBase(
            message_info=BaseMessageInfo(
                platform=self.platform,
                message_id=f"demo-{number}",
                time=time.time(),
                sender_info=SenderInfo(user_info=UserInfo(self.platform, user_id=self.name)),
            ),
            message_segment=segment,
            message_dim=MessageDim(api_key=receiver.key, platform=receiver.platform),
        )


def small_png(size: int = 48) -> bytes:
    """A picture made here and now: a sunset, as 8-bit RGB."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = []
    for y in range(size):
        sun = [(x - size / 2) ** 2 + (y - size * 0.6) ** 2 < (size / 5) ** 2 for x in range(size)]
        sky = bytes([80 + 3 * y, 40 + 2 * y, 120 - y])
        rows.append(b"\0" + b"".join(b"\xff\xd7\x5a" if inside else sky for inside in sun))
    head = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"".join(rows), 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def described(segment: Seg) -> str:
    """A segment in a few words."""
    if segment.type == "seglist":
        return f"seglist [{', '.join(described(inner) for inner in segment.data)}]"
    if segment.type == "image":
        return f"image, PNG of {len(base64.b64decode(segment.data))} bytes"
    return f"{segment.type} “{segment.data}”"


def conversation(image: str) -> list[tuple[str, str, Seg]]:
    """Who says what to whom."""
    answer = Seg("seglist", [Seg("emoji", "🙂"), Seg("seglist", [Seg("text", "nested,"), Seg("text", "twice")])])
    return [
        ("alice", "bob", Seg("text", "Hello Bob, 你好！")),
        ("bob", "alice", Seg("text", "Hello Alice, nice to hear from you.")),
        ("alice", "bob", Seg("seglist", [Seg("text", "Look what a list can hold:"), answer])),
        ("bob", "alice", Seg("image", image)),
    ]


async def talk(people: dict[str, Person], check: Checks) -> None:
    """Standard messages, one after the other, each compared with what arrives at the other end."""
    image = base64.b64encode(small_png()).decode()
    for number, (sender, receiver, segment) in enumerate(conversation(image), 1):
        message = people[sender].message_to(people[receiver], number, segment)
        check(f"message {number} was accepted", await people[sender].client.send_message(message))
        show(sender, "sends", f"{described(segment)}, to {receiver}")
        arrived = await people[receiver].next()
        same = isinstance(arrived, APIMessageBase) and arrived.to_dict() == message.to_dict()
        check(f"message {number} arrived unchanged", same)
        show(receiver, "receives", f"{described(arrived.message_segment)}, unchanged" if same else f"{arrived!r}")


async def custom_both_ways(person: Person, relay: Relay, check: Checks) -> None:
    """A custom message to the server, and one from the server."""

    async def answer(payload: dict[str, Any], metadata: dict[str, Any]) -> None:
        show("server", "receives", f"custom demo_question {payload}")
        total = {"sum": sum(payload["numbers"])}
        await relay.server.send_custom_message("demo_answer", total, connection_uuid=metadata["uuid"])
        show("server", "sends", f"custom demo_answer {total}")

    relay.server.register_custom_handler("demo_question", answer)
    question = {"numbers": [1, 2.5, 3], "why": "每个人都要算"}
    check("the question was accepted", await person.client.send_custom_message("demo_question", question))
    show(person.name, "sends", f"custom demo_question {question}")
    arrived = await person.next()
    check("the answer arrived", arrived == {"sum": 6.5})
    show(person.name, "receives", f"custom demo_answer {arrived}")


async def write_to_nobody(person: Person, absent: Person, check: Checks) -> None:
    """What happens to a message for somebody who is not there."""
    message = person.message_to(absent, 5, Seg("text", "Carol, are you there?"))
    check("the message to nobody was accepted", await person.client.send_message(message))
    show(person.name, "sends", f"{described(message.message_segment)}, to {absent.name}")
    report = await person.next()
    check("the relay reported it", isinstance(report, dict) and report.get("reason") == "not_connected")
    show(person.name, "receives", f"custom relay_report {report}")


def sum_up(everyone: dict[str, dict[str, Any]], check: Checks) -> None:
    """The table at the end. Who stopped has read every ack that was on its way."""
    print(f"\n{'':9}{'sent':>7}{'of these acknowledged':>24}{'received':>11}")
    for name, stats in everyone.items():
        sent, acked, received = (stats[key] for key in ("messages_sent", "messages_acked", "messages_received"))
        print(f"  {name:<7}{sent:>7}{acked:>24}{received:>11}")
        check(f"everything that {name} sent was acknowledged", sent == acked)
        check(f"{name} saw no error", not stats["error_count"])
    expected = {"alice": (3, 3), "bob": (3, 3), "server": (6, 6)}
    counted = {name: (stats["messages_sent"], stats["messages_received"]) for name, stats in everyone.items()}
    check(f"the counts are right: {counted}", counted == expected)


async def demo(check: Checks) -> None:
    relay = Relay(KnownKeys(check_entries(parse_keys(KEYS, "the demo's keys"))), host="127.0.0.1", port=0)
    async with relay.server as server:
        people = {name: Person(name, platform, server.port) for name, platform in [("alice", "qq"), ("bob", "wechat")]}
        alice, bob = people.values()
        async with alice.client, bob.client:
            for person in (alice, bob):
                check(f"{person.name} is connected", await person.client.connect())
                show(person.name, "connects", f"as {person.name} on {person.platform}")
            await talk(people, check)
            await custom_both_ways(alice, relay, check)
            await write_to_nobody(bob, Person("carol", "qq", server.port), check)
    check("nobody is connected any more", server.get_connection_count() == 0)
    check("the server has stopped", not server.is_running())
    endpoints = [("alice", alice.client), ("bob", bob.client), ("server", server)]
    sum_up({name: endpoint.get_stats() for name, endpoint in endpoints}, check)


def main() -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that knows no Chinese must not end the demo
    logger = logging.getLogger("maim_trio")
    logger.addHandler(OnScreen())
    logger.setLevel(logging.INFO)
    check = Checks()
    trio.run(demo, check)
    for failed in check.failed:
        print(f"FAILED: {failed}")
    if not check.failed:
        print("\neverything arrived, unchanged, and was acknowledged")
    return 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main())
