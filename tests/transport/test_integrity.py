"""Every byte arrives, once and in order, when writes are partial: random sizes, a slow reader, pings in between."""

from __future__ import annotations

import random

import pytest
import trio

from maim_trio._transport.limits import Limits, LinkClosed

from .raw import CLOSE, PING, PONG, TEXT, first_frame, masked

SIZES = (5, 200, 3000, 70_000, 300_000)
COUNT = 2000


def payload(number):
    return bytes([number % 128]) * SIZES[number * 7919 % len(SIZES)]


async def produce(served, link):
    """Sends as fast as the queue allows, reading (and answering pings) meanwhile."""
    rnd = random.Random(5)

    async def read():
        try:
            while True:
                await link.receive()
        except LinkClosed:
            return

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        for number in range(COUNT):
            while True:
                try:
                    link.send_text_nowait(payload(number))
                    break
                except trio.WouldBlock:
                    await link.wait_space(SIZES[-1])
            if rnd.random() < 0.2:
                await trio.lowlevel.checkpoint()
        await link.aclose(4000, "end")


@pytest.mark.parametrize("flushing", [True, False])
async def test_nothing_is_lost_torn_or_reordered_however_the_peer_reads(server, flushing):
    if not flushing:
        server.flusher = None
    server.limits = Limits(max_queued=1 << 20)
    server.handler = produce
    peer, served = await server.opened()
    rnd, expected, pings, pongs = random.Random(7), 0, 0, 0
    data = bytearray(peer.unread)
    while True:
        while (found := first_frame(bytes(data))) is not None:
            frame, end = found
            del data[:end]
            if frame.opcode == TEXT:
                assert frame.payload == payload(expected)
                expected += 1
            elif frame.opcode == PONG:
                pongs += 1
            else:
                assert frame.opcode == CLOSE
                break
        else:
            if rnd.random() < 0.05:
                pings += 1
                await peer.send(masked(PING, b"%d" % pings))
            data += await peer.stream.receive_some(rnd.choice((100, 5000, 65536, 1 << 20)))
            continue
        break
    assert expected == COUNT
    assert 0 < pongs <= pings
    await peer.send(masked(CLOSE, b"\x0f\xa0"))
    await peer.aclose()
    await served.finished.wait()
