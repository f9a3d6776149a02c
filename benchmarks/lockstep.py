"""A load without chance: clients that send only when the server has nothing left to do.

Server and clients share one thread. The clients are an instrument of trio: it is called before trio waits for the
sockets, and when trio would wait there with nothing to run, it is the clients' turn. So every round is the same: all
connections have their messages before the server looks, whatever the machine is doing besides.
"""

from __future__ import annotations

import select
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio
import trio.testing

from maim_trio.server import WebSocketServer, create_server_config

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from maim_trio.message import APIMessageBase

    Handler = Callable[[WebSocketServer, APIMessageBase], Awaitable[object]]

PATIENCE = 120.0
"""Seconds until a run that does not end is given up."""
IN_FLIGHT = 0.02
"""Seconds for an answer that the server has written to come through the loopback interface: it is nearly always there."""
WARM_UP = 5
"""Rounds before the counting begins."""

_MESSAGE = (
    b'{"ver":1,"msg_id":"msg_%06d","type":"sys_std","meta":{"sender_user":"%b","platform":"qq","timestamp":1703123456.5},'
    b'"payload":{"message_info":{"platform":"qq","message_id":"m1","time":1703123456.5,"sender_info":{"user_info":'
    b'{"platform":"qq","user_id":"u1","user_nickname":"Nick"}}},"message_segment":{"type":"text","data":"%b"},'
    b'"message_dim":{"api_key":"%b","platform":"qq"}}}'
)
_ACK = (
    b'{"ver":1,"msg_id":"%d","type":"sys_ack","meta":{"uuid":"x","acked_msg_id":"%b","timestamp":1.5},'
    b'"payload":{"status":"received","client_timestamp":1.5}}'
)


@dataclass(frozen=True)
class Load:
    """What one round consists of: each of `senders` clients out of `connections` sends `outstanding` messages."""

    connections: int
    outstanding: int
    size: int = 60
    """Bytes of text in a message."""
    fan_out: bool = False
    """One client sends, and the handler forwards to all."""
    handshakes: bool = False
    """Nothing is sent: a round is `connections` new clients, one after the other."""
    durable: bool = False
    """What is sent and received is kept in a file."""

    @property
    def senders(self) -> int:
        return 1 if self.fan_out else self.connections

    @property
    def sent(self) -> int:
        """Messages that the clients send in a round."""
        return self.senders * self.outstanding

    @property
    def delivered(self) -> int:
        """Messages that the server sends in a round: what is counted is divided by this."""
        return self.sent * (self.connections if self.fan_out else 1)  # of handshakes: clients that came


