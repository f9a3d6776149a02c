"""Legacy servers, clients and routers that are cancelled at every step there is: nothing is left of them."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import trio
import trio.testing

from maim_trio import RouteConfig, TargetConfig
from tests.legacy.memory import (
    TOKEN,
    URL,
    LegacyPeer,
    MemoryMessageClient,
    MemoryMessageServer,
    MemoryRouter,
    joined,
    routes,
    text,
)
from tests.memory import Network
from tests.test_cancellations import cancelled_at, pause, run

if TYPE_CHECKING:
    from maim_trio import MessageClient

CLOSE_TIMEOUT = 3.0


def server_is_clean(server: MemoryMessageServer, network: Network) -> None:
    assert not server.is_running()
    assert (len(server._platforms), server.promised, server._opening, server._connection_tasks) == (0, 0, {}, 0)
    assert server.links == set()
    assert len(server._lanes) == 0
    assert server.get_stats()["active_handler_tasks"] == 0
    assert network.served_streams == set()


def client_is_clean(client: MessageClient, network: Network) -> None:
    assert not client.is_running()
    assert not client.is_connected()
    assert client._keeper._served is None
    assert client.links == set()
    assert client.get_stats()["active_handler_tasks"] == 0
    assert network.open_streams == set()


class TestTheServer:
    def test_cancelled_anywhere_it_leaves_nothing_behind(self) -> None:
        async def program(steps: int) -> float | None:
            network = Network()
            server = MemoryMessageServer(network, enable_token=True, close_timeout=CLOSE_TIMEOUT)
            server.add_valid_token(TOKEN)
            server.register_message_handler(pause)
            server.register_message_handler(pause)

            async def life() -> None:
                """Handshake, messages, a replacement, sending, a refusal, nonsense, stopping."""
                async with server:
                    older = await joined(network, "qq", TOKEN)
                    await older.say_text("one")
                    newer = await joined(network, "qq", TOKEN)
                    assert (await older.closed())[0] == 1000
                    await server.send_message(text("two"))
                    await newer.hear_text()
                    await server.broadcast_message(text("three").to_dict())
                    assert (await LegacyPeer(network.connect()).join(platform="qq")).status == 401
                    await newer.say(b"nonsense")
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(server.stop)
                        await newer.closed()

            cancelled = await cancelled_at(steps, life)
            if cancelled is not None:
                assert trio.current_time() - cancelled <= CLOSE_TIMEOUT
            server_is_clean(server, network)
            async with server:  # and it can be started again
                await joined(network, "qq", TOKEN)
            return cancelled

        assert run(program) > 100


class TestTheClient:
    def test_cancelled_anywhere_it_leaves_nothing_behind(self) -> None:
        async def program(steps: int) -> float | None:
            network = Network()
            client = MemoryMessageClient(network, close_timeout=CLOSE_TIMEOUT, reconnect_delay=0.1)
            client.register_message_handler(pause)

            async def life() -> None:
                """Connecting, messages both ways, another platform, an outage, coming back, stopping."""
                async with client:
                    await client.connect(URL, "qq")
                    await client.send_message(text("one"))
                    await server.send_message(text("two"))
                    await client.connect(URL, "wechat")
                    await server.stop()
                    await client.send_message(text("three"))
                    await server.start(nursery)
                    await trio.sleep(1)
                    await client.stop()

            async with trio.open_nursery() as nursery:
                server = MemoryMessageServer(network)
                server.register_message_handler(pause)
                await server.start(nursery)
                cancelled = await cancelled_at(steps, life)
                if cancelled is not None:
                    assert trio.current_time() - cancelled <= CLOSE_TIMEOUT
                client_is_clean(client, network)
                await server.stop()  # it may have been about to
                await server.start(nursery)
                async with client:
                    assert await client.connect(URL, "qq")
                client_is_clean(client, network)
                await server.stop()
            return cancelled

        assert run(program) > 100


class TestTheRouter:
    def test_cancelled_anywhere_it_leaves_nothing_behind(self) -> None:
        async def program(steps: int) -> float | None:
            network = Network()
            router = MemoryRouter(defaultdict(Network, memory=network), routes(qq=None), close_timeout=CLOSE_TIMEOUT)
            seen: list[MessageClient] = []

            async def life() -> None:
                """Connecting, sending, platforms that come, change and go, stopping."""
                async with router:
                    seen.extend(router.clients.values())
                    await router.connect("qq")
                    await router.send_message(text("one"))
                    await router.add_platform("wechat", TargetConfig(URL))
                    seen.extend(router.clients.values())
                    await router.update_config(RouteConfig({"wechat": TargetConfig(URL, TOKEN)}))
                    await router.remove_platform("wechat")
                    await router.stop()

            async with MemoryMessageServer(network) as server:
                server.register_message_handler(pause)
                cancelled = await cancelled_at(steps, life)
                if cancelled is not None:
                    assert trio.current_time() - cancelled <= CLOSE_TIMEOUT
                assert not router.is_running()
                assert router.clients == {}
                assert network.open_streams == set()
                for client in seen:
                    client_is_clean(client, network)
                router.config = routes(qq=None)
                async with router:
                    assert await router.connect("qq")
            return cancelled

        assert run(program) > 100

    def test_a_call_that_is_cancelled_anywhere_is_finished_all_the_same(self) -> None:
        async def program(steps: int) -> float | None:
            network = Network()
            router = MemoryRouter(defaultdict(Network, memory=network), routes(qq=None, wechat=None))
            changed = RouteConfig({"wechat": TargetConfig(URL, TOKEN), "telegram": TargetConfig(URL)})
            async with MemoryMessageServer(network) as server, router:
                assert await router.connect("qq")
                cancelled = await cancelled_at(steps, lambda: router.update_config(changed))
                if router.config is changed:  # otherwise it was cancelled before it had begun
                    assert set(router.clients) == {"wechat", "telegram"}
                    await trio.sleep(1)
                    assert server.get_platforms() == {"wechat", "telegram"}
            return cancelled

        assert run(program) > 5
