"""The dicts that the library hands out, as they were seen: before, while and after something runs."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import trio
import trio.testing

from tests.checklist.world import NAME, Recorder, made, settle, talking
from tests.memory import Network, text_message

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Seen = dict[str, dict[str, Any]]
"""When → what was seen."""

SERVICES = {"WebSocketServer": "server", "WebSocketClient": "client", "WebSocketMultiClient": "multi"}


@cache
def of(what: str) -> Seen:
    """What was seen of a dict that rows of kind ``key`` are about. KeyError when nobody looks at it."""
    return trio.run(_ALL[what], clock=trio.testing.MockClock(autojump_threshold=0))


def all_names() -> list[str]:
    return list(_ALL)


def _in_every_state(service: str, method: str) -> Callable[[], Awaitable[Seen]]:
    """Of a method without arguments that works always."""
    side = SERVICES[service]

    async def look() -> Seen:
        subject = made(side, Network())
        seen = {"before it starts": getattr(subject, method)()}
        async with subject:
            seen["while nobody is connected"] = getattr(subject, method)()
        seen["after it has stopped"] = getattr(subject, method)()
        async with talking(side, on_message=lambda *_: None) as talk:
            await talk.say("hi")
            await settle()
            seen["while connected"] = getattr(talk.subject, method)()
        return seen

    return look


async def _connection_info() -> Seen:
    async with talking("server") as talk:
        return {"while connected": talk.subject.get_connection_info(talk.far.get_connection_uuid()) or {}}


async def _connections() -> Seen:
    async with talking("server") as talk:
        return {"while connected": talk.subject.get_connections()[talk.far.get_connection_uuid()]}


async def _multi_connections() -> Seen:
    async with talking("multi") as talk:
        seen = {"while connected": talk.subject.list_connections()[NAME]}
        await talk.subject.disconnect()
        seen["when disconnected"] = talk.subject.list_connections()[NAME]
    return seen


async def _metadata() -> dict[str, Seen]:
    """The metadata of every callback of a server, and of the handlers of both clients."""
    hooks = {name: Recorder(True) for name in ("on_auth", "on_connect", "on_disconnect", "on_message", "ping")}
    extract = Recorder("alice")
    network = Network()
    fields = {name: hooks[name] for name in hooks if name != "ping"}
    async with network.server(
        **fields, on_auth_extract_user=extract, custom_handlers={"ping": hooks["ping"]}
    ) as server, network.client() as client:  # fmt: skip
        await client.connect()
        await client.send_message(text_message())
        await client.send_custom_message("ping", {})
        await settle()
        await server.send_message(text_message())
        await client.disconnect()
        await hooks["on_disconnect"].wait()
    told = {name: recorder.calls[0][-1] for name, recorder in hooks.items()}
    told["on_auth_extract_user"] = extract.calls[0][0]
    in_handlers = {f"in {name}": told[name] for name in ("on_message", "ping")}
    return {
        "metadata of a server's callbacks": {f"in {name}": metadata for name, metadata in told.items()},
        "metadata of a server's handlers": in_handlers,
        "metadata of a server's on_disconnect": {"in on_disconnect": told["on_disconnect"]},
        "metadata of an outgoing message": {"in on_auth_extract_user": extract.calls[1][0]},
    }


def _part(name: str) -> Callable[[], Awaitable[Seen]]:
    async def look() -> Seen:
        return (await _metadata())[name]

    return look


async def _client_metadata() -> Seen:
    seen: Seen = {}
    for side in ("client", "multi"):
        heard = Recorder()
        async with talking(side, on_message=heard, custom_handlers={"ping": heard}) as talk:
            await talk.say("hi")
            seen[f"in on_message of a {side}"] = (await heard.wait())[1]
            await talk.say_custom("ping", {})
            seen[f"in a custom handler of a {side}"] = (await heard.wait(2))[1]
    return seen


_ALL: dict[str, Callable[[], Awaitable[Seen]]] = {
    **{f"{service}.get_stats()": _in_every_state(service, "get_stats") for service in SERVICES},
    **{f"{service}.get_coroutine_status()": _in_every_state(service, "get_coroutine_status") for service in SERVICES},
    "WebSocketClient.get_cached_connection_info()": _in_every_state("WebSocketClient", "get_cached_connection_info"),
    "WebSocketServer.get_connection_info()": _connection_info,
    "WebSocketServer.get_connections()": _connections,
    "WebSocketMultiClient.list_connections()": _multi_connections,
    "metadata of a client's handlers": _client_metadata,
    **{
        name: _part(name)
        for name in (
            "metadata of a server's callbacks",
            "metadata of a server's handlers",
            "metadata of a server's on_disconnect",
            "metadata of an outgoing message",
        )
    },
}
