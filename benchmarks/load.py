"""The load generator: many WebSocket clients that speak the wire protocol, in a process and on a core of their own.

It is built on picows and uvloop, so that it is not the bottleneck: it can make several times the load that the fastest
subject takes. `measuring.py` starts it. When its clients are connected it prints a line, and from then on every line on
standard input is a *turn*: it puts the subject under load for a while, prints a line of JSON with the numbers, and is
silent again. So several subjects can take turns of half a second. The works `clients` and `sink` turn it round: it is the
server then, and the subject a program full of clients, whose process id stands in the line that asks for the first turn.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import ssl
import sys
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import picows
import uvloop

Turns = AsyncIterator[dict[str, float]]
"""What a work yields: something when its clients are connected, then the numbers of each turn."""
WARM_UP = 0.15
"""Seconds of load before the measuring begins, in each turn."""
FIRST_WARM_UP = 0.7
"""The same in the first turn."""
SETTLING = 0.3
"""Seconds between the last handshake and the first message."""
PER_ADDRESS = 5000
"""Connections from one source address, whose ports would be used up by more."""
FEWEST = 6
"""Messages that a rate is made of."""
PATIENCE = 20.0
"""Seconds until fewer must do."""
MAX_FRAME = 64 * 1024 * 1024
CPUCLOCK_SCHED = 2
"""Linux: of a process's clocks the one that the scheduler keeps, in nanoseconds."""

_BODY = (
    b'","type":"sys_std","meta":{"sender_user":"%(key)s","platform":"qq","timestamp":1703123456.789},'
    b'"payload":{"message_info":{"platform":"qq","message_id":"m1","time":1703123456.7,"sender_info":{"user_info":'
    b'{"platform":"qq","user_id":"u1","user_nickname":"Nick"}}},"message_segment":{"type":"text","data":"%(text)s"},'
    b'"message_dim":{"api_key":"%(key)s","platform":"qq"}}}'
)
_ACK = (
    b'{"ver":1,"msg_id":"%d","type":"sys_ack","meta":{"uuid":"x","acked_msg_id":"%s","timestamp":1.0},'
    b'"payload":{"status":"received","client_timestamp":1.0}}'
)


