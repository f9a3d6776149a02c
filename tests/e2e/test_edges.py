"""Edges that users meet sooner or later, over real sockets."""

from __future__ import annotations

import socket

import pytest
import trio
import trio.testing

from maim_trio.client import ClientConfig, WebSocketClient, WebSocketMultiClient
from maim_trio.server import ServerConfig, WebSocketServer
from tests.memory import text_message

PATIENCE = 20.0
"""Seconds after which a test that waits for an event has failed."""


def make_server(**config):
    return WebSocketServer(ServerConfig(**{"host": "127.0.0.1", "port": 0, "on_auth": lambda metadata: True, **config}))


def make_client(server, api_key="key_of_client", *, host="127.0.0.1", **config):
    return WebSocketClient(ClientConfig(f"ws://{host}:{server.port}/ws", api_key, **config))


class Noted:
    """A list whose growth one can wait for."""

    def __init__(self):
        self.items = []
        self._more = trio.Event()

    def __call__(self, *arguments):
        self.items.append(arguments)
        self._more.set()

    async def count(self, count):
        with trio.fail_after(PATIENCE):
            while len(self.items) < count:
                self._more = trio.Event()
                await self._more.wait()


# -- handlers


@pytest.mark.parametrize("side", ["server", "client"])
async def test_unregistering_a_handler_that_runs_lets_it_finish_and_starts_no_other(side):
    began, go, done = Noted(), trio.Event(), Noted()

    async def handler(payload):
        began(payload)
        await go.wait()
        done(payload)

    async with make_server() as server, make_client(server) as client:
        assert await client.connect()
        ours = {"server": server, "client": client}[side]
        ours.register_custom_handler("x", handler)

        async def send(number):
            if side == "server":
                assert await client.send_custom_message("x", {"n": number})
            else:
                assert all((await server.broadcast_custom_message("x", {"n": number})).values())

        await send(1)
        await began.count(1)
        ours.unregister_custom_handler("x")
        ours.unregister_custom_handler("x")  # which harms nobody
        await send(2)
        await trio.testing.wait_all_tasks_blocked(0.05)
        go.set()
        await done.count(1)
        ours.register_custom_handler("x", done)
        await send(3)
        await done.count(2)
        assert began.items == [({"n": 1},)]
        assert [arguments[0] for arguments in done.items] == [{"n": 1}, {"n": 3}]
        assert ours.get_stats()["unhandled_messages"] == 1


async def test_a_handler_that_is_registered_twice_is_the_second_one():
    first, second = Noted(), Noted()
    async with make_server() as server, make_client(server) as client:
        server.register_custom_handler("x", first)
        server.register_custom_handler("custom_x", second)
        assert await client.connect()
        await client.send_custom_message("x", {})
        await second.count(1)
        assert first.items == []


async def test_handlers_of_both_sides_may_send_to_the_connection_they_were_called_for():
    """A conversation that each keeps up from inside its handler."""
    heard = Noted()

    async def at_server(message, metadata):
        number = message.message_segment.data
        assert await server.send_message(text_message(number + 1)) == {metadata["uuid"]: True}

    async def at_client(message, metadata):
        number = message.message_segment.data
        heard(number)
        if number < 199:
            assert await client.send_message(text_message(number + 1))

    async with make_server(on_message=at_server) as server:
        client = make_client(server, on_message=at_client)
        async with client:
            assert await client.connect()
            await client.send_message(text_message(0))
            await heard.count(100)
    assert [number for (number,) in heard.items] == [*range(1, 200, 2)]


async def test_a_handler_may_close_its_own_connection_and_connect_anew():
    async def at_client(message, metadata):
        assert await client.disconnect()
        assert await client.connect()
        assert await client.send_custom_message("back", {})

    back = Noted()
    async with make_server(custom_handlers={"back": back}) as server:
        client = make_client(server, on_message=at_client)
        async with client:
            assert await client.connect()
            await server.broadcast_message(text_message())
            await back.count(1)
            assert server.get_connection_count() == 1


async def test_stop_inside_a_handler_of_each_side_ends_that_side_in_order():
    ended = Noted()

    async def stop_server(payload):
        await server.stop()

    async def stop_client(payload):
        await client.stop()

    server = make_server(custom_handlers={"stop": stop_server}, on_disconnect=ended)
    async with server:
        client = make_client(server, custom_handlers={"stop": stop_client})
        async with client:
            assert await client.connect()
            await server.broadcast_custom_message("stop", {})
            await ended.count(1)
            await client.stop()
        other = make_client(server)
        async with other:
            assert await other.connect()
            await other.send_custom_message("stop", {})
            await ended.count(2)
            await server.stop()
    assert [metadata["close_code"] for _, metadata in ended.items] == [1001, 1001]


# -- restarts


