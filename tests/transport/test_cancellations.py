"""Either side is cancelled at every moment of a connection's life, in virtual time.

Afterwards every stream is closed, soon, and what a side has written is an HTTP head and whole frames, with at most one
cut frame at the very end: half a frame is never followed by more.
"""

from __future__ import annotations

import collections

import pytest
import trio
import trio.testing

from maim_trio._transport.flusher import Flusher
from maim_trio._transport.handshake import Accept, HandshakeFailed, accept_link, open_link
from maim_trio._transport.limits import Limits, LinkClosed
from maim_trio._transport.link import running

from .raw import CLOSE, PING, PONG, TEXT, first_frame, memory_pair

LIMITS = Limits(handshake_timeout=5, close_timeout=3, send_timeout=5)
STEP = 0.005
"""Seconds between two moments; each piece of 37 bytes takes 10 ms, so every wait is hit."""
MOMENTS = 260
BATCH = 20


class Life:
    """One connection between our server and our client, over streams on which writing takes time."""

    def __init__(self):
        self.server_stream, self.client_stream = memory_pair(piece=37)
        self.scopes = {"server": trio.CancelScope(), "client": trio.CancelScope()}

    async def serve(self):
        async def decide(_):
            await trio.sleep(0.02)
            return Accept()

        with self.scopes["server"]:
            async with trio.open_nursery() as nursery:
                flusher = Flusher()
                nursery.start_soon(flusher.run)
                link = await accept_link(self.server_stream, decide, LIMITS, flusher=flusher)
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
                link = await open_link(self.client_stream, host="h", target="/x", limits=LIMITS)
            except HandshakeFailed:
                return
            async with running(link):
                await self.talk(link)

    async def talk(self, link):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.read, link)
            try:
                for number in range(3):
                    link.send_text_nowait(b"%d" % number * 200)
                    await trio.sleep(0.03)
                await link.ping(2)
                await trio.sleep(0.1)
                await link.aclose(4000, "bye")
            except LinkClosed:
                return

    async def read(self, link):
        try:
            while True:
                await link.receive()
        except LinkClosed:
            return


def what_was_written(stream):
    """ "whole" frames, a "cut" last one, or a "head" that is cut. Fails for anything else."""
    data = bytes(stream.written)
    head, blank, rest = data.partition(b"\r\n\r\n")
    if not blank:
        return "head"
    assert head.startswith((b"GET ", b"HTTP/1.1 101 "))
    while (found := first_frame(rest)) is not None:
        frame, end = found
        assert frame.opcode in (TEXT, CLOSE, PING, PONG)
        assert frame.final
        rest = rest[end:]
        assert frame.opcode != CLOSE or not rest, "bytes after the close frame"
        if frame.opcode == CLOSE:
            return "closed"
    assert rest == b"" or rest[0] in (0x81, 0x88, 0x89, 0x8A)
    return "cut" if rest else "whole"


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
    assert set(seen) >= {"head", "whole", "cut", "closed"}, "some phase of a connection's life was never hit"
    assert sum(seen.values()) == 2 * MOMENTS
