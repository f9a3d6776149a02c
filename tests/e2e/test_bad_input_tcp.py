"""Each kind of bad input over TCP, on a real socket.

It ends its own connection, with one line in the log that says why. A good client on the same server notices nothing.
"""

from __future__ import annotations

import json
import struct
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

from maim_trio import MessageClient, MessageServer
from tests.legacy.memory import TOKEN, text, words_of
from tests.legacy.tcp import raw
from tests.legacy.tcp.raw import TcpPeer
from tests.server.conftest import log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

__all__ = ["log"]

PATIENCE = 20.0
"""Seconds after which a test that waits for an event has failed."""


class TcpArena:
    """The server under attack, and a good client that chats with itself through it."""

    def __init__(self) -> None:
        self.server = MessageServer(
            "127.0.0.1",
            0,
            enable_token=True,
            mode="tcp",
            handshake_timeout=0.5,
            close_timeout=0.5,
            max_message_size=1024,
        )
        self.server.add_valid_token(TOKEN)
        self.server.register_message_handler(self._relay)
        self.chat: list[int] = []
        self._news = trio.Event()
        self._peers: list[TcpPeer] = []

    async def _relay(self, message: Any) -> None:
        await self.server.broadcast_to_platform(message["message_info"]["platform"], message)

    def _heard(self, message: Any) -> None:
        self.chat.append(words_of(message))
        self._news.set()
        self._news = trio.Event()

    async def keep_chatting(self, *, task_status: Any) -> None:
        """One message after the other, each when the one before has come back."""
        async with MessageClient(mode="tcp") as client:
            client.register_message_handler(self._heard)
            assert await client.connect(f"tcp://127.0.0.1:{self.server.port}", "good", TOKEN)
            task_status.started()
            while True:
                number = len(self.chat)
                assert await client.send_message(text(number, platform="good"))
                while len(self.chat) <= number:
                    await self._news.wait()

    async def peer(self) -> TcpPeer:
        """A raw peer before its handshake."""
        peer = TcpPeer(await trio.open_tcp_stream("127.0.0.1", self.server.port))
        self._peers.append(peer)
        return peer

    async def joined(self, platform: str = "bad") -> TcpPeer:
        """A raw peer that was let in."""
        peer = await self.peer()
        await peer.exchange_keys()
        await peer.register(platform, TOKEN)
        assert await peer.tcp_frame() == (raw.HEARTBEAT, b"")
        return peer

    async def good_client_notices_nothing(self) -> None:
        """It goes on chatting, has lost nothing, and is connected as from the beginning."""
        before = len(self.chat)
        while len(self.chat) < before + 5:
            await self._news.wait()
        assert self.chat == [*range(len(self.chat))]
        stats = self.server.get_stats()
        assert stats["last_error"] is None or "internal" not in stats["last_error"]

    async def aclose(self) -> None:
        for peer in self._peers:
            await peer.aclose()


@pytest.fixture
async def arena() -> AsyncIterator[TcpArena]:
    arena = TcpArena()
    with trio.fail_after(PATIENCE):
        async with arena.server, trio.open_nursery() as nursery:
            await nursery.start(arena.keep_chatting)
            yield arena
            await arena.aclose()
            nursery.cancel_scope.cancel()


async def is_ended(peer: TcpPeer) -> None:
    """The server has ended the connection, by an end and no reset, so that what it said before arrives."""
    await peer.until_end()
    assert not peer.was_reset


