"""Messages of your own (any JSON object under a name of your own), and requests that wait for an answer.

python examples/custom_messages.py      # server and client in one program, on a free port
"""

from __future__ import annotations

from typing import Any

import trio

from maim_trio.client import WebSocketClient, create_client_config
from maim_trio.errors import RequestFailed, RequestTimeout
from maim_trio.server import WebSocketServer, create_server_config

CITIES = {"Beijing": -3.5, "Guangzhou": 18.0}


async def on_subscribe(payload: dict[str, Any], metadata: dict[str, Any]) -> None:
    """A handler gets the payload and what is known about the connection. None as an answer: it was just a message."""
    print(f"server: {metadata['platform']} subscribes to {payload['city']}")
    weather = {"city": payload["city"], "temperature": CITIES[payload["city"]]}
    await server.send_custom_message("weather_update", weather, connection_uuid=metadata["uuid"])


async def on_weather_query(payload: dict[str, Any]) -> dict[str, Any]:
    """`metadata` may be left out. The dict that a handler returns is the answer to a request."""
    return {"temperature": CITIES[payload["city"]]}


async def on_slow_query(_payload: dict[str, Any]) -> dict[str, Any]:
    await trio.sleep(0.5)
    return {"late": True}


server = WebSocketServer(
    create_server_config(
        host="127.0.0.1",
        port=0,
        on_auth=lambda metadata: metadata["api_key"] == "key-of-alice",
        # On the wire the names begin with custom_; you may write that or leave it out.
        custom_handlers={"subscribe": on_subscribe, "weather_query": on_weather_query, "slow_query": on_slow_query},
        log_level="CRITICAL",  # one query below fails on purpose, and its traceback would be logged
    )
)


async def ask(client: WebSocketClient, name: str, payload: dict[str, Any], timeout: float = 10.0) -> None:
    """A request ends in exactly one of three ways (and with NotConnected if the client has given up)."""
    try:
        print(f"client: {name} {payload} ->", await client.request(name, payload, timeout=timeout))
    except RequestFailed as failed:
        print(f"client: {name} {payload} failed: {failed.error}")  # the type of the error; its text stays there
    except RequestTimeout:
        print(f"client: {name} {payload} had no answer in {timeout:g} s; it may have been handled all the same")


async def main() -> None:
    got_weather = trio.Event()

    async def on_weather_update(payload: dict[str, Any]) -> None:
        print(f"client: {payload['city']} has {payload['temperature']} degrees")
        got_weather.set()

    async def on_ping(payload: dict[str, Any]) -> dict[str, Any]:
        return {"pong": payload["number"]}

    async with server:
        url = f"ws://127.0.0.1:{server.port}/ws"
        config = create_client_config(url, "key-of-alice", platform="qq", log_level="ERROR")
        async with WebSocketClient(config) as client:
            client.register_custom_handler("weather_update", on_weather_update)
            client.register_custom_handler("ping", on_ping)
            if not await client.connect():
                raise SystemExit(client.get_last_error())

            print("client: sent:", await client.send_custom_message("subscribe", {"city": "Beijing"}))
            await got_weather.wait()

            await ask(client, "weather_query", {"city": "Guangzhou"})
            await ask(client, "weather_query", {"city": "Atlantis"})  # the handler raises
            await ask(client, "unheard_of", {})  # there is no handler
            await ask(client, "slow_query", {}, timeout=0.1)

            # The server asks a client in the same way.
            answer = await server.request(client.get_connection_uuid(), "ping", {"number": 7})
            print("server: ping ->", answer)
            client.unregister_custom_handler("ping")
            try:
                await server.request(client.get_connection_uuid(), "ping", {"number": 8})
            except RequestFailed as failed:
                print("server: ping failed:", failed.error)


if __name__ == "__main__":
    trio.run(main)
