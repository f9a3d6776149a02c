"""Cuts between maim_message and us. What we accept arrives; what the peer loses by its own rules is counted.

The peer's programs keep no message that they have handed to a socket, and its clients handle again what is sent again.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.faults import FaultProxy, fault_proxy
from tests.interop.ours import ALICE, PLATFORM, USERS, parsed, text_to
from tests.interop.peer_process import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.interop.peer_process import PeerProcess

CUTS = 8
MESSAGES = 200
PACE = 0.01  # seconds between two messages


class Heard:
    """The numbers that our handler has got."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    async def put(self, message: Any, metadata: Any) -> None:
        self.numbers.append(int(message.message_segment.data))


async def cut_now_and_then(proxy: FaultProxy) -> None:
    dice = random.Random(11)
    for _ in range(CUTS):
        await trio.sleep(MESSAGES * PACE / CUTS * dice.uniform(0.5, 1.5))
        proxy.cut()


async def have_peer_send(peer: PeerProcess) -> None:
    for number in range(MESSAGES):
        await peer.do("send", message=text_to(ALICE, str(number)))
        await trio.sleep(PACE)


async def answers(peer: PeerProcess) -> list[bool]:
    """What the peer said to each message, in order."""
    said = []
    for _ in range(MESSAGES):
        sent = await peer.expect("sent")
        said.append(sent["ok"] if "ok" in sent else any(sent["results"].values()))
    return said


async def settled(stats: Any) -> None:
    """Until nothing of ours waits for an ack any more."""
    with trio.fail_after(PATIENCE):
        while stats()["outbox_size"]:  # noqa: ASYNC110
            await trio.sleep(0.05)


def heard_by(peer: PeerProcess) -> list[int]:
    return [int(event["message"]["message_segment"]["data"]) for event in peer.unread("message")]


def report(direction: str, accepted: list[int], heard: list[int]) -> str:
    counts = Counter(heard)
    lost = [number for number in accepted if not counts[number]]
    repeated = sum(times - 1 for times in counts.values())
    return f"{direction}: accepted {len(accepted)}, lost {len(lost)}, handled again {repeated}, {CUTS} cuts"


@pytest.fixture
async def talkative(capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Any]:
    """Prints what was counted, also when the test passes."""
    lines: list[str] = []
    yield lines.append
    with capsys.disabled():
        print("", *lines, sep="\n")


async def test_our_server_and_their_client(maim_message, start_peer, serve, nursery, talkative):
    heard = Heard()
    server = await serve(on_message=heard.put, handler_ordering="per_connection")
    async with fault_proxy(server.port) as proxy:
        peer = await start_peer("maim_message's client", maim_message, "maim_message_client.py")
        await peer.do("connect", url=f"ws://127.0.0.1:{proxy.port}/ws", api_key=ALICE, platform=PLATFORM)
        await peer.expect("connect_result", ok=True)
        accepted: list[int] = []
        async with trio.open_nursery() as sending:
            sending.start_soon(cut_now_and_then, proxy)
            sending.start_soon(have_peer_send, peer)
            for number in range(MESSAGES):
                if any((await server.send_message(parsed(text_to(ALICE, str(number))))).values()):
                    accepted.append(number)
                await trio.sleep(PACE)
        said = await answers(peer)
        await settled(server.get_stats)
        theirs, ours = [number for number in range(MESSAGES) if said[number]], heard_by(peer)
        talkative(report("their client → our server", theirs, heard.numbers))
        talkative(report("our server → their client", accepted, ours))
        # Towards them: at least once. What was handled again is what we have sent again, no more.
        assert set(accepted) <= set(ours)
        assert len(ours) - len(set(ours)) <= server.get_stats()["messages_resent"]
        # From them: never twice, whatever their retransmission does.
        assert len(heard.numbers) == len(set(heard.numbers))
        await peer.stop()


async def test_our_client_and_their_server(maim_message, start_peer, client_of_ours, nursery, talkative):
    heard = Heard()
    peer = await start_peer("maim_message's server", maim_message, "maim_message_server.py")
    await peer.do("start", port=0, keys=USERS)
    port = (await peer.expect("listening"))["port"]
    async with fault_proxy(port) as proxy:
        client = await client_of_ours(
            f"ws://127.0.0.1:{proxy.port}/ws",
            on_message=heard.put,
            max_reconnect_attempts=0,
            handler_ordering="per_connection",
        )
        assert await client.connect()
        accepted: list[int] = []
        async with trio.open_nursery() as sending:
            sending.start_soon(cut_now_and_then, proxy)
            sending.start_soon(have_peer_send, peer)
            for number in range(MESSAGES):
                if await client.send_message(parsed(text_to(ALICE, str(number)))):
                    accepted.append(number)
                await trio.sleep(PACE)
        said = await answers(peer)
        await settled(client.get_stats)
        with trio.move_on_after(5):  # it acknowledges before its handler runs and says so
            while not set(accepted) <= set(heard_by(peer)):  # noqa: ASYNC110
                await trio.sleep(0.01)
        theirs, ours = [number for number in range(MESSAGES) if said[number]], heard_by(peer)
        talkative(report("our client → their server", accepted, ours))
        talkative(report("their server → our client", theirs, heard.numbers))
        assert len(accepted) == MESSAGES
        assert set(accepted) <= set(ours)
        assert len(ours) - len(set(ours)) <= client.get_stats()["messages_resent"]
        assert len(heard.numbers) == len(set(heard.numbers))
        await peer.stop()
