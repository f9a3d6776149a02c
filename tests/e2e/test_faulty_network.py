"""Any series of what networks do, on real sockets: nothing is lost in silence, comes twice or out of order."""

from __future__ import annotations

from typing import Any

import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from maim_trio.client import WebSocketClient, create_client_config
from maim_trio.server import WebSocketServer, create_server_config
from tests.cuts import Tally
from tests.faults import FaultProxy, fault_proxy
from tests.memory import text_message

actions = st.one_of(
    st.tuples(st.just("up"), st.integers(1, 30)),
    st.tuples(st.just("down"), st.integers(1, 30)),
    st.tuples(
        st.sampled_from(["cut", "half-open", "corrupt", "reorder", "freeze", "thaw", "refuse", "heal"]), st.just(0)
    ),
    st.tuples(st.just("close after"), st.integers(1, 3000)),
    st.tuples(st.just("delay"), st.sampled_from([0.0, 0.01, 0.05])),
    st.tuples(st.just("throttle"), st.sampled_from([20_000.0, 200_000.0])),
    st.tuples(st.just("wait"), st.floats(0, 0.3)),
)
HURRY: dict[str, Any] = {
    "handler_ordering": "per_connection",
    "when_full": "refuse",
    "ping_interval": 0.3,
    "ping_timeout": 0.3,
    "close_timeout": 0.2,
    "log_level": "CRITICAL",
}
SENT_TOO_OFTEN = "sent three times and never acknowledged"


class Story:
    """A server and a client of ours on both sides of the proxy, and what has become of their messages."""

    def __init__(self) -> None:
        self.up, self.down = Tally(), Tally()
        self.count = self.corruptions = 0
        self.client: WebSocketClient
        self.server: WebSocketServer
        self.proxy: FaultProxy

    async def tell(self, told: list[tuple[str, Any]]) -> None:
        server_config = create_server_config(
            host="127.0.0.1", port=0, on_message=self.up.handle, on_undelivered=self.down.give_up, **HURRY
        )
        async with WebSocketServer(server_config) as self.server, fault_proxy(self.server.port) as self.proxy:
            client_config = create_client_config(
                f"ws://127.0.0.1:{self.proxy.port}/ws",
                "key_of_client",
                on_message=self.down.handle,
                on_undelivered=self.give_up,
                max_reconnect_attempts=0,
                reconnect_delay=0.02,
                max_reconnect_delay=0.1,
                connect_timeout=0.5,
                **HURRY,
            )
            async with WebSocketClient(client_config) as self.client:
                assert await self.client.connect()
                for action, argument in told:
                    await self.act(action, argument)
                self.heal()
                self.proxy.cut()  # an ack that was corrupted comes with the retransmission
                await self.quiet()

    def give_up(self, envelope: Any, reason: str) -> None:
        self.up.give_up(envelope, reason)

    async def act(self, action: str, argument: Any) -> None:
        proxy = self.proxy
        if action == "up":
            for number in self.numbers(argument):
                if await self.client.send_message(text_message(number)):
                    self.up.accepted.append(number)
        elif action == "down":
            for number in self.numbers(argument):
                if any((await self.server.send_message(text_message(number))).values()):
                    self.down.accepted.append(number)
        elif action == "corrupt":
            self.corruptions += 1
            proxy.corrupt()
        elif action == "wait":
            await trio.sleep(argument)
        elif action == "heal":
            self.heal()
        else:
            self.fault(action, argument)

    def fault(self, action: str, argument: Any) -> None:
        proxy = self.proxy
        if action == "refuse":
            proxy.accepting = False
        elif action == "delay":
            proxy.delay = argument
        elif action == "throttle":
            proxy.rate = argument
        elif action == "close after":
            proxy.close_after(argument)
        else:
            {
                "cut": proxy.cut,
                "half-open": proxy.half_open,
                "reorder": proxy.reorder,
                "freeze": proxy.freeze,
                "thaw": proxy.thaw,
            }[action]()

    def heal(self) -> None:
        proxy = self.proxy
        proxy.accepting, proxy.delay, proxy.rate = True, 0.0, None
        proxy.thaw()
        proxy.in_order()

    async def quiet(self) -> None:
        """Until everything is acknowledged. A client that was closed for a corrupted frame (1002, 1007) has given up,
        as the protocol says, and is told to connect again."""
        with trio.fail_after(60):
            while self.client.get_stats()["outbox_size"] or self.server.get_stats()["outbox_size"]:
                if not self.client.is_connected():
                    await self.client.connect()
                await trio.sleep(0.05)
        await trio.sleep(0.1)

    def numbers(self, count: int) -> range:
        self.count += count
        return range(self.count - count, self.count)


@given(st.lists(actions, max_size=12))
@example([("up", 30), ("close after", 700), ("up", 30), ("down", 30), ("half-open", 0), ("down", 5), ("wait", 0.3)])
@example([("up", 5), ("corrupt", 0), ("up", 5), ("down", 5), ("wait", 0.1)])
@example([("freeze", 0), ("up", 10), ("down", 10), ("wait", 0.3), ("thaw", 0), ("reorder", 0), ("cut", 0), ("up", 3)])
@example([("delay", 0.05), ("throttle", 20_000.0), ("up", 30), ("down", 30), ("cut", 0), ("refuse", 0), ("wait", 0.2)])
@settings(max_examples=20, deadline=None)
def test_whatever_the_network_does(told: list[tuple[str, Any]]) -> None:
    story = Story()
    trio.run(story.tell, told)
    up, down = story.up, story.down
    assert (down.lost, down.duplicated) == ([], [])
    assert down.in_order
    assert {reason for _, reason in down.undelivered} <= {SENT_TOO_OFTEN}
    # A bit that flips may make another message of one: nothing but a cipher (wss) can tell.
    assert len(up.lost) <= story.corruptions
    assert len(up.duplicated) <= story.corruptions
    if not story.corruptions:
        assert up.in_order
        assert {reason for _, reason in up.undelivered} <= {SENT_TOO_OFTEN}
