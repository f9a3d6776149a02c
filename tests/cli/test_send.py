"""`send` as a process: lines in, lines out, and what the exit status means."""

from __future__ import annotations

import signal
import subprocess
from contextlib import suppress

import pytest
import trio

from maim_trio._transport.handshake import Accept, Request, accept_link
from maim_trio._transport.limits import Limits
from maim_trio._transport.link import LinkClosed, running
from tests.cli.program import ALICE, BOB

AS_ALICE = {"MAIM_API_KEY": ALICE}
TO_BOB = {**AS_ALICE, "MAIM_TO_KEY": BOB}


@pytest.fixture
async def bob(serve, run):
    """A relay, and bob who listens to it."""
    relay = await serve()
    listener = await run("listen", "--url", relay.url, env={"MAIM_API_KEY": BOB})
    await listener.err.next("connected")
    listener.relay = relay
    return listener


async def test_one_text_arrives_and_is_acknowledged(bob, run):
    sender = await run("send", "--url", bob.relay.url, "你好, Bob", env=TO_BOB)
    assert await sender.wait() == 0
    sent, received = await sender.next_json(), await bob.next_json()
    assert sent == {"message_id": received["message"]["message_info"]["message_id"], "accepted": True}
    assert received["message"]["message_segment"] == {"type": "text", "data": "你好, Bob"}
    assert sender.err.all == []


async def test_lines_of_stdin_are_sent_as_they_come(bob, run):
    sender = await run("send", "--url", bob.relay.url, env=TO_BOB)
    await sender.write("first")
    assert (await sender.next_json())["line"] == 1  # while stdin is still open
    assert (await bob.next_json())["message"]["message_segment"]["data"] == "first"
    await sender.write("", '{"message_segment": {"type": "image", "data": "QUJD"}}', '{"custom": "status"}')
    await sender.close_stdin()
    assert (await sender.next_json())["line"] == 3  # an empty line is no message
    assert await sender.next_json() == {"line": 4, "custom": "custom_status", "accepted": True}
    assert await sender.wait() == 0
    assert (await bob.next_json())["message"]["message_segment"] == {"type": "image", "data": "QUJD"}


async def test_what_cannot_be_sent_is_said_and_the_rest_is_sent(bob, run):
    sender = await run("send", "--url", bob.relay.url, env=TO_BOB)
    await sender.write('{"oops', '{"message_segment": 5}', "still here")
    assert sender.process.stdin is not None
    await sender.process.stdin.send_all(b"\xff\n")
    await sender.close_stdin()
    assert await sender.wait() == 1
    results = [await sender.next_json() for _ in range(4)]
    assert [(result["line"], result["accepted"]) for result in results] == [
        (1, False), (2, False), (3, True), (4, False)
    ]  # fmt: skip
    assert "not valid JSON" in results[0]["error"]
    assert "`$.message_segment`" in results[1]["error"]
    assert results[3]["error"] == "not valid UTF-8"
    assert (await bob.next_json())["message"]["message_segment"]["data"] == "still here"


async def test_a_message_that_nobody_gets_is_reported_and_status_1(serve, run):
    relay = await serve()
    sender = await run("send", "--url", relay.url, "are you there?", env=TO_BOB)
    assert await sender.wait() == 1
    sent, report = await sender.next_json(), await sender.next_json()
    assert report["custom"] == "custom_relay_report"
    assert report["payload"]["message_id"] == sent["message_id"]
    assert report["payload"]["reason"] == "not_connected"


async def test_a_server_that_is_not_there_is_one_line_and_status_1(run):
    sender = await run("send", "--url", "ws://127.0.0.1:1/ws", "--connect-timeout", "0.3", "hello", env=TO_BOB)
    assert await sender.wait() == 1
    (line,) = sender.err.all
    assert line.startswith("maim-trio: cannot connect to ws://127.0.0.1:1/ws: ")
    assert "refused" in line
    assert sender.out.all == []


async def test_a_wrong_key_is_one_line_and_status_1(serve, run):
    relay = await serve()
    sender = await run("send", "--url", relay.url, "hello", env={**TO_BOB, "MAIM_API_KEY": "sk-wrong-key"})
    assert await sender.wait() == 1
    (line,) = sender.err.all
    assert "HTTP 401" in line
    assert "sk-wrong" not in line


@pytest.mark.parametrize(
    ("arguments", "env", "said"),
    [
        (["hello"], AS_ALICE, "whom is it for? Give --to KEY or set MAIM_TO_KEY"),
        (["--to", BOB, "hello"], {}, "no API key: set MAIM_API_KEY, or give --key-file FILE or --key KEY"),
        (["--to", BOB, "--key-file", "missing", "hello"], {}, "cannot read the key file missing: No such file or "
         "directory"),
        (["--url", "http://127.0.0.1/", "hello"], TO_BOB, "url must begin with ws:// or wss://, not 'http'"),
    ],
)  # fmt: skip
async def test_what_cannot_be_tried_is_one_line_and_status_2(run, arguments, env, said):
    sender = await run("send", *arguments, env=env)
    assert await sender.wait() == 2
    assert sender.err.all == [f"maim-trio: {said}"]


async def test_no_message_is_no_failure(serve, run):
    relay = await serve()
    sender = await run("send", "--url", relay.url, env=TO_BOB, stdin=subprocess.DEVNULL)
    assert await sender.wait() == 0
    assert (sender.out.all, sender.err.all) == ([], [])


async def test_a_signal_ends_it_although_it_waits_for_stdin(bob, run):
    sender = await run("send", "--url", bob.relay.url, env=TO_BOB)
    await sender.write("hello")
    await sender.next_json()
    sender.signal(signal.SIGINT)
    assert await sender.wait() == 128 + signal.SIGINT
    assert sender.err.all == []


async def test_a_server_that_acknowledges_nothing_is_not_believed(run, nursery):
    async def let_in(_request: Request) -> Accept:
        return Accept()

    async def swallow(stream: trio.SocketStream) -> None:
        link = await accept_link(stream, let_in, Limits())
        assert link is not None
        with suppress(LinkClosed):
            async with running(link):
                while True:
                    await link.receive()

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, swallow, [listener])
    url = f"ws://127.0.0.1:{listener.socket.getsockname()[1]}/ws"
    sender = await run("send", "--url", url, "--ack-timeout", "0.2", "hello", env=TO_BOB)
    assert await sender.wait() == 1
    assert (await sender.next_json())["accepted"] is True
    assert sender.err.all == ["maim-trio: 1 of 1 messages were not acknowledged by the server"]
    trusting = await run("send", "--url", url, "--ack-timeout", "0", "hello", env=TO_BOB)
    assert await trusting.wait() == 0
