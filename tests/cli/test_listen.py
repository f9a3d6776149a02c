"""`listen` as a process: what it prints, when it ends, and pipes through it."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

from maim_trio.server import WebSocketServer, create_server_config
from tests.cli.program import ALICE, BOB

AS_ALICE, AS_BOB = {"MAIM_API_KEY": ALICE}, {"MAIM_API_KEY": BOB}


@pytest.fixture
def write(run):
    """Sends texts from alice to bob, in one go."""

    async def write(relay, *texts: str) -> None:
        sender = await run("send", "--url", relay.url, env={**AS_ALICE, "MAIM_TO_KEY": BOB})
        await sender.write(*texts)
        await sender.close_stdin()
        assert await sender.wait() == 0

    return write


async def test_it_prints_what_arrives_in_order_and_stops_after_count(serve, run, write):
    relay = await serve()
    listener = await run("listen", "--url", relay.url, "--count", "3", env=AS_BOB)
    await listener.err.next(f"maim-trio listen: connected to {relay.url} on default as ")
    another = await run("listen", "--url", relay.url, env=AS_BOB)  # so that the rest is for somebody, too
    await another.err.next("connected")
    await write(relay, *"abcde")
    assert await listener.wait() == 0
    received = [json.loads(line) for line in listener.out.all]
    assert [line["message"]["message_segment"]["data"] for line in received] == ["a", "b", "c"]
    assert set(received[0]) == {"message", "from", "msg_id", "timestamp"}
    assert received[0]["from"] == "server"


async def test_the_api_key_is_not_printed(serve, run, write):
    relay = await serve()
    listener = await run("listen", "--url", relay.url, "--count", "1", "--log-level", "debug", env=AS_BOB)
    await listener.err.next("connected")
    await write(relay, "hello")
    assert await listener.wait() == 0
    assert set(json.loads(listener.out.all[0])["message"]) == {"message_info", "message_segment"}
    assert BOB not in "\n".join(listener.out.all + listener.err.all)


async def test_custom_messages_of_any_type_are_printed_too(run):
    async def greet(uuid: str, _metadata: dict[str, Any]) -> None:
        for kind in ("weather", "news"):
            await server.send_custom_message(kind, {"今天": kind}, connection_uuid=uuid)

    async with WebSocketServer(create_server_config(host="127.0.0.1", port=0, on_connect=greet)) as server:
        url = f"ws://127.0.0.1:{server.port}/ws"
        listener = await run("listen", "--url", url, "--count", "2", env=AS_BOB)
        assert await listener.wait() == 0
    received = [json.loads(line) for line in listener.out.all]
    assert [(line["custom"], line["payload"]) for line in received] == [
        ("custom_weather", {"今天": "weather"}),
        ("custom_news", {"今天": "news"}),
    ]
    assert received[0]["msg_id"].startswith("custom_")


async def test_it_stops_at_the_timeout_and_an_open_count_is_a_failure_then(serve, run):
    relay = await serve()
    content = await run("listen", "--url", relay.url, "--timeout", "0.1", "--quiet", env=AS_BOB)
    assert await content.wait() == 0
    assert content.err.all == []
    waiting = await run("listen", "--url", relay.url, "--timeout", "0.1", "--quiet", "--count", "2", env=AS_BOB)
    assert await waiting.wait() == 1
    assert waiting.err.all == ["maim-trio: 0 of 2 messages came in time"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_quietly(serve, run, number):
    relay = await serve()
    listener = await run("listen", "--url", relay.url, env=AS_BOB)
    await listener.err.next("connected")
    listener.signal(number)
    assert await listener.wait() == 128 + number
    assert (listener.out.all, len(listener.err.all)) == ([], 1)
    assert ": 1000" in await relay.err.next(" disconnected ")  # it does not mean to come back


async def test_a_reader_that_goes_away_ends_it_quietly(serve, run, write):
    relay = await serve()
    reading, writing = os.pipe()
    listener = await run("listen", "--url", relay.url, "--quiet", env=AS_BOB, stdout=writing)
    os.close(writing)
    await relay.err.next(" connected ")
    os.close(reading)
    await write(relay, "to nobody's eyes")
    assert await listener.wait() == 0
    assert listener.err.all == []


async def test_it_stays_through_a_restart_of_the_server(serve, run, write):
    first = await serve()
    listener = await run("listen", "--url", first.url, "--count", "1", env=AS_BOB)
    await listener.err.next("connected")
    first.signal(signal.SIGTERM)
    assert await first.wait() == 0
    await listener.err.next("connection lost: ")
    second = await serve("--port", str(first.port), "--key", f"{ALICE}=alice", "--key", f"{BOB}=bob")
    await listener.err.next("connected again")
    await write(second, "after the restart")
    assert (await listener.next_json())["message"]["message_segment"]["data"] == "after the restart"
    assert await listener.wait() == 0


async def test_a_server_that_no_longer_knows_the_key_ends_it(serve, run):
    first = await serve()
    listener = await run("listen", "--url", first.url, env=AS_BOB)
    await listener.err.next("connected")
    first.signal(signal.SIGTERM)
    assert await first.wait() == 0
    await serve("--port", str(first.port), "--key", f"{ALICE}=alice")
    assert await listener.wait() == 1
    assert "has ended: authentication failed (HTTP 401)" in listener.err.all[-1]


async def test_listen_piped_into_send_forwards(serve, run, write):
    relay = await serve()
    home = await run("listen", "--url", relay.url, "--platform", "home", "--count", "2", env=AS_ALICE)
    await home.err.next("connected")
    reading, writing = os.pipe()
    listener = await run("listen", "--url", relay.url, "--count", "2", env=AS_BOB, stdout=writing)
    to_alice = ["--platform", "forwarder", "--to", ALICE, "--to-platform", "home"]
    forwarder = await run("send", "--url", relay.url, *to_alice, env=AS_BOB, stdin=reading)
    os.close(reading)
    os.close(writing)
    await listener.err.next("connected")
    await write(relay, "one", "two")
    assert await listener.wait() == 0
    assert await forwarder.wait() == 0
    assert await home.wait() == 0
    texts = [json.loads(line)["message"]["message_segment"]["data"] for line in home.out.all]
    assert texts == ["one", "two"]