class Subject:
    """The process under load, seen from outside."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def cpu(self) -> float:
        """Seconds of CPU time that its threads have used, in user and kernel mode (clock_getcpuclockid(3))."""
        return time.clock_gettime(~self.pid << 3 | CPUCLOCK_SCHED)

    def resident(self) -> int:
        """Bytes of memory it holds."""
        with open(f"/proc/{self.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Peer(picows.WSListener):  # type: ignore[misc]  # a C extension without types
    """One client. Acknowledges what it gets and, while `again`, answers a message by sending the next."""

    def __init__(self, number: int, size: int) -> None:
        self.key = b"k_user%05d" % number
        self.uuid = str(uuid.uuid4())
        self.received = 0
        self.acks = 0
        self.again = False
        self.round_trips: list[float] = []
        self.sent_at: list[float] = []
        """When the messages left that have not come back."""
        self._head = b'{"ver":1,"msg_id":"msg_' + uuid.uuid4().hex[:8].encode()
        self._tail = _BODY % {b"key": self.key, b"text": b"x" * size}
        self._number = 0
        self._ack = 0
        self.transport: Any = None
        self._parts: list[bytes] = []

    def on_ws_connected(self, transport: Any) -> None:
        self.transport = transport

    def send(self) -> None:
        self._number += 1
        self.sent_at.append(time.perf_counter())
        self.transport.send(picows.WSMsgType.TEXT, b"%s%06d%s" % (self._head, self._number, self._tail))

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        if frame.msg_type == picows.WSMsgType.CLOSE:
            raise SystemExit(f"the subject closed a connection: {frame.get_close_code()}")
        if not frame.fin or self._parts:
            self._parts.append(frame.get_payload_as_bytes())
            if not frame.fin:
                return
            head, self._parts = self._parts[0][:160], []
        else:
            head = bytes(frame.get_payload_as_memoryview()[:160])
        if b'"sys_ack"' in head:
            self.acks += 1
            return
        start = head.index(b'"', head.index(b'"msg_id"') + 9) + 1
        self._ack += 1
        transport.send(picows.WSMsgType.TEXT, _ACK % (self._ack, head[start : head.index(b'"', start)]))
        self.received += 1
        if self.sent_at:
            self.round_trips.append(time.perf_counter() - self.sent_at.pop(0))
        if self.again:
            self.send()


async def connect(arguments: argparse.Namespace) -> list[Peer]:
    """Connected peers, up to 50 handshakes at a time."""
    peers = [Peer(number, arguments.size) for number in range(arguments.connections)]
    gate = asyncio.Semaphore(50)
    context = None
    if arguments.tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    scheme = "wss" if arguments.tls else "ws"

    async def one(number: int, peer: Peer) -> None:
        headers = {"x-apikey": peer.key.decode(), "x-platform": "qq", "x-uuid": peer.uuid}
        async with gate:
            await picows.ws_connect(
                lambda: peer,
                f"{scheme}://127.0.0.1:{arguments.port}/ws",
                extra_headers=headers,
                ssl_context=context,
                max_frame_size=MAX_FRAME,
                websocket_handshake_timeout=60,
                local_addr=(source_address(arguments.port, number), 0),
            )

    await asyncio.gather(*(one(number, peer) for number, peer in enumerate(peers)))
    return peers


def source_address(port: int, number: int) -> str:
    """Where connection `number` comes from: an address that no run before, on another port, has used.

    The ports of an address stay taken for a minute (TIME_WAIT). The last few free ones take the kernel milliseconds each
    to find, and that would be measured instead of the subject.
    """
    return f"127.{1 + number // PER_ADDRESS}.{port >> 8}.{port & 255}"


async def busy(
    senders: list[Peer], peers: list[Peer], arguments: argparse.Namespace, subject: Subject, warm_up: float
) -> dict[str, float]:
    """A turn in which `senders` keep the subject busy: what it uses for one message that `peers` receive."""
    before = {peer: peer.received for peer in peers}
    for peer in senders:
        peer.again = True
        for _ in range(arguments.outstanding):
            peer.send()
    await asyncio.sleep(warm_up)
    began = time.perf_counter()
    while any(peer.received == count for peer, count in before.items()) and time.perf_counter() - began < PATIENCE:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    numbers = await rate_of(peers, arguments.seconds, subject)
    for peer in senders:
        peer.again = False
    await rest(senders)
    return numbers


async def rest(senders: list[Peer]) -> None:
    """Until everything has come back, and what follows it is done."""
    began = time.perf_counter()
    while any(peer.sent_at for peer in senders) and time.perf_counter() - began < PATIENCE:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)


async def rate_of(peers: list[Peer], seconds: float, subject: Subject) -> dict[str, float]:
    """What the subject uses for one message that `peers` receive, while it is kept busy."""
    count, cpu, began = sum(peer.received for peer in peers), subject.cpu(), time.perf_counter()
    own = time.process_time()
    await asyncio.sleep(seconds)
    few = count + max(FEWEST, 2 * len(peers))  # many peers come in waves
    while sum(peer.received for peer in peers) < few and time.perf_counter() - began < PATIENCE:  # noqa: ASYNC110
        await asyncio.sleep(seconds)  # very large messages, or a very slow subject
    count, cpu = sum(peer.received for peer in peers) - count, subject.cpu() - cpu
    took = time.perf_counter() - began
    own = time.process_time() - own
    if not count:
        raise SystemExit("nothing came back while it was measured")
    return {"us": cpu / count * 1e6, "per_second": count / took, "cpu": cpu / took, "generator": own / took}


async def echo(arguments: argparse.Namespace, subject: Subject) -> Turns:
    """Each peer keeps `outstanding` messages under way; what comes back is its own."""
    peers = await connect(arguments)
    await asyncio.sleep(SETTLING)
    yield {}
    yield await busy(peers, peers, arguments, subject, FIRST_WARM_UP)
    while True:
        yield await busy(peers, peers, arguments, subject, WARM_UP)


async def fanout(arguments: argparse.Namespace, subject: Subject) -> Turns:
    """One peer sends, the subject forwards to all; the unit is one delivery."""
    peers = await connect(arguments)
    await asyncio.sleep(SETTLING)
    yield {}
    yield await busy(peers[:1], peers, arguments, subject, FIRST_WARM_UP)
    while True:
        yield await busy(peers[:1], peers, arguments, subject, WARM_UP)


async def clients(arguments: argparse.Namespace, subject: Subject) -> Turns:
    """The subject's clients answer every message; each has `outstanding` under way to it."""
    peers, server = await listen(arguments)
    yield {}
    await all_connected(peers, arguments.connections)
    yield await busy(peers, peers, arguments, subject, FIRST_WARM_UP)
    while server.is_serving():
        yield await busy(peers, peers, arguments, subject, WARM_UP)


