"""All the programs at once, each as another user, talking with each other through one server of ours."""

from __future__ import annotations

import json
from itertools import permutations
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from tests.conftest import needs
from tests.interop.bare_client import BareClient, start_bare_client
from tests.interop.ours import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    ERIN,
    PLATFORM,
    USERS,
    Inbox,
    ack_for,
    envelope,
    parsed,
    text_to,
    url_of,
)
from tests.peers import peer_python

if TYPE_CHECKING:
    from maim_trio.client import WebSocketClient
    from tests.interop.peer_process import PeerProcess


class Participant(Protocol):
    async def send(self, payload: dict[str, Any]) -> None: ...

    async def receive(self) -> tuple[str, str]:
        """The text of the next message, and all that the program shows of it."""


class WithMaimMessage:
    def __init__(self, peer: PeerProcess) -> None:
        self.peer = peer

    async def send(self, payload: dict[str, Any]) -> None:
        await self.peer.do("send", message=payload)

    async def receive(self) -> tuple[str, str]:
        event = await self.peer.expect("message")
        return event["message"]["message_segment"]["data"], json.dumps(event)


class ByHand:
    def __init__(self, client: BareClient) -> None:
        self.client = client

    async def send(self, payload: dict[str, Any]) -> None:
        await self.client.send(envelope("sys_std", payload))

    async def receive(self) -> tuple[str, str]:
        while (received := await self.client.receive())["type"] == "sys_ack":
            pass
        await self.client.send(ack_for(received))
        return received["payload"]["message_segment"]["data"], json.dumps(received)


class WithOurs:
    def __init__(self, client: WebSocketClient, inbox: Inbox) -> None:
        self.client, self.inbox = client, inbox

    async def send(self, payload: dict[str, Any]) -> None:
        assert await self.client.send_message(parsed(payload))

    async def receive(self) -> tuple[str, str]:
        message, metadata = await self.inbox.get()
        return message.message_segment.data, json.dumps([message.to_dict(), metadata["meta"]])


@pytest.fixture
def join(start_peer, client_of_ours):
    """Gives every key a program of its own, connecting to the server."""

    async def with_maim_message(version: str, server: Any, key: str) -> WithMaimMessage:
        interpreter = needs(peer_python, version)
        peer = await start_peer(f"maim_message {version}", interpreter, "maim_message_client.py")
        await peer.do("connect", url=url_of(server), api_key=key, platform=PLATFORM)
        await peer.expect("connected")
        return WithMaimMessage(peer)

    async def by_hand(library: str, server: Any, key: str) -> ByHand:
        client = await start_bare_client(library, start_peer)
        await client.open(server, key)
        return ByHand(client)

    async def everybody(server: Any) -> dict[str, Participant]:
        inbox = Inbox()
        ours = await client_of_ours(url_of(server), CAROL, on_message=inbox.put)
        assert await ours.connect()
        return {
            ALICE: await with_maim_message("0.6.8", server, ALICE),
            BOB: await with_maim_message("0.6.5", server, BOB),
            CAROL: WithOurs(ours, inbox),
            DAVE: await by_hand("node-ws", server, DAVE),
            ERIN: await by_hand("aiohttp", server, ERIN),
        }

    return everybody


async def test_everybody_writes_to_everybody_else_and_no_key_reaches_another_user(serve, join):
    arrivals = Inbox()

    async def hand_on(message: Any, metadata: Any) -> None:
        assert await server.send_message(message)

    server = await serve(on_message=hand_on, on_connect=arrivals.put)
    everybody = await join(server)
    for _ in everybody:
        await arrivals.get()
    for sender, receiver in permutations(everybody, 2):
        await everybody[sender].send(text_to(receiver, f"{USERS[sender]} to {USERS[receiver]}"))
    for receiver, participant in everybody.items():
        others = [key for key in everybody if key != receiver]
        texts = set()
        for _ in others:
            text, everything = await participant.receive()
            texts.add(text)
            assert not any(key in everything for key in others)
        assert texts == {f"{USERS[key]} to {USERS[receiver]}" for key in others}
    assert server.get_stats()["handler_errors"] == 0
