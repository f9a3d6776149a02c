"""Requests that are answered."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from maim_trio.errors import NotConnected, RequestFailed, RequestTimeout
from tests.checklist.world import Gate, linked, settle
from tests.memory import Network

ANSWER = {"sum": 3}


async def a_client_asks_a_server() -> None:
    asked: list[Any] = []
    async with linked({"custom_handlers": {"add": lambda payload, _: asked.append(payload) or ANSWER}}) as (_, client):
        assert await client.request("add", {"a": 1, "b": 2}) == ANSWER
    assert asked == [{"a": 1, "b": 2}]


async def a_server_asks_a_client() -> None:
    async with linked(client={"custom_handlers": {"add": lambda _: ANSWER}}) as (server, client):
        uuid = client.get_connection_uuid() or ""
        assert await server.request(uuid, "add", {"a": 1}, timeout=5.0) == ANSWER


async def a_server_cannot_ask_who_is_not_there() -> None:
    async with linked(client={"custom_handlers": {"add": Gate()}}) as (server, client):
        with pytest.raises(NotConnected):
            await server.request("nobody", "add", {})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_expects_lost, server, client.get_connection_uuid())
            await settle()
            await client.disconnect()


async def _expects_lost(server: Any, uuid: str) -> None:
    with pytest.raises(NotConnected):
        await server.request(uuid, "add", {}, timeout=1000.0)


async def a_request_times_out() -> None:
    gate = Gate()
    async with linked({"custom_handlers": {"slow": gate}}) as (_server, client):
        began = trio.current_time()
        with pytest.raises(RequestTimeout):
            await client.request("slow", {}, timeout=3.0)
        assert trio.current_time() == began + 3.0
        with pytest.raises(TimeoutError):
            await client.request("slow", {})
        assert trio.current_time() == began + 13.0, "10 seconds by default"


async def a_late_answer_is_dropped_and_counted() -> None:
    gate = Gate()
    async with linked({"custom_handlers": {"slow": gate}}) as (_server, client):
        with pytest.raises(RequestTimeout):
            await client.request("slow", {}, timeout=1.0)
        gate.opened.set()
        await settle()
        stats = client.get_stats()
        assert (stats["late_answers"], stats["unhandled_messages"]) == (1, 0)


async def a_request_fails_when_the_handler_raises() -> None:
    def raises(_payload: Any) -> None:
        raise LookupError("a secret text")

    await _fails_with("LookupError", raises)


async def a_request_fails_when_the_answer_is_no_dict() -> None:
    await _fails_with("TypeError", lambda _: 5)


async def a_request_fails_without_a_handler() -> None:
    await _fails_with("no_handler")


async def _fails_with(error: str, handler: Any = None) -> None:
    handlers = {} if handler is None else {"add": handler}
    async with linked({"custom_handlers": handlers}) as (server, client):
        with pytest.raises(RequestFailed, match=error) as failed:
            await client.request("add", {})
        assert "secret" not in str(failed.value)
        assert error in failed.value.error
        assert server.is_running()


async def a_request_is_answered_with_nothing() -> None:
    async with linked({"custom_handlers": {"add": lambda _: None}}) as (_server, client):
        assert await client.request("add", {}) == {}


async def a_request_survives_a_reconnect() -> None:
    network, gate = Network(), Gate()

    async def slow(payload: Any, metadata: Any) -> dict[str, Any]:
        await gate(payload, metadata)
        return ANSWER

    answers: list[Any] = []

    async def asks() -> None:
        answers.append(await client.request("slow", {}, timeout=100.0))

    async with network.server(custom_handlers={"slow": slow}), network.client() as client:
        assert await client.connect()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(asks)
            await settle()
            for stream in list(network.open_streams):
                await trio.aclose_forcefully(stream)
            await client.wait_connected()
            await trio.sleep(5)
            assert client.is_connected()
            gate.opened.set()
        assert answers == [ANSWER]