async def sink(arguments: argparse.Namespace, subject: Subject) -> Turns:
    """The subject's clients send as much as they can, and get acknowledgements. There is one turn."""
    peers, server = await listen(arguments)
    yield {}
    await all_connected(peers, arguments.connections)
    numbers = await rate_of(peers, arguments.seconds, subject)
    server.close()
    yield numbers


async def listen(arguments: argparse.Namespace) -> tuple[list[Peer], asyncio.Server]:
    """A server, and the list that its connections will be in."""
    peers: list[Peer] = []

    def accept(_request: Any) -> Peer:
        peers.append(Peer(len(peers), arguments.size))
        return peers[-1]

    return peers, await picows.ws_create_server(accept, "127.0.0.1", arguments.port, max_frame_size=MAX_FRAME)


async def all_connected(peers: list[Peer], count: int) -> None:
    """Until the subject's clients are there, and have begun."""
    async with asyncio.timeout(60):
        while len([peer for peer in peers if peer.transport]) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await asyncio.sleep(SETTLING + 0.7)  # a client may wait half a second for an early close


async def latency(arguments: argparse.Namespace, _subject: Subject) -> Turns:
    """Round trips at a fixed rate of messages, in milliseconds."""
    peers = await connect(arguments)
    await asyncio.sleep(SETTLING)
    yield {}
    while True:
        began, sent = time.perf_counter(), 0
        for peer in peers:
            peer.round_trips.clear()
        while (now := time.perf_counter() - began) < arguments.seconds:
            while sent < now * arguments.rate:
                peers[sent % len(peers)].send()
                sent += 1
            await asyncio.sleep(0.0005)
        await rest(peers)
        trips = sorted(trip for peer in peers for trip in peer.round_trips)
        yield {"p50": trips[len(trips) // 2] * 1e3, "p99": trips[len(trips) * 99 // 100] * 1e3, "count": len(trips)}


async def idle(arguments: argparse.Namespace, subject: Subject) -> Turns:
    """Connections that say nothing: how fast they come, what they hold, what they cost. There is one turn."""
    yield {}
    before, cpu, began = subject.resident(), subject.cpu(), time.perf_counter()
    _peers = await connect(arguments)
    took, cpu = time.perf_counter() - began, subject.cpu() - cpu
    await asyncio.sleep(1.0)
    held = subject.resident() - before
    cpu_idle, began = subject.cpu(), time.perf_counter()
    await asyncio.sleep(arguments.seconds)
    cpu_idle = (subject.cpu() - cpu_idle) / (time.perf_counter() - began)
    yield {
        "connects_per_second": arguments.connections / took,
        "connect_us": cpu / arguments.connections * 1e6,
        "kib": held / arguments.connections / 1024,
        "idle_percent": cpu_idle * 100,
    }


WORKS = {"echo": echo, "fanout": fanout, "latency": latency, "idle": idle, "clients": clients, "sink": sink}


async def play(arguments: argparse.Namespace) -> None:
    """Connects and says so; then a turn for every line, until there are no more."""
    subject = Subject(arguments.pid)
    turns = WORKS[arguments.work](arguments, subject)
    print(json.dumps(await anext(turns)), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        subject.pid = int(line.strip() or subject.pid)
        print(json.dumps(await anext(turns)), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", choices=WORKS)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pid", type=int, default=0, help="of the subject")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--outstanding", type=int, default=8)
    parser.add_argument("--size", type=int, default=60, help="bytes of text in a message")
    parser.add_argument("--rate", type=float, default=500.0, help="messages per second (latency)")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--core", type=int, default=None)
    parser.add_argument("--tls", action="store_true")
    arguments = parser.parse_args()
    if arguments.core is not None:
        os.sched_setaffinity(0, {arguments.core})
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    uvloop.run(play(arguments))
    os._exit(0)  # without saying goodbye to thousands of connections


if __name__ == "__main__":
    main()
