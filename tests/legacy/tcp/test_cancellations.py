"""Either side of the TCP mode is cancelled at every moment of a connection's life, in virtual time.

Afterwards both streams are closed, soon, and what a side has written is whole frames, with at most one cut frame at the
very end: half a frame is never followed by more.
"""

from __future__ import annotations

import collections

import pytest
import trio
import trio.testing

from maim_trio._legacy._tcp.handshake import HandshakeFailed, accept_tcp, open_tcp
from maim_trio._transport.flusher import Flusher
from maim_trio._transport.limits import Limits, LinkClosed
from maim_trio._transport.link import running
from tests.transport.raw import memory_pair

from .raw import DATA, HANDSHAKE, HEARTBEAT, split_frames

LIMITS = Limits(handshake_timeout=5, close_timeout=3, send_timeout=5)
STEP = 0.005
"""Seconds between two moments; each piece of 23 bytes takes 10 ms, so every wait is hit."""
MOMENTS = 200


class Life:
    """One connection between our server and our client, over streams on which writing takes time."""

    def __init__(self):
        self.server_stream, self.client_stream = memory_pair(piece=23)
        self.scopes = {"server": trio.CancelScope(), "client": trio.CancelScope()}

    async def serve(self):
        async def decide(_):
            await trio.sleep(0.02)
            return True

        with self.scopes["server"]:
            async with trio.open_nursery() as nursery:
                flusher = Flusher()
                nursery.start_soon(flusher.run)
                link = await accept_tcp(self.server_stream, decide, LIMITS, flusher=flusher)
                if link is not None:
                    async with running(link):
                        await self.echo(link)
                nursery.cancel_scope.cancel()

    async def echo(self, link):
        try:
            while True:
                for message in await link.receive():
                    link.send_text_nowait(message)
        except LinkClosed:
            return

    async def use(self):
        with self.scopes["client"]:
            try:
                link = await open_tcp(self.client_stream, "qq", "token", LIMITS)
            except HandshakeFailed:
                return
            async with running(link):
                await self.talk(link)

    async def talk(self, link):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.read, link)
            try:
                for number in range(3):
                    link.send_text_nowait(b"%d" % number * 100)
                    await trio.sleep(0.03)
                await link.ping(2)
                await trio.sleep(0.05)
                await link.aclose(1000, "bye")
            except LinkClosed:
                return

    async def read(self, link):
        try:
            while True:
                await link.receive()
        except LinkClosed:
            return


def what_was_written(stream):
    """How many whole frames of each kind, and whether the last one is "cut". Fails for anything else."""
    frames, rest = split_frames(bytes(stream.written))
    kinds = [kind for kind, _ in frames]
    assert kinds[1:].count(HANDSHAKE) == 0
    assert {*kinds} <= {HANDSHAKE, DATA, HEARTBEAT}
    assert len(rest) < 5 or rest[4] in (HANDSHAKE, DATA, HEARTBEAT)
    state = ["nothing", "the key", "the registration", "messages"][min(len(frames), 3)]
    return state, "cut" if rest else "whole"


async def cancelled(who, moment):
    """(what the server wrote, what the client wrote) when `who` is cancelled at `moment`."""
    life = Life()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(life.serve)
        nursery.start_soon(life.use)
        await trio.sleep(moment)
        life.scopes[who].cancel()
        cancelled_at = trio.current_time()
    assert trio.current_time() - cancelled_at < LIMITS.close_timeout
    assert life.server_stream.closed
    assert life.client_stream.closed
    return what_was_written(life.server_stream), what_was_written(life.client_stream)


@pytest.mark.parametrize("who", ["server", "client"])
def test_a_cancelled_side_leaves_whole_frames_and_closed_streams(who):
    seen = collections.Counter()
    for number in range(MOMENTS):
        clock = trio.testing.MockClock(autojump_threshold=0)
        seen.update(trio.run(cancelled, who, (number + 0.5) * STEP, clock=clock))
    states = {state for state, _ in seen}
    assert states == {"nothing", "the key", "the registration", "messages"}, "a phase of a connection was never hit"
    assert {how for _, how in seen} == {"whole", "cut"}
    assert sum(seen.values()) == 2 * MOMENTS
