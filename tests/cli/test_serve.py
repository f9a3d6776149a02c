"""`serve` as a process: what it says, whom it lets in, how it ends."""

from __future__ import annotations

import re
import signal
import socket

import pytest
import trio

from maim_trio._transport.handshake import open_link
from maim_trio._transport.limits import Limits
from tests.cli.program import ALICE, BOB, KEYS, PATIENCE

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="signals as POSIX has them")

KEY_FILE = f"""
[[key]]
key = "{ALICE}"
user = "alice"

[[key]]
key = "{BOB}"
user = "bob"
platforms = ["qq"]
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_stops_it_cleanly(serve, number):
    relay = await serve()
    relay.signal(number)
    assert await relay.wait() == 0
    assert relay.out.all == []
    ends = [line.partition(" INFO    ")[2] for line in relay.err.all[-3:]]
    assert ends[0] == f"{number.name}: stopping; a second one stops at once"
    assert ends[1:] == ["stopped", "messages relayed: 0, not delivered: 0"]


async def test_a_second_signal_stops_it_at_once(serve):
    relay = await serve()
    stream = await trio.open_tcp_stream("127.0.0.1", relay.port)
    # A client that does not answer the server's goodbye, which would have five seconds for it.
    link = await open_link(
        stream, host="127.0.0.1", target="/ws", headers=[(b"x-apikey", ALICE.encode())], limits=Limits()
    )
    await relay.err.next(" connected ")
    relay.signal(signal.SIGINT)
    await relay.err.next("stopping")
    relay.signal(signal.SIGINT)
    assert await relay.wait() == -signal.SIGINT
    assert "Traceback" not in "\n".join(relay.err.all)
    link.abort()
    await link.aclose()


async def test_every_event_is_one_line_with_its_time_and_without_keys(serve, run):
    relay = await serve()
    listener = await run("listen", "--url", relay.url, "--platform", "qq", "--count", "1", env={"MAIM_API_KEY": BOB})
    await listener.err.next("connected")
    for to, platform in ((BOB, "qq"), ("sk-secret-of-carol", "qq")):
        to_whom = ["--to", to, "--to-platform", platform]
        sender = await run("send", "--url", relay.url, *to_whom, "private words", env={"MAIM_API_KEY": ALICE})
        await sender.wait()
    refused = await run("listen", "--url", relay.url, env={"MAIM_API_KEY": "sk-secret-of-carol"})
    assert await refused.wait() == 1
    assert await listener.wait() == 0
    relay.signal(signal.SIGTERM)
    assert await relay.wait() == 0
    lines = relay.err.all
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} (INFO|WARNING) +\S", line) for line in lines)
    for event in (
        " connected ",
        " disconnected ",
        " refused 127.0.0.1 with 401",
        " relayed cli_",
        " not delivered cli_",
    ):
        assert [line for line in lines if event in line], f"{event} in {lines}"
    assert not any(secret in line for line in lines for secret in ("sk-secret", "private words"))


async def test_a_key_file_says_who_comes_in_on_which_platform(serve, run, tmp_path):
    (tmp_path / "keys.toml").write_text(KEY_FILE, encoding="utf-8")
    relay = await serve("--port", "0", "--keys", "keys.toml")
    welcome = await run("listen", "--url", relay.url, "--platform", "qq", "--timeout", "0", env={"MAIM_API_KEY": BOB})
    assert await welcome.wait() == 0
    elsewhere = await run("listen", "--url", relay.url, "--platform", "irc", env={"MAIM_API_KEY": BOB})
    assert await elsewhere.wait() == 1
    assert elsewhere.err.all == [
        f"maim-trio: cannot connect to {relay.url}: authentication failed (HTTP 401): "
        "this API key is not valid for this platform"
    ]


async def test_with_any_key_everybody_is_somebody_else_and_the_log_warns(serve, run):
    relay = await serve("--port", "0", "--allow-any")
    assert "WARNING ready at" in relay.err.all[-1]
    listener = await run("listen", "--url", relay.url, "--key", "b", "--count", "1")
    await listener.err.next("connected")
    sender = await run("send", "--url", relay.url, "--key", "a", "--to", "b", "hello")
    assert await sender.wait() == 0
    assert (await listener.next_json())["message"]["message_segment"]["data"] == "hello"


async def test_path_and_origins_are_those_of_the_options(serve):
    relay = await serve("--port", "0", *KEYS, "--path", "/bus", "--allowed-origin", "https://chat.example")
    statuses = {}
    for path, origin in (("/bus", "https://chat.example"), ("/bus", "https://evil.example"), ("/ws", "")):
        stream = await trio.open_tcp_stream("127.0.0.1", relay.port)
        async with stream:
            head = f"GET {path} HTTP/1.1\r\nHost: x\r\nOrigin: {origin}\r\nx-apikey: {ALICE}\r\n"
            head += "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            await stream.send_all(f"{head}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
            with trio.fail_after(PATIENCE):
                statuses[path, origin] = (await stream.receive_some(1000))[9:12]
    assert list(statuses.values()) == [b"101", b"403", b"404"]


async def test_a_taken_port_is_one_line_and_status_2(run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        program = await run("serve", "--port", str(port), *KEYS)
        assert await program.wait() == 2
    assert program.err.all == [f"maim-trio: cannot listen on 127.0.0.1, port {port}: Address already in use"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "who may connect? Give --keys FILE, --key KEY=USER or, to try things out, --allow-any"),
        (["--keys", "missing.toml"], "cannot read the key file missing.toml: No such file or directory"),
        (["--keys", "broken.toml"], "broken.toml, line 5 (key 2): user is missing"),
        (["--key", ALICE], "--key number 1 must look like KEY=USER"),
        (["--key", f"{ALICE}=a", "--key", f"{ALICE}=b"], "--key number 2: the same key as in --key number 1"),
        (["--allow-any", "--key", f"{ALICE}=a"], "--allow-any lets every key in: it does not go together with "
         "--keys and --key"),
        (["--allow-any", "--host", "0.0.0.0"], "--allow-any on an address that others can reach needs --i-know "
         "as well"),
    ],
)  # fmt: skip
async def test_what_cannot_be_served_is_one_line_and_status_2(run, tmp_path, arguments, said):
    (tmp_path / "broken.toml").write_text(KEY_FILE.replace('user = "bob"\n', "").strip(), encoding="utf-8")
    program = await run("serve", *arguments)
    assert await program.wait() == 2
    assert program.err.all == [f"maim-trio: {said}"]
    assert program.out.all == []


async def test_any_key_where_others_can_reach_it_works_when_insisted_on(serve):
    relay = await serve("--port", "0", "--allow-any", "--host", "127.0.0.1", "--i-know")
    relay.signal(signal.SIGTERM)
    assert await relay.wait() == 0
