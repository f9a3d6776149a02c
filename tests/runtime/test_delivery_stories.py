"""Any series of sends, cuts, dead links, slow handlers and pauses: nothing is lost in silence or comes twice."""

from __future__ import annotations

from typing import Any

import trio
import trio.testing
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.cuts import Cut, CuttingNetwork, Tally
from tests.memory import text_message

actions = st.one_of(
    st.tuples(st.just("up"), st.integers(1, 20)),
    st.tuples(st.just("down"), st.integers(1, 20)),
    st.tuples(st.just("confirm"), st.just(0)),
    st.tuples(st.just("cut"), st.just(0)),
    st.tuples(st.just("cut next after"), st.integers(1, 4000)),
    st.tuples(st.just("half-open"), st.just(0)),
    st.tuples(st.just("slow handlers"), st.floats(0, 3)),
    st.tuples(st.just("wait"), st.floats(0, 12)),
    st.tuples(st.just("bounce"), st.just(0)),
)
configs = st.sampled_from([{}, {"inbox_size": 1}, {"inbox_size": 3, "message_cache_max_size": 5}])
blind = st.sampled_from(["", "server"])  # the side that does not ping: the client takes over what it thinks is alive
QUICK_PINGS = {"ping_interval": 3.0, "ping_timeout": 2.0, "close_timeout": 1.0}


class Story:
    """A server and a client of ours, and what has happened to them."""

    def __init__(self, config: dict[str, Any], blind: str) -> None:
        self.blind = blind
        self.network = CuttingNetwork()
        self.up, self.down = Tally(), Tally()
        self.config = {"handler_ordering": "per_connection", "when_full": "refuse", **QUICK_PINGS, **config}
        self.count = 0
        self.slow = 0.0

    async def tell(self, told: list[tuple[str, Any]]) -> None:
        async with (
            self.network.server(
                on_message=self.taker(self.up), on_undelivered=self.down.give_up, **self.settings("server")
            ) as server,
            self.network.client(
                on_message=self.taker(self.down),
                on_undelivered=self.up.give_up,
                max_reconnect_attempts=0,
                max_reconnect_delay=1,
                **self.settings("client"),
            ) as client,
        ):
            assert await client.connect()
            for action, argument in told:
                await self.act(server, client, action, argument)
            self.slow = 0.0
            self.network.plan = []
            await trio.sleep(100)
            assert client.get_stats()["outbox_size"] == server.get_stats()["outbox_size"] == 0
            assert client.courier.held_bytes == server.courier.held_bytes == 0

    def settings(self, side: str) -> dict[str, Any]:
        return {**self.config, "ping_interval": 0} if side == self.blind else self.config

    def taker(self, tally: Tally) -> Any:
        async def handle(message: Any, metadata: Any) -> None:
            await trio.sleep(self.slow)
            await tally.handle(message, metadata)

        return handle

    async def act(self, server: Any, client: Any, action: str, argument: Any) -> None:  # noqa: C901 - a list of cases
        if action == "up":
            for number in self.numbers(argument):
                if await client.send_message(text_message(number)):
                    self.up.accepted.append(number)
        elif action == "down":
            for number in self.numbers(argument):
                if True in (await server.send_message(text_message(number))).values():
                    self.down.accepted.append(number)
        elif action == "confirm":
            (number,) = self.numbers(1)
            if await client.send_and_confirm(text_message(number), timeout=2):
                self.up.accepted.append(number)
        elif action == "cut":
            self.network.cut()
        elif action == "cut next after":
            self.network.plan.append(Cut(upwards=argument))
        elif action == "half-open":
            self.network.half_open()
        elif action == "slow handlers":
            self.slow = argument
        elif action == "bounce":
            await server.disconnect(client.get_connection_uuid(), code=1001)
        else:
            await trio.sleep(argument)

    def numbers(self, count: int) -> range:
        self.count += count
        return range(self.count - count, self.count)


@given(st.lists(actions, max_size=14), configs, blind)
@example([("half-open", 0), ("down", 20), ("wait", 4.0), ("up", 20), ("cut", 0), ("down", 5)], {}, "server")
@example([("half-open", 0), ("wait", 6.0)] * 6 + [("down", 5), ("up", 5)], {}, "server")
@settings(max_examples=120, deadline=None)
def test_whatever_happens(told: list[tuple[str, Any]], config: dict[str, Any], blind: str) -> None:
    story = Story(config, blind)
    trio.run(story.tell, told, clock=trio.testing.MockClock(autojump_threshold=0))
    for tally in (story.up, story.down):
        assert (tally.lost, tally.duplicated) == ([], [])
        assert tally.in_order
        assert {reason for _, reason in tally.undelivered} <= {"sent three times and never acknowledged"}
        if sum(action in ("cut", "cut next after", "half-open", "bounce") for action, _ in told) <= 2:
            assert tally.undelivered == []
