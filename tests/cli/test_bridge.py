"""`bridge` as a process: what it says, and how it ends. What it does: tests/legacy/test_bridge.py."""

from __future__ import annotations

import signal
import socket

import pytest
import trio

from maim_trio import BaseMessageInfo, MessageBase, MessageClient, Seg
from maim_trio.server import WebSocketServer, create_server_config
from tests.certificates import Certificates
from tests.cli.program import ALICE, PATIENCE

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="signals as POSIX has them")

NOWHERE = ["--api", "ws://127.0.0.1:1/ws"]
QQ = ["--platform", "qq", "--legacy", "ws://127.0.0.1:0/ws"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_listens_although_the_server_is_not_there_yet_and_a_signal_stops_it(run, number):
    bridge = await run("bridge", *NOWHERE, *QQ, env={"MAIM_API_KEY": ALICE})
    await bridge.err.next(" ready for adapters of qq on port ")
    await bridge.err.next("could not connect to ws://127.0.0.1:1/ws")
    bridge.signal(number)
    assert await bridge.wait() == 0
    assert bridge.out.all == []
    assert any(f"{number.name}: stopping; a second one stops at once" in line for line in bridge.err.all)
    assert bridge.err.all[-1].endswith("messages passed to the API-Server: 0, to adapters: 0, dropped: 0")
    assert not any(ALICE in line for line in bridge.err.all)


async def test_a_taken_port_is_one_line_and_status_2(run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        legacy = ["--platform", "qq", "--legacy", f"ws://127.0.0.1:{port}/ws", "--log-level", "error"]
        bridge = await run("bridge", *NOWHERE, *legacy, env={"MAIM_API_KEY": ALICE})
        assert await bridge.wait() == 2
    assert bridge.err.all == [f"maim-trio: cannot listen on 127.0.0.1, port {port}: Address already in use"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "which platforms? Give --platform P for each, or --config FILE"),
        (["--platform", "qq"], "no API key: set MAIM_API_KEY, or give --key-file FILE"),
        (["--config", "missing.toml"], "cannot read the bridge file missing.toml: No such file or directory"),
        (["--platform", "qq", "--key-file", "key", "--api", "http://bot"], "url must begin with ws:// or wss://"),
        (
            ["--platform", "qq", "--key-file", "key", "--legacy", "ws://0.0.0.0:0"],
            "without a token everybody who reaches 0.0.0.0 could use your API keys: set MAIM_LEGACY_TOKEN, give "
            "--token-file FILE or tokens in the --config file, or insist with --i-know",
        ),
        (
            ["--platform", "qq", "--key-file", "key", "--legacy", "wss://127.0.0.1:0"],
            "--legacy wss://… needs --certfile FILE, and --keyfile FILE when the key is not in it",
        ),
        (["--platform", "qq", "--key-file", "key", "--certfile", "a.crt"], "--certfile is for --legacy wss://…"),
        (
            ["--platform", "qq", "--key-file", "key", "--legacy", "wss://127.0.0.1:0", "--certfile", "missing.pem"],
            "missing.pem",
        ),
        (
            ["--legacy", "http://127.0.0.1"],
            "argument --legacy: must look like ws://127.0.0.1:18000/ws (see python -m maim_trio bridge --help)",
        ),
        (
            ["--legacy", "ws://user:password@127.0.0.1/ws"],
            "argument --legacy: must look like ws://127.0.0.1:18000/ws (see python -m maim_trio bridge --help)",
        ),
    ],
)
async def test_what_cannot_be_bridged_is_one_line_and_status_2(run, tmp_path, arguments, said):
    (tmp_path / "key").write_text(ALICE, encoding="utf-8")
    bridge = await run("bridge", *arguments)
    assert await bridge.wait() == 2
    assert len(bridge.err.all) == 1
    assert said in bridge.err.all[0]
    assert ALICE not in bridge.err.all[0]


async def test_both_sides_may_speak_tls(run, tmp_path):
    certificates, arrived = Certificates(tmp_path), trio.Event()

    def on_message(message, metadata):
        assert (metadata["api_key"], message.message_segment.data) == (ALICE, "hello")
        arrived.set()

    tls = {"ssl_enabled": True, "ssl_certfile": certificates.cert, "ssl_keyfile": certificates.key}
    config = create_server_config(host="127.0.0.1", port=0, log_level="ERROR", on_message=on_message, **tls)
    files = ["--ca-file", certificates.ca, "--certfile", certificates.cert, "--keyfile", certificates.key]
    async with WebSocketServer(config) as server:
        ends = ["--api", f"wss://127.0.0.1:{server.port}/ws", "--legacy", "wss://127.0.0.1:0/ws"]
        bridge = await run("bridge", "--platform", "qq", *ends, *files, env={"MAIM_API_KEY": ALICE})
        port = (await bridge.err.next(" ready for adapters of ")).rpartition(" ")[2]
        async with MessageClient() as adapter:
            assert await adapter.connect(f"wss://127.0.0.1:{port}/ws", "qq", ssl_verify=certificates.ca)
            await adapter.send_message(MessageBase(BaseMessageInfo("qq"), Seg("text", "hello")))
            with trio.fail_after(PATIENCE):
                await arrived.wait()
        bridge.signal(signal.SIGTERM)
        assert await bridge.wait() == 0