HANDSHAKES = {
    "plain HTTP": (b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n", "speaks HTTP or WebSocket"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), "speaks TLS"),
    "garbage": (bytes(range(256)) * 40, "no handshake of the TCP mode"),
    "data before the keys": (raw.frame(raw.DATA, b"x" * 60), "no handshake of the TCP mode"),
    "a length of 4 GiB": (struct.pack("!IB", 2**32 - 1, raw.HANDSHAKE), "a handshake frame of 4294967295 bytes"),
    "a key of all zeros": (raw.frame(raw.HANDSHAKE, raw.ZERO_KEY), "all zero, or of low order"),
    "a key of low order": (raw.frame(raw.HANDSHAKE, raw.LOW_ORDER_KEYS[3]), "all zero, or of low order"),
}


@pytest.mark.parametrize(("said", "reason"), HANDSHAKES.values(), ids=HANDSHAKES)
async def test_a_handshake_that_cannot_be_is_refused(arena: TcpArena, log: Any, said: bytes, reason: str) -> None:
    peer = await arena.peer()
    await peer.send(said)
    await is_ended(peer)
    assert peer.unread == b""
    assert len(log.having(reason)) == 1
    await arena.good_client_notices_nothing()


@pytest.mark.parametrize("size", [0, 3, 5, 36])
@pytest.mark.parametrize("gone", [True, False])
async def test_a_truncated_handshake_costs_no_more_than_its_timeout(
    arena: TcpArena, log: Any, size: int, gone: bool
) -> None:
    peer = await arena.peer()
    if size:
        await peer.send(raw.frame(raw.HANDSHAKE, peer.keys.public)[:size])
    if gone:
        await peer.stream.send_eof()
    await is_ended(peer)
    assert len(log.having("closed during the handshake" if gone else "no complete handshake within 0.5 s")) == 1
    await arena.good_client_notices_nothing()


async def test_a_peer_that_resets_in_the_handshake_is_no_trouble(arena: TcpArena) -> None:
    for size in (0, 5, 37):
        peer = await arena.peer()
        if size:
            await peer.send(raw.frame(raw.HANDSHAKE, peer.keys.public)[:size])
        await peer.reset()
    await arena.good_client_notices_nothing()


@pytest.mark.parametrize(
    ("registration", "reason"),
    [
        (b'{"platform": "bad", "token": "wrong-token-0123456789"}', "with 401: unauthorized (platform bad)"),
        (b'{"platform": "bad"}', "with 401: unauthorized (platform bad)"),
        (b'{"token": "%b"}' % TOKEN.encode(), "the registration names no platform"),
        (b"hello", "the registration is no JSON"),
        (b"[" * 4000, "the registration is no JSON"),
    ],
)
async def test_who_is_not_let_in_sees_the_end(arena: TcpArena, log: Any, registration: bytes, reason: str) -> None:
    peer = await arena.peer()
    await peer.exchange_keys()
    await peer.say(registration)
    await is_ended(peer)
    assert peer.unread == b""
    assert len(log.having(reason)) == 1
    assert TOKEN not in log.text
    assert "wrong-token" not in log.text
    await arena.good_client_notices_nothing()


def _garbage(_: TcpPeer) -> bytes:
    return bytes(range(255, -1, -1)) * 100


def _a_replay(peer: TcpPeer) -> bytes:
    return peer.keys.seal(json.dumps(text("once", platform="bad").to_dict()).encode()) * 2


def _reordered(peer: TcpPeer) -> bytes:
    first, second = peer.keys.seal(b"{}"), peer.keys.seal(b"{}")
    return second + first


def _forged(peer: TcpPeer) -> bytes:
    frame = bytearray(peer.keys.seal(b"{}"))
    frame[-1] ^= 1
    return bytes(frame)


def _too_large(peer: TcpPeer) -> bytes:
    return peer.keys.seal(b"x" * 1025)


def _no_text(peer: TcpPeer) -> bytes:
    return peer.keys.seal(b"\xff\xfe")


def _new_keys(peer: TcpPeer) -> bytes:
    return raw.frame(raw.HANDSHAKE, peer.keys.public)


FRAMES: dict[str, tuple[Callable[[TcpPeer], bytes], str]] = {
    "garbage": (_garbage, "unknown frame type"),
    "a replay": (_a_replay, "message 1 after message 1: replayed or reordered"),
    "reordered messages": (_reordered, "message 1 after message 2: replayed or reordered"),
    "a forged message": (_forged, "a message does not decrypt"),
    "a message over the limit": (_too_large, "message over 1024 bytes"),
    "a length of 4 GiB": (lambda _: struct.pack("!IB", 2**32 - 1, raw.DATA), "message over 1024 bytes"),
    "what is no text": (_no_text, "message is not UTF-8"),
    "a second handshake": (_new_keys, "a second handshake"),
}


@pytest.mark.parametrize(("make", "reason"), FRAMES.values(), ids=FRAMES)
async def test_a_frame_that_cannot_be_ends_the_connection(
    arena: TcpArena, log: Any, make: Callable[[TcpPeer], bytes], reason: str
) -> None:
    peer = await arena.joined()
    await peer.send(make(peer))
    await is_ended(peer)
    await peer.aclose()
    await arena.good_client_notices_nothing()
    assert len([line for line in log.having(reason) if "disconnected bad" in line]) == 1
    assert arena.server.get_stats()["invalid_frames"] == 1
    assert arena.server.get_platforms() == {"good"}


async def test_what_is_no_message_is_dropped(arena: TcpArena, log: Any) -> None:
    peer = await arena.joined()
    for payload in (b"", b"hello", b"[]", b"NaN", b"[" * 1000):
        await peer.say(payload)
    await peer.say(json.dumps(text("fine", platform="bad").to_dict()).encode())
    assert words_of(json.loads(await peer.hear())) == "fine"
    assert len(log.having("sent what is no message and is dropped", "WARNING")) == 1
    await arena.good_client_notices_nothing()


async def test_a_flood_of_heartbeats_that_reads_no_answer_starves_nobody(arena: TcpArena) -> None:
    peer = await arena.joined()

    async def flood() -> None:
        await peer.pour(raw.frame(raw.HEARTBEAT) * 1000, 200)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(flood)
        for _ in range(5):
            await arena.good_client_notices_nothing()
        nursery.cancel_scope.cancel()


async def test_many_bad_peers_at_once_disturb_nobody(arena: TcpArena) -> None:
    async def attack(begin: Callable[[], Awaitable[TcpPeer]], said: bytes) -> None:
        peer = await begin()
        await peer.pour(said, 20)
        await peer.until_end()

    async with trio.open_nursery() as nursery:
        for said, _ in HANDSHAKES.values():
            nursery.start_soon(attack, arena.peer, said)
        for number in range(5):
            nursery.start_soon(attack, partial(arena.joined, f"bad{number}"), b"\xff" * 1000)
        await arena.good_client_notices_nothing()
    await arena.good_client_notices_nothing()
