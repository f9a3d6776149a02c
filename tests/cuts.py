"""A network in virtual time that cuts connections after a given number of bytes, and what arrived all the same."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trio
import trio.testing

from tests.memory import Network, text_message

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Cut:
    """Ends a connection after so many bytes from the client and, or, from the server. What is on its way is lost."""

    upwards: int | None = None
    downwards: int | None = None


class Wire:
    """One connection; both ends belong to it, and both see it end at the same time."""

    def __init__(self, cut: Cut) -> None:
        self.client, self.server = trio.testing.memory_stream_pair()
        self.is_cut = False
        self.is_dead = False  # half-open: what is sent goes nowhere, and nobody is told
        self._left = {True: cut.upwards, False: cut.downwards}

    def cut(self) -> None:
        """Now. Nothing that was not read yet is read any more."""
        self.is_cut = True
        for end in (self.client, self.server):
            end.send_stream.close()
            end.receive_stream.close()

    async def send(self, data: bytes, *, upwards: bool) -> None:
        if self.is_dead:
            return
        end, left = (self.client if upwards else self.server), self._left[upwards]
        if left is None or left > len(data):
            self._left[upwards] = None if left is None else left - len(data)
            await end.send_all(data)
            return
        await end.send_all(data[:left])
        await trio.testing.wait_all_tasks_blocked()  # what came through before the cut is read
        self.cut()
        raise trio.BrokenResourceError


class WireEnd(trio.abc.HalfCloseableStream):
    """The client's or the server's end."""

    def __init__(self, wire: Wire, *, upwards: bool) -> None:
        self.wire = wire
        self.inner = wire.client if upwards else wire.server
        self.upwards = upwards

    async def send_all(self, data: Any) -> None:
        await trio.lowlevel.checkpoint()
        await self.wire.send(bytes(data), upwards=self.upwards)

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await trio.lowlevel.checkpoint()
        if not self.wire.is_dead:
            await self.inner.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self.inner.receive_some(max_bytes)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.wire.is_dead:
            self.inner.receive_stream.close()  # the other end does not hear of it
        else:
            await self.inner.aclose()


class CuttingNetwork(Network):
    """Every connection gets the next cut of the plan, those after the plan none. `wires` are all there were."""

    def __init__(self, plan: Iterable[Cut] = ()) -> None:
        super().__init__()
        self.plan = list(plan)
        self.wires: list[Wire] = []

    def connect(self) -> trio.abc.Stream:
        if self.listener is None:
            raise ConnectionRefusedError("nobody listens")
        wire = Wire(self.plan.pop(0) if self.plan else Cut())
        self.wires.append(wire)
        self.listener.hand_over(WireEnd(wire, upwards=False))
        return WireEnd(wire, upwards=True)

    def cut(self) -> None:
        """Cuts what there is now."""
        for wire in self.wires:
            wire.cut()

    def half_open(self) -> None:
        """From now on nothing gets through what there is now, and nobody is told."""
        for wire in self.wires:
            wire.is_dead = True


@dataclass
class Tally:
    """What became of the messages of one direction."""

    accepted: list[int] = field(default_factory=list)
    handled: list[int] = field(default_factory=list)
    undelivered: list[tuple[int, str]] = field(default_factory=list)

    async def handle(self, message: Any, metadata: Any) -> None:
        self.handled.append(message.message_segment.data)

    def give_up(self, envelope: Any, reason: str) -> None:
        self.undelivered.append((envelope["payload"]["message_segment"]["data"], reason))

    @property
    def lost(self) -> list[int]:
        """Accepted, not handled and not reported either."""
        return sorted({*self.accepted} - {*self.handled} - {number for number, _ in self.undelivered})

    @property
    def duplicated(self) -> list[int]:
        return [number for number, times in Counter(self.handled).items() if times > 1]

    @property
    def in_order(self) -> bool:
        return self.handled == sorted(self.handled)

    def assert_exactly_once_in_order(self) -> None:
        assert self.undelivered == []
        assert self.handled == self.accepted


async def exchange(network: CuttingNetwork, count: int, **config: Any) -> tuple[Tally, Tally]:
    """Sends `count` messages each way at once; returns what became of those upwards and of those downwards."""
    up, down = Tally(), Tally()
    common = {"handler_ordering": "per_connection", "when_full": "wait", **config}
    async with (
        network.server(on_message=up.handle, on_undelivered=down.give_up, **common) as server,
        network.client(
            on_message=down.handle,
            on_undelivered=up.give_up,
            max_reconnect_attempts=0,
            connect_timeout=60,
            max_reconnect_delay=1,
            **common,
        ) as client,
    ):
        assert await client.connect()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_send_up, client, up, count)
            nursery.start_soon(_send_down, server, down, count)
        await trio.sleep(60)
        assert (client.get_stats()["outbox_size"], server.get_stats()["outbox_size"]) == (0, 0)
        assert (client.courier.held_bytes, server.courier.held_bytes) == (0, 0)
    return up, down


async def _send_up(client: Any, tally: Tally, count: int) -> None:
    for number in range(count):
        assert await client.send_message(text_message(number))
        tally.accepted.append(number)
        await trio.sleep(0.001 if number % 3 else 0)


async def _send_down(server: Any, tally: Tally, count: int) -> None:
    for number in range(count):
        results = await server.send_message(text_message(number))
        assert list(results.values()) == [True]
        tally.accepted.append(number)
        await trio.sleep(0.001 if number % 4 else 0)