class Client:
    """One connection. It acknowledges what it gets, in the same write as its next messages."""

    def __init__(self, number: int, port: int, size: int) -> None:
        self.key = b"k_user%05d" % number
        self.text = b"x" * size
        self.acks = 0
        self.replies = 0
        self.sent = 0
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._out = bytearray()
        self._in = bytearray()

    async def shake_hands(self) -> None:
        head = (
            "GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            f"x-apikey: {self.key.decode()}\r\nx-platform: qq\r\nx-uuid: uuid-{self.key.decode()}\r\n\r\n"
        )
        self._socket.send(head.encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            await trio.lowlevel.wait_readable(self._socket)
            data = self._socket.recv(4096)
            if not data:
                raise AssertionError(f"the server has closed the connection after {answer!r}")
            answer += data
        if not answer.startswith(b"HTTP/1.1 101"):
            raise AssertionError(answer)

    def send(self, count: int) -> None:
        for _ in range(count):
            self.sent += 1
            self._queue(_MESSAGE % (self.sent, self.key, self.text, self.key))

    def _queue(self, payload: bytes) -> None:
        size = len(payload)
        head = bytes((0xFE,)) + size.to_bytes(2, "big") if size < 65536 else bytes((0xFF,)) + size.to_bytes(8, "big")
        self._out += b"\x81" + head + b"\0\0\0\0" + payload  # masked with zeros

    @property
    def wants_to_write(self) -> bool:
        return bool(self._out)

    def fileno(self) -> int:
        return self._socket.fileno()

    def move(self) -> bool:
        """Writes and reads what is possible now; whether anything was."""
        moved = 0
        try:
            while self._out:
                moved += (count := self._socket.send(self._out))
                del self._out[:count]
        except BlockingIOError:
            pass
        try:
            while data := self._socket.recv(1 << 20):
                moved += len(data)
                self._in += data
        except BlockingIOError:
            pass
        self._take_frames()
        return moved > 0

    def _take_frames(self) -> None:
        data, begin = self._in, 0
        while len(data) - begin >= 10:
            size, body = data[begin + 1], begin + 2
            if size == 126:
                size, body = int.from_bytes(data[body : body + 2], "big"), body + 2
            elif size == 127:
                size, body = int.from_bytes(data[body : body + 8], "big"), body + 8
            if len(data) < body + size:
                break
            self._take(bytes(data[body : min(body + size, body + 200)]))
            begin = body + size
        del data[:begin]

    def _take(self, beginning: bytes) -> None:
        if b'"sys_ack"' in beginning:
            self.acks += 1
            return
        start = beginning.index(b'"', beginning.index(b'"msg_id"') + 8) + 1
        self.replies += 1
        self._queue(_ACK % (self.replies, beginning[start : beginning.index(b'"', start)]))

    def close(self) -> None:
        self._socket.close()


class Lockstep(trio.abc.Instrument):
    """Drives the clients, a round whenever the server is idle."""

    def __init__(self, load: Load, clients: list[Client], rounds: int) -> None:
        self.rounds = 0
        self.over, self._end = socket.socketpair()
        self._load = load
        self._clients = clients
        self._wanted = rounds
        self.on_round: Callable[[int], None] = lambda _: None
        """Called with the number of rounds that are complete, before the next begins."""

    def before_io_wait(self, timeout: float) -> None:
        if not timeout or self.rounds > self._wanted:
            return  # there is something to run
        moved = any([client.move() for client in self._clients])
        stuck = not moved and not self._complete and not any(client.wants_to_write for client in self._clients)
        if stuck and select.select(self._clients, [], [], IN_FLIGHT)[0]:  # otherwise the server has yet to read
            self.before_io_wait(timeout)
            return
        if self._complete:
            self.on_round(self.rounds)
            self.rounds += 1
            if self.rounds > self._wanted:
                self._end.send(b".")
                return
            for client in self._clients[: self._load.senders]:
                client.send(self._load.outstanding)
            for client in self._clients:
                client.move()

    @property
    def _complete(self) -> bool:
        load, rounds = self._load, self.rounds
        acks, replies = sum(client.acks for client in self._clients), sum(client.replies for client in self._clients)
        return acks == load.sent * rounds and replies == load.delivered * rounds

    def close(self) -> None:
        self.over.close()
        self._end.close()


async def echo(server: WebSocketServer, message: APIMessageBase) -> None:
    """What `on_message` does with an ordinary load."""
    await server.send_message(message)


async def forward(server: WebSocketServer, message: APIMessageBase) -> None:
    """What it does with a fan-out."""
    await server.broadcast_message(message)


async def run(load: Load, rounds: int, on_round: Callable[[int], None], handler: Handler | None = None) -> None:
    """A server as users get it, `rounds` rounds of `load` after the warm-up, and `on_round` before each and at the end.

    `on_round` is called with 0 when the warm-up is over and with `rounds` at the end.
    """
    handle = handler or (forward if load.fan_out else echo)

    async def on_message(message: APIMessageBase, metadata: dict[str, Any]) -> None:
        await handle(server, message)

    def count_from_warm(done: int) -> None:
        if done >= WARM_UP:
            on_round(done - WARM_UP)

    with tempfile.TemporaryDirectory() as folder:
        config = create_server_config(
            host="127.0.0.1", port=0, on_message=on_message, on_auth=lambda metadata: True, log_level="ERROR",
            on_auth_extract_user=lambda metadata: metadata["api_key"], ping_interval=0, enable_stats=True,
            outbox_path=str(Path(folder) / "outbox.db") if load.durable else None,
        )  # fmt: skip
        async with WebSocketServer(config) as server:
            await (_connect if load.handshakes else _exchange)(server, load, WARM_UP + rounds, count_from_warm)


async def _exchange(server: WebSocketServer, load: Load, rounds: int, on_round: Callable[[int], None]) -> None:
    clients = [Client(number, server.port, load.size) for number in range(load.connections)]
    lockstep = Lockstep(load, clients, rounds)
    lockstep.on_round = on_round
    try:
        for client in clients:
            await client.shake_hands()
        trio.lowlevel.add_instrument(lockstep)
        with trio.fail_after(PATIENCE):
            await trio.lowlevel.wait_readable(lockstep.over)
    finally:
        for client in clients:
            client.close()
        lockstep.close()


async def _connect(server: WebSocketServer, load: Load, rounds: int, on_round: Callable[[int], None]) -> None:
    clients: list[Client] = []
    try:
        for number in range(rounds):
            on_round(number)
            for _ in range(load.connections):
                clients.append(Client(len(clients), server.port, load.size))
                await clients[-1].shake_hands()
                await trio.testing.wait_all_tasks_blocked()  # the server has greeted it
        on_round(rounds)
    finally:
        for client in clients:
            client.close()
