"""A message goes a short way when everything is as usual. Nobody can tell which way it went."""

from __future__ import annotations

import json
import time
from typing import Any, NamedTuple

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from maim_trio._delivery.outbox import Outbox
from maim_trio._runtime.courier import OVERHEAD, TOTAL_FACTOR
from tests.memory import Network, text_message
from tests.server.peer import Peer, ack, joined, text_of
from tests.transport.raw import TEXT, split_frames

PEERS = ("u0", "u1", "")
"""The last one has no id of its own, and so no outbox."""


class Step(NamedTuple):
    """What happens: somebody sends so many characters to all, or a peer acknowledges, goes away or comes back."""

    what: str
    whose: int = 0
    number: int = 0


def steps(what: str, numbers: st.SearchStrategy[int]) -> st.SearchStrategy[Step]:
    return st.builds(Step, st.just(what), st.integers(0, len(PEERS) - 1), numbers)


plans = st.lists(
    st.one_of(
        steps("send", st.sampled_from([1, 1, 300, 2000])),
        steps("ack", st.integers(1, 4)),
        steps("move", st.just(0)),
        steps("wait", st.integers(1, 15)),
    ),
    max_size=16,
)
limits = st.fixed_dictionaries(
    {},
    optional={
        "inbox_size": st.integers(1, 4),
        "message_cache_max_size": st.integers(1, 4),
        "message_cache_max_bytes": st.sampled_from([700, 1500, 4000]),
        "message_cache_ttl": st.just(20),
    },
)


class Scene:
    """A server and its peers, and what can be seen of them after every step."""

    def __init__(self, network: Network, server: Any) -> None:
        self.seen: list[Any] = []
        self._network, self._server = network, server
        self._peers: dict[int, Peer] = {}
        self._heard: list[list[str]] = [[] for _ in PEERS]
        self._unacked: list[list[str]] = [[] for _ in PEERS]
        self._sent = 0

    async def play(self, step: Step) -> None:
        if step.what == "send":
            self._sent += 1
            results = await self._server.broadcast_message(text_message(f"{self._sent} {'x' * step.number}"))
            self.seen.append({uuid: result for uuid, result in results.items() if uuid in PEERS})
        elif step.what == "ack":
            await self._ack(step.whose, step.number)
        elif step.what == "move":
            await self._move(step.whose)
        else:
            await trio.sleep(step.number)
        await self._look()

    async def _move(self, whose: int) -> None:
        peer = self._peers.pop(whose, None)
        if peer is None:
            self._peers[whose] = await joined(self._network, uuid=PEERS[whose], key=f"key_of_peer_{whose}")
        else:
            await peer.aclose()
            self._unacked[whose] = []

    async def _ack(self, whose: int, count: int) -> None:
        if whose in self._peers:
            ids, self._unacked[whose] = self._unacked[whose][:count], self._unacked[whose][count:]
            for msg_id in ids:
                await self._peers[whose].say(ack(msg_id))

    async def _look(self) -> None:
        for whose, peer in self._peers.items():
            with trio.move_on_after(0.1):
                await peer.until_end()
            frames, peer.unread = split_frames(peer.unread)
            envelopes = [json.loads(frame.payload) for frame in frames if frame.opcode == TEXT]
            self._heard[whose] += map(text_of, envelopes)
            self._unacked[whose] += [envelope["msg_id"] for envelope in envelopes]
        boxes = [session.outbox for session in self._server._all_sessions() if session.outbox is not None]
        courier, stats = self._server.courier, self._server.stats
        assert courier.held_bytes == sum(box.bytes + OVERHEAD * len(box) for box in boxes)
        self.seen.append([[*texts] for texts in self._heard])
        self.seen.append(sorted((len(box), box.bytes, box.on_wire, box.acks, box.non_acking) for box in boxes))
        self.seen.append((stats.messages_sent, stats.messages_acked, stats.messages_resent, stats.messages_expired))


