"""Handlers of messages: how they are called, and what bounds them. For every side alike."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import trio

from tests.checklist.world import (
    KEY,
    NAME,
    SIDES,
    Gate,
    Recorder,
    content,
    linked,
    settle,
    side_of,
    talking,
)
from tests.memory import Network, text_message
from tests.server.peer import joined, standard

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.checklist.rows import Row

EACH_SIDE = sorted(set(SIDES.values()))


async def a_server_hands_messages_to_on_message() -> None:
    await _hands_messages_over("server", {"api_key": KEY, "platform": "default", "user_id": "sys_default"})


async def a_client_hands_messages_to_on_message() -> None:
    await _hands_messages_over("client", {"sender_user": "server", "platform": "default"})


async def a_multi_client_hands_messages_to_on_message() -> None:
    await _hands_messages_over("multi", {"sender_user": "server", "connection_name": NAME})


async def _hands_messages_over(side: str, expected: dict[str, Any]) -> None:
    heard = Recorder()
    async with talking(side, on_message=heard) as talk:
        await talk.say("hi")
        message, metadata = await heard.wait()
        assert message == text_message("hi")
        assert expected.items() <= metadata.items()


async def handlers_in_the_configuration_are_called(row: Row) -> None:
    heard = Recorder()
    async with talking(side_of(row), custom_handlers={"weather_update": heard}) as talk:
        await talk.say_custom("weather_update", {"city": "北京", "temperature": 21.5})
        payload, metadata = await heard.wait()
        assert payload == {"city": "北京", "temperature": 21.5}
        assert metadata["message_type"] == "custom_weather_update"


async def a_handler_may_take_the_payload_alone(row: Row) -> None:
    heard = Recorder()
    async with talking(side_of(row), custom_handlers={"ping": lambda payload: heard(payload)}) as talk:
        await talk.say_custom("ping", {"n": 1})
        assert await heard.wait() == ({"n": 1},)


async def handlers_are_registered_while_running(row: Row) -> None:
    first, second = Recorder(), Recorder()
    async with talking(side_of(row)) as talk:
        talk.subject.register_custom_handler("ping", first)
        await talk.say_custom("custom_ping", {"n": 1})
        await first.wait()
        talk.subject.register_custom_handler("custom_ping", second)
        await talk.say_custom("ping", {"n": 2})
        payload, _ = await second.wait()
        assert (payload, len(first.calls)) == ({"n": 2}, 1)


async def handlers_are_unregistered_while_running(row: Row) -> None:
    gate, heard = Gate(), Recorder()
    async with talking(side_of(row), on_message=heard, custom_handlers={"ping": gate}) as talk:
        await talk.say_custom("ping", {"n": 1})
        await settle()
        talk.subject.unregister_custom_handler("ping")
        await talk.say_custom("ping", {"n": 2})
        await talk.say("after")
        await heard.wait()
        assert gate.begun == [{"n": 1}]
        assert gate.running == 1, "what runs already ends by itself"
        gate.opened.set()


async def a_message_that_nobody_handles_is_counted(row: Row) -> None:
    async with talking(side_of(row)) as talk:
        await talk.say("hi")
        await talk.say_custom("ping", {})
        await settle()
        assert talk.subject.get_stats()["unhandled_messages"] == 2
        assert talk.far.get_stats()["messages_acked"] == 2


# -- forms


async def a_callback_may_have_any_form(row: Row) -> None:
    heard = Recorder()

    async def coroutine(message: Any, metadata: Any) -> None:
        await trio.sleep(1)
        heard(message, metadata)

    def plain(message: Any, metadata: Any) -> None:
        heard(message, metadata)

    class CallableAsync:
        async def __call__(self, message: Any, metadata: Any) -> None:
            await coroutine(message, metadata)

    forms: dict[str, Callable[..., Any]] = {
        "async def": coroutine,
        "plain function": plain,
        "lambda": lambda message, metadata: heard(message, metadata),
        "partial": functools.partial(coroutine),
        "object with __call__": heard,
        "object with async __call__": CallableAsync(),
        "plain function that returns an awaitable": lambda message, metadata: coroutine(message, metadata),
    }
    for side in EACH_SIDE:
        async with talking(side, on_message=forms[row.name]) as talk:
            count = len(heard.calls)
            await talk.say(side)
            message, _ = await heard.wait(count + 1)
            assert content(message) == side


# -- connections come and go


async def a_handler_outlives_its_connection() -> None:
    network, gate, done = Network(), Gate(), trio.Event()

    async def handler(message: Any, metadata: Any) -> None:
        await gate(message, metadata)
        done.set()

    async with network.server(on_message=handler) as server:
        peer = await joined(network)
        await peer.say(standard("m1"))
        await settle()
        await peer.close()
        assert (gate.running, server.get_connection_count()) == (1, 0)
        gate.opened.set()
        await done.wait()


async def a_handler_may_answer_its_own_connection() -> None:
    heard = Recorder()

    async def answers(message: Any, metadata: Any) -> None:
        await servers[0].send_message(text_message(f"{content(message)} to you", to=metadata["api_key"]))

    servers: list[Any] = []
    async with linked({"on_message": answers}, {"on_message": heard}) as (server, client):
        servers.append(server)
        await client.send_message(text_message("hello"))
        message, _ = await heard.wait()
        assert content(message) == "hello to you"
