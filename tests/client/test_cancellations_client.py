"""Cancelled, stopped or disconnected at every step of everything a client does: nothing is left, and it works again."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from functools import partial

import pytest
import trio
import trio.testing

from maim_trio.errors import NotConnected
from tests.client.raw import closes, hangs_up, numbered, old_server, refuses, sends, silent, welcomes
from tests.memory import text_message

settled = trio.testing.wait_all_tasks_blocked

STEPS = range(32)
"""Scheduler ticks until the interruption: connecting over memory streams takes 22, disconnecting 25."""
MOMENTS = (0.0, 0.1, 0.49, 0.5, 0.51, 1.0, 3.0, 9.99, 10.0, 10.01)
"""Seconds until the interruption, for the waits that take time."""


async def steps(count):
    for _ in range(count):
        await trio.lowlevel.checkpoint()


async def cancelled_after(wait, amount, action):
    """Runs `action` and cancels it after so much of `wait`. True when it had come to its end before."""
    finished = False
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def run():
            nonlocal finished
            with scope:
                await action()
                finished = True

        nursery.start_soon(run)
        await wait(amount)
        scope.cancel()
    return finished


async def run_until_refused(client):
    """`client.run`, which ends by itself only where the server refuses."""
    with suppress(NotConnected):
        await client.run()
        return
    await trio.sleep_forever()


def too_early(wait, amount):
    """The order of tasks within a tick is random: the call itself may not have begun before it was interrupted."""
    return amount == 0 or (wait is steps and amount <= 2)


def interruptions(counts=STEPS):
    return [(steps, count) for count in counts] + [(trio.sleep, moment) for moment in MOMENTS]


class Paired:
    """Hooks that count: each on_connect is followed by one on_disconnect."""

    def __init__(self):
        self.events = []

    @property
    def hooks(self):
        return {
            "on_connect": lambda *_: self.events.append("on"),
            "on_disconnect": lambda *_: self.events.append("off"),
        }

    def assert_paired(self):
        assert self.events == ["on", "off"] * (len(self.events) // 2)


async def assert_works(client, play):
    await play(welcomes)
    assert await client.connect()
    assert client.is_connected()
    assert await client.send_message(text_message())


SERVERS = {
    "ours": [welcomes],
    "old": [old_server],
    "old, refusing": [closes(1000, "Authentication failed", after=0.2, ours=False)],
    "refusing": [refuses(401)],
    "overloaded": [refuses(503, {"Retry-After": "1"})],
    "silent": [silent],
    "hanging up": [hangs_up],
    "flapping": [closes(1001)],
}


@pytest.fixture(params=SERVERS, ids=SERVERS)
def scripts(request):
    return SERVERS[request.param]


async def test_connect_cancelled_at_every_step(network, play, scripts):
    for wait, amount in interruptions():
        await play(*scripts)
        paired = Paired()
        async with network.client(**paired.hooks) as client:
            await cancelled_after(wait, amount, client.connect)
            assert len(network.open_streams) <= 1
            await client.disconnect()
            await settled()
            assert not client.is_connected()
            assert not network.open_streams
            await assert_works(client, play)
            assert len(network.open_streams) == 1
        assert not network.open_streams
        paired.assert_paired()


async def test_disconnect_at_every_step_of_connect(network, play, scripts):
    for wait, amount in interruptions():
        await play(*scripts)
        paired = Paired()
        results = []

        async def connect():
            results.append(await client.connect())  # noqa: B023 - called within this turn of the loop

        async with network.client(max_reconnect_attempts=0, **paired.hooks) as client:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(connect)
                await wait(amount)
                assert await client.disconnect()
            await settled()
            attempts = len(network.dials)
            if not too_early(wait, amount):
                assert not client.is_connected()
                assert not network.open_streams
                await trio.sleep(100)
                assert len(network.dials) == attempts
            await client.disconnect()
            await assert_works(client, play)
        assert len(results) == 1
        assert not network.open_streams
        paired.assert_paired()


async def test_stop_at_every_step_of_connect(network, play, scripts):
    client = network.client()
    for wait, amount in interruptions():
        await play(*scripts)
        paired = Paired()
        client.update_config(**paired.hooks)
        async with trio.open_nursery() as nursery:
            await client.start(nursery)
            async with trio.open_nursery() as callers:
                callers.start_soon(client.connect)
                await wait(amount)
                await client.stop()
            assert not client.is_running()
            assert not client.is_connected()
            assert not network.open_streams
        paired.assert_paired()
    async with client:
        await assert_works(client, play)


async def test_the_surroundings_cancelled_at_every_step(network, play, scripts):
    client = network.client()

    async def live():
        async with client:
            await client.connect()
            await client.send_message(text_message())
            await client.disconnect()
            await client.connect()

    for wait, amount in interruptions(range(100)):
        await play(*scripts)
        await cancelled_after(wait, amount, live)
        assert not client.is_running()
        assert not client.is_connected()
        assert not network.open_streams
    async with client:
        await assert_works(client, play)


async def test_run_cancelled_at_every_step(network, play, scripts):
    client = network.client()
    for wait, amount in interruptions():
        await play(*scripts)
        assert not await cancelled_after(wait, amount, partial(run_until_refused, client))
        assert not client.is_running()
        assert not network.open_streams
    async with client:
        await assert_works(client, play)


async def test_start_cancelled_at_every_step(network, play):
    client = network.client()
    started = Counter()
    for count in STEPS:
        async with trio.open_nursery() as nursery:

            async def start():
                await client.start(nursery)

            finished = await cancelled_after(steps, count, start)
            started[finished] += 1
            assert client.is_running() is finished
            await client.stop()
            assert not nursery.child_tasks
    assert started[True] > 10
    assert started[False] > 0
    async with client:
        await assert_works(client, play)


async def test_disconnect_cancelled_at_every_step(network, play):
    async def deaf(peer):
        await peer.accept()
        await trio.sleep_forever()

    for script in (welcomes, deaf):
        for wait, amount in interruptions():
            await play(script)
            paired = Paired()
            async with network.client(close_timeout=2.0, **paired.hooks) as client:
                assert await client.connect()
                assert await client.send_message(text_message())
                await cancelled_after(wait, amount, client.disconnect)
                await trio.sleep(2)
                connected = client.is_connected()
                assert len(network.open_streams) == connected
                assert too_early(wait, amount) or not connected
                await assert_works(client, play)
            assert not network.open_streams
            paired.assert_paired()


async def test_stop_cancelled_at_every_step_goes_on(network, play):
    client = network.client()
    for wait, amount in interruptions():
        await play(welcomes)
        async with trio.open_nursery() as nursery:
            await client.start(nursery)
            assert await client.connect()
            await cancelled_after(wait, amount, client.stop)
            if too_early(wait, amount):
                await client.stop()
        assert not client.is_running()
        assert not network.open_streams


async def test_send_cancelled_at_every_step_was_sent_or_was_not(network, play):
    peers = await play(welcomes)
    async with network.client() as client:
        assert await client.connect()
        sent = 0
        for count in range(40):

            async def send(text):
                assert await client.send_message(text_message(text))

            sent += await cancelled_after(steps, count % 4, lambda: send(str(count)))  # noqa: B023
        assert client.is_connected()
        await settled()
        texts = [message["payload"]["message_segment"]["data"] for message in peers[0].heard]
        assert len(texts) == sent
        assert texts == sorted(texts, key=int)
        assert 0 < sent < 40


async def test_drawing_cancelled_at_every_step_loses_nothing(network, play):
    async def dribbles(peer):
        await peer.accept()
        for message in numbered(200):
            await peer.send(message)
            await steps(3)
        await peer.serve()

    await play(dribbles)
    got = []
    async with network.client() as client:
        messages = client.messages()
        assert await client.connect()

        async def draw():
            message, _ = await anext(messages)
            got.append(message.message_segment.data)

        for count in range(2000):
            await cancelled_after(steps, count % 7, draw)
            if len(got) == 200:
                break
    assert got == list(range(200))


async def test_handlers_cancelled_at_every_step_of_stop(network, play):
    """Whatever stop() finds running ends within shutdown_timeout, and nothing is started afterwards."""
    for count in STEPS:
        running = 0

        async def slow(_message, _metadata):
            nonlocal running
            running += 1
            try:
                await trio.sleep_forever()
            finally:
                running -= 1

        await play(sends(*numbered(20)))
        client = network.client(on_message=slow, shutdown_timeout=1.0, max_concurrent_handlers=5)
        async with client:
            assert await client.connect()
            await steps(count)
            start = trio.current_time()
        assert trio.current_time() - start <= 1.1
        assert running == 0
        assert not network.open_streams


async def test_a_server_that_closes_at_every_step_of_stop_and_disconnect(network, play):
    for action in ("stop", "disconnect"):
        for count in STEPS:
            go = trio.Event()

            async def closes_on_cue(peer):
                await peer.accept()
                await go.wait()  # noqa: B023 - called within this turn of the loop
                await peer.close(1001)

            await play(closes_on_cue)
            paired = Paired()
            async with network.client(auto_reconnect=False, **paired.hooks) as client:
                assert await client.connect()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(getattr(client, action))
                    await steps(count % 16)
                    go.set()
                    await steps(count // 16)
                assert not client.is_connected()
            assert not network.open_streams
            paired.assert_paired()
