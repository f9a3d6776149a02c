"""A bridge that is cancelled or stopped at every step of its life: nothing is left of it on either side."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from maim_trio.message import APIMessageBase, BaseMessageInfo, MessageDim, Seg
from tests.legacy.bridging import KEYS, Adapter, World, settle
from tests.memory import URL

STEPS = range(0, 120, 3)
"""Scheduler ticks until the end: with both sides connected and a message through, some 90 have passed."""


async def talk(world: World, bridge: Any, server: Any) -> None:
    """Keeps messages going in both directions for as long as it runs."""
    async with Adapter(world.legacy) as adapter:
        await adapter.connect(URL, "qq")
        while True:
            await adapter.send_message({"message_info": {}, "message_segment": {"type": "text", "data": "up"}})
            info = BaseMessageInfo("bot", "b1", 1.5)
            await server.send_message(APIMessageBase(info, Seg("text", "down"), MessageDim(KEYS["qq"], "qq")))
            await trio.sleep(0.01)


async def ended_after(steps: int, *, cancelled: bool) -> World:
    world = World()
    async with world.server() as server:
        bridge = world.bridge()
        async with trio.open_nursery() as nursery:
            scope, ended = trio.CancelScope(), trio.Event()

            async def run() -> None:
                with scope:
                    await bridge.run()
                ended.set()

            nursery.start_soon(run)
            nursery.start_soon(talk, world, bridge, server)
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            if cancelled:
                scope.cancel()
            else:
                bridge.stop()
            with trio.fail_after(30):
                await ended.wait()
            assert not world.legacy.served_streams | world.api.open_streams
            nursery.cancel_scope.cancel()
        await settle()
        assert server.get_connection_count() == 0
    return world


@pytest.mark.parametrize("cancelled", [True, False], ids=["cancelled", "stopped"])
@pytest.mark.parametrize("steps", STEPS)
async def test_however_early_it_ends_nothing_is_left(autojump_clock, steps, cancelled):
    world = await ended_after(steps, cancelled=cancelled)
    assert not world.legacy.open_streams
    assert not world.api.served_streams


@pytest.mark.parametrize("steps", range(0, 40, 2))
async def test_what_has_arrived_when_it_stops_is_passed_on_in_both_directions(autojump_clock, steps):
    world = World()
    async with world.server() as server, world.adapter_of(world.bridge("qq")) as (bridge, adapter):
        for number in range(30):
            await adapter.send_message({"message_info": {}, "message_segment": {"type": "text", "data": number}})
            info = BaseMessageInfo("bot", "b1", 1.5)
            await server.send_message(APIMessageBase(info, Seg("text", "down"), MessageDim(KEYS["qq"], "qq")))
        for _ in range(steps):
            await trio.lowlevel.checkpoint()
        began = trio.current_time()
        bridge.stop()
        await trio.sleep(1)
        assert not bridge.adapters.is_running()
        assert trio.current_time() - began < 2
    assert bridge.dropped == 0
    assert bridge.to_api == bridge.adapters.stats.messages_received == len(world.at_server)
    assert bridge.to_adapters == sum(api.stats.messages_processed for api in bridge.apis.values())
    assert len(adapter.received) == bridge.to_adapters
