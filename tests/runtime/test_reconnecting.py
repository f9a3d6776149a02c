"""How soon a dead link is noticed, and that many clients do not come back all at once."""

from __future__ import annotations

from collections import Counter

import pytest
import trio
import trio.testing

CLIENTS = 500


@pytest.mark.parametrize("offset", [0.0, 0.3, 2.9, 3.1, 4.9])
async def test_each_side_notices_a_half_open_link_within_interval_plus_timeout(cutting, offset):
    quick, never = {"ping_interval": 3.0, "ping_timeout": 2.0}, {"ping_interval": 0}
    lost: list[float] = []

    def note(*_: object) -> None:
        lost.append(trio.current_time())

    async with (
        cutting.server(on_disconnect=note, **quick) as server,
        cutting.client(on_disconnect=note, auto_reconnect=False, **quick) as both,
        cutting.client(on_disconnect=note, auto_reconnect=False, **never) as careless,
    ):
        assert await both.connect()
        assert await careless.connect()
        await trio.sleep(offset)
        cutting.half_open()
        began = trio.current_time()
        await trio.sleep(5.01)
        assert server.get_connection_count() == 0
        assert not both.is_connected()
        assert len(lost) == 3
        assert max(lost) - began <= 3.0 + 2.0
        assert careless.is_connected()


async def test_500_clients_come_back_spread_over_the_delay_after_a_restart(network, capsys):
    back: list[float] = []
    restarted = 0.0

    def note(*_: object) -> None:
        back.append(trio.current_time() - restarted)

    async with trio.open_nursery() as nursery:
        server = network.server()
        await server.start(nursery)
        clients = [network.client(max_reconnect_attempts=0) for _ in range(CLIENTS)]
        for client in clients:
            await client.start(nursery)
            assert await client.connect()
        await server.stop()
        restarted = trio.current_time()
        network.dials.clear()
        for client in clients:
            client.config.on_connect = note
        await server.start(nursery)
        await trio.sleep(30)
        assert server.get_connection_count() == CLIENTS
        nursery.cancel_scope.cancel()
    tenths = Counter(int(moment * 10) for moment in back)
    with capsys.disabled():
        print(
            "\nreconnects of 500 clients per 0.1 s after a restart:",
            [tenths[tenth] for tenth in range(max(tenths) + 1)],
        )
    delay = 1.0  # the default reconnect_delay: the first attempt is drawn from all of it
    assert max(back) <= delay + 0.1
    assert max(tenths.values()) < CLIENTS / 5
    assert len(network.dials) == CLIENTS