async def test_after_a_restart_of_the_server_all_of_100_clients_are_back(nursery):
    connected, heard = Noted(), Noted()
    fast = {"reconnect_delay": 0.05, "max_reconnect_delay": 0.2, "max_reconnect_attempts": 0}
    server = make_server(on_connect=connected, log_level="WARNING")
    async with server:
        port = server.port
        clients = [make_client(server, f"key_{n}", **fast, on_message=heard, log_level="ERROR") for n in range(100)]
        async with trio.open_nursery() as starting:
            for client in clients:
                await client.start(nursery)
                starting.start_soon(client.connect)
        ids = {client.get_connection_uuid() for client in clients}
        assert server.get_connections().keys() == ids
    server.update_config(port=port)
    connected.items.clear()
    async with server:
        await connected.count(100)
        with trio.fail_after(PATIENCE):
            for client in clients:
                await client.wait_connected()
        assert server.get_connections().keys() == ids
        assert len(await server.broadcast_message(text_message())) == 100
        await heard.count(100)
        async with trio.open_nursery() as stopping:
            for client in clients:
                stopping.start_soon(client.stop)


async def test_two_servers_in_one_program_know_nothing_of_each_other(nursery):
    heard = {"first": Noted(), "second": Noted()}
    first, second = (make_server(on_message=heard[name]) for name in heard)
    async with first, second:
        assert first.port != second.port
        config = {name: f"ws://127.0.0.1:{server.port}/ws" for name, server in (("first", first), ("second", second))}
        client = WebSocketMultiClient()
        for name, url in config.items():
            client.register_connection(name, url, "one_key_for_both")
        async with client:
            assert await client.connect() == {"first": True, "second": True}
            assert (first.get_connection_count(), second.get_connection_count()) == (1, 1)
            await client.send_message("second", text_message())
            await heard["second"].count(1)
            assert heard["first"].items == []
            assert len(await first.broadcast_message(text_message())) == 1
            await first.stop()
            assert second.is_running()
            assert client.is_connected("second")
            assert await client.send_message("second", text_message())
            await heard["second"].count(2)


# -- addresses


has_ipv6 = pytest.mark.skipif(not socket.has_ipv6, reason="this machine speaks no IPv6")


class Resolver(trio.abc.HostnameResolver):
    """Knows one name, with several addresses in this order."""

    def __init__(self, *addresses):
        self.addresses = addresses

    async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):
        await trio.lowlevel.checkpoint()
        found = []
        for address in self.addresses:
            kind = socket.AF_INET6 if ":" in address else socket.AF_INET
            place = (address, port, 0, 0) if ":" in address else (address, port)
            found.append((kind, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", place))
        return found

    async def getnameinfo(self, sockaddr, flags):
        raise NotImplementedError


@has_ipv6
async def test_ipv6_on_both_sides():
    seen = Noted()
    async with make_server(host="::1", on_connect=seen) as server:
        async with make_client(server, host="[::1]") as client:
            assert await client.connect(), client.get_last_error()
        [(_, metadata)] = seen.items
        assert metadata["client_ip"] == "::1"
        assert server.get_stats()["total_connections"] == 1


@has_ipv6
@pytest.mark.parametrize("listening", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("order", [("127.0.0.1", "::1"), ("::1", "127.0.0.1")])
async def test_of_several_addresses_of_a_host_the_one_that_answers_is_taken(listening, order):
    trio.socket.set_custom_hostname_resolver(Resolver(*order))
    async with make_server(host=listening) as server, make_client(server, host="bot.example") as client:
        assert await client.connect(), client.get_last_error()


@has_ipv6
async def test_a_server_listens_on_all_addresses_of_its_host_on_one_port():
    trio.socket.set_custom_hostname_resolver(Resolver("127.0.0.1", "::1"))
    async with make_server(host="bot.example") as server:
        for host in ("127.0.0.1", "[::1]"):
            async with make_client(server, host=host) as client:
                assert await client.connect(), client.get_last_error()


async def test_localhost_is_enough_on_both_sides():
    async with make_server(host="localhost") as server, make_client(server, host="localhost") as client:
        assert await client.connect(), client.get_last_error()


async def test_a_host_whose_addresses_all_refuse_is_told_with_the_reason():
    trio.socket.set_custom_hostname_resolver(Resolver("127.0.0.1", "127.0.0.2"))
    server = make_server()
    async with server:
        port = server.port
    config = ClientConfig(f"ws://bot.example:{port}/ws", "key", connect_timeout=0.5)
    async with WebSocketClient(config) as client:
        assert await client.connect() is False
        assert "refused" in client.get_last_error()


async def test_port_0_is_another_one_after_each_start_and_told_by_the_server():
    server = make_server()
    assert server.port == 0
    async with server:
        assert server.port > 0
        async with make_client(server) as client:
            assert await client.connect()
    assert server.port == 0
