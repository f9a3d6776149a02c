"""Where received messages wait, whatever the connections of their platform do."""

from __future__ import annotations

import trio.testing

from maim_trio._legacy.connection import Received
from maim_trio._legacy.lanes import Lanes
from tests.legacy.memory import MemoryMessageServer, joined, text

SETTLED = trio.testing.wait_all_tasks_blocked


def test_connections_of_one_platform_share_a_lane():
    lanes = Lanes(10)
    one = lanes.enter("qq")
    assert lanes.enter("qq") is one
    assert lanes.enter("wechat") is not one
    lanes.leave("qq")
    assert lanes.enter("qq") is one
    for name in ("qq", "qq", "wechat"):
        lanes.leave(name)
    assert len(lanes) == 0


def test_one_in_which_something_waits_stays_until_it_is_idle():
    lanes = Lanes(10)
    lane = lanes.enter("qq")
    lane.put(Received({}, 2, "qq"))
    lanes.leave("qq")
    assert len(lanes) == 1
    assert lanes.enter("qq") is lane
    lane.take()
    lane.on_idle()  # as the dispatcher does
    assert len(lanes) == 1  # somebody uses it again
    lanes.leave("qq")
    assert len(lanes) == 0


async def test_who_comes_again_and_again_fills_one_inbox_only(network):
    """Not one per connection: reading stops when it is full, and the client has to wait."""
    server = MemoryMessageServer(network, inbox_size=5, max_concurrent_handlers_per_connection=1)

    async def never_ends(_message):
        await trio.sleep_forever()

    server.register_message_handler(never_ends)
    async with server:
        for platform in ("qq", ""):
            for _ in range(10):
                peer = await joined(network, platform)
                for number in range(20):
                    await peer.say_text(number)
                await peer.aclose()
                await SETTLED()
        assert [len(lane.inbox) + lane.inbox.waiting for lane in server._lanes._lanes.values()] == [10, 10]
        server.config.shutdown_timeout = 0.1


async def test_a_connection_that_replaces_another_needs_no_place(network):
    async with MemoryMessageServer(network, max_connections=2) as server:
        await joined(network, "qq")
        await joined(network, "wechat")
        newer = await joined(network, "qq")
        await SETTLED()
        assert await server.send_message(text("hi"))
        assert await newer.hear_text() == "hi"