def what_is_seen(plan: list[Step], config: dict[str, Any], *, short_way: bool) -> list[Any]:
    """Everything that can be seen while all this happens, message ids aside."""

    async def main() -> list[Any]:
        network = Network()
        async with network.server(ping_interval=0, **config) as server:
            scene = Scene(network, server)
            for whose in range(len(PEERS)):
                await scene.play(Step("move", whose))
            for step in plan:
                await scene.play(step)
            return scene.seen

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: 1703123456.5)  # which is part of a message, and so of its size
        if not short_way:
            patch.setattr(Outbox, "takes_at_once", lambda box, size: False)
        return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@given(plans, limits)
@settings(max_examples=25, deadline=None)
def test_both_ways_look_the_same(plan: list[Step], config: dict[str, Any]) -> None:
    assert what_is_seen(plan, config, short_way=True) == what_is_seen(plan, config, short_way=False)


ACKED = [Step("send", 0, 1), *(Step("ack", whose, 1) for whose in range(len(PEERS)))]


@pytest.mark.parametrize(
    ("config", "plan"),
    [
        ({"inbox_size": 2}, [Step("send", 0, 1)] * 4),
        ({"message_cache_max_size": 2}, [Step("send", 0, 1)] * 4),
        ({"message_cache_max_bytes": 1000}, [Step("send", 0, 300)] * 4),
        ({"message_cache_max_bytes": 1000}, [Step("send", 0, 2000), Step("send", 0, 1)]),
        ({}, [Step("move", 0), Step("send", 0, 1), Step("move", 0), Step("send", 0, 1)]),
        ({"message_cache_ttl": 10}, [Step("send", 0, 1), Step("wait", 0, 15), Step("send", 0, 1)]),
    ],
    ids=["the window", "messages", "bytes", "one larger one", "a detour", "time"],
)
def test_also_at_every_bound_for_peers_that_have_acknowledged(config: dict[str, Any], plan: list[Step]) -> None:
    whole = [*ACKED, *plan, *ACKED[1:]]
    assert what_is_seen(whole, config, short_way=True) == what_is_seen(whole, config, short_way=False)


LEFT_AND_BACK = [Step("move", 0), Step("move", 0)]


@pytest.mark.parametrize("times", range(1, 4))
def test_what_one_has_to_be_sent_again_is_nobody_elses(times: int) -> None:
    plan = [*ACKED, Step("send", 0, 1), *LEFT_AND_BACK * times, Step("ack", 1, 1), Step("move", 1), Step("move", 1)]
    assert what_is_seen(plan, {}, short_way=True) == what_is_seen(plan, {}, short_way=False)
    plan = [*ACKED, Step("send", 0, 1), *LEFT_AND_BACK * times, Step("move", 1), Step("move", 1), *ACKED]
    assert what_is_seen(plan, {}, short_way=True) == what_is_seen(plan, {}, short_way=False)


async def test_all_identities_together_are_bounded_for_peers_that_have_acknowledged(network: Any) -> None:
    async with network.server(message_cache_max_bytes=2000) as server:
        peers = [await joined(network, uuid=f"u{number}", key="key_of_peer") for number in range(15)]
        await server.broadcast_message(text_message("x"))
        for peer in peers:
            await peer.say(ack((await peer.hear())["msg_id"]))
        await trio.testing.wait_all_tasks_blocked()
        assert server.courier.held_bytes == 0
        results = await server.broadcast_message(text_message("x" * 1500))
        assert 0 < sum(results.values()) < 15
        assert server.courier.held_bytes <= TOTAL_FACTOR * 2000


async def test_what_finds_no_room_in_the_queue_of_the_link_leaves_when_it_is_empty(network: Any) -> None:
    handled: list[str] = []

    async def on_message(message: Any, metadata: dict[str, Any]) -> None:
        handled.append(message.message_segment.data[:3])

    async with network.server(on_message=on_message) as server, network.client(message_cache_max_bytes=1000) as client:
        assert await client.connect()
        assert await client.send_message(text_message("one"))
        await trio.testing.wait_all_tasks_blocked()
        assert client.get_stats()["messages_acked"] == 1
        client._connector._served.connection.link.send_text_nowait(b'{"type": "sys_ignored"}')
        assert await client.send_message(text_message("two" * 6 * 1024 * 1024))
        await trio.sleep(5)
        assert handled == ["one", "two"]
        assert server.get_stats()["messages_received"] == 2
        assert client.get_stats()["outbox_size"] == 0
