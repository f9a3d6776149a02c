"""What the Autobahn suite talks to: our transport as an echo server, or as a client of its fuzzing server.

``echo.py server`` prints its port and serves until it is terminated; ``echo.py client PORT AGENT`` runs all cases of
the fuzzing server at PORT and ends.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import msgspec
import trio

from maim_trio._transport import frames
from maim_trio._transport.flusher import Flusher
from maim_trio._transport.handshake import Accept, Refuse, Request, accept_link, open_link
from maim_trio._transport.limits import Limits, LinkClosed
from maim_trio._transport.link import Link, running

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

LIMITS = Limits(max_message=32 * 1024 * 1024, max_queued=64 * 1024 * 1024, close_timeout=2.0)


async def echo(link: Link) -> None:
    """Sends back what comes, text as text and binary as binary, until the peer closes."""
    try:
        while True:
            for message in await link.receive():
                opcode = frames.BINARY if isinstance(message, frames.Binary) else frames.TEXT
                link.send_nowait(frames.frame(opcode, message, mask=link.client))
    except LinkClosed:
        return


async def accept(_: Request) -> Accept | Refuse:
    await trio.lowlevel.checkpoint()
    return Accept()


async def serve() -> None:
    flusher = Flusher()

    async def connection(stream: trio.SocketStream) -> None:
        link = await accept_link(stream, accept, LIMITS, flusher=flusher)
        if link is not None:
            async with running(link):
                await echo(link)

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    print(listeners[0].socket.getsockname()[1], flush=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(flusher.run)
        await trio.serve_listeners(connection, listeners)


async def run_cases(port: int, agent: str) -> None:
    async def case(target: str, use: Callable[[Link], Awaitable[None]]) -> None:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        link = await open_link(stream, host=f"127.0.0.1:{port}", target=target, limits=LIMITS)
        async with running(link):
            await use(link)

    async def read_count(link: Link) -> None:
        nonlocal count
        count = msgspec.json.decode((await link.receive())[0], type=int)

    count = 0
    await case("/getCaseCount", read_count)
    for number in range(1, count + 1):
        await case(f"/runCase?case={number}&agent={agent}", echo)
    await case(f"/updateReports?agent={agent}", echo)


if __name__ == "__main__":
    if sys.argv[1] == "server":
        trio.run(serve)
    else:
        trio.run(run_cases, int(sys.argv[2]), sys.argv[3])
