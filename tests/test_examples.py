"""The examples, as their readers run them: programs in terminals. For `external` see test_external_examples.py."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from maim_trio.client import WebSocketClient, create_client_config
from tests.certificates import Certificates
from tests.cli.program import environment
from tests.conftest import needs
from tests.documents import blocks_of
from tests.example_programs import EXAMPLES, example_files, running_examples, stop, url_said_by
from tests.memory import text_message
from tests.peers import PeerUnavailable

TESTS = Path(__file__).parent
ELSEWHERE = {"demo.py": "test_demo.py", "index.html": "interop/test_browser.py"}
PAGES = [EXAMPLES / "README.md", EXAMPLES / "external" / "README.md"]
PATIENCE = 30.0


@pytest.fixture
async def example(nursery):
    """Starts one of the examples."""
    async with running_examples(nursery) as start:
        yield start


@pytest.fixture
def output_of(example):
    """What an example prints that ends by itself. It has to end well, and to say nothing about errors."""

    async def run(name: str, *arguments: str) -> list[str]:
        program = await example(name, *arguments)
        status = await program.wait()
        assert (status, program.err.all) == (0, [])
        return program.out.all

    return run


# -- the quick start


async def test_the_client_of_the_quick_start_gets_its_answers_from_the_server_of_the_quick_start(example):
    server = await example("quickstart_server.py", "0")
    port = re.search(r":(\d+)/", await url_said_by(server))[1]
    client = await example("quickstart_client.py", port)
    assert await client.wait() == 0
    assert client.out.all == ["'Hello from a client!' was sent", "'ping' was sent", "all answers have come"]
    for text in (
        "message from server: Hello alice, you said: Hello from a client!",
        "message from server: pong",
        "notification (update): your heartbeat was heard",
    ):
        assert any(line.endswith(text) for line in client.err.all), client.err.all
    assert any(line.endswith("message from alice on test_platform: ping") for line in server.err.all)
    await stop(server, signal.SIGINT)
    assert not any("test_key" in line or "Traceback" in line for line in server.err.all + client.err.all)


# -- those that end by themselves. Lines of different tasks come in any order, hence the sorting.


async def test_the_single_client_is_refused_connected_cut_off_and_comes_back(output_of):
    lines = await output_of("single_client.py")
    assert lines[0].startswith("with a wrong key: False - authentication failed (HTTP 401)")
    assert lines[-1] == "stopped"
    assert sorted(lines[1:-1]) == sorted(
        [
            *["connected"] * 2,
            "sent: True",
            "received: Hello from a single client! (from server)",
            "disconnected by the server",
            "the same connection id: True",
            "received: Still here",
            "stats: 2 sent, 2 received",
            "disconnected by ourselves",
            "sent without a connection: False",
        ]
    )


async def test_the_multi_client_shows_three_patterns(output_of):
    lines = await output_of("multi_client.py")
    titles = [number for number, line in enumerate(lines) if line.startswith("pattern ")]
    first, second, third = (lines[begin + 1 : end] for begin, end in zip(titles, [*titles[1:], None], strict=True))
    assert first[0] == "  connected: ['qq', 'wechat']"
    assert sorted(first[1:]) == ["  received on qq: to QQ", "  received on wechat: to WeChat"]
    assert second == [
        "  connect: {'wechat': True}",
        "  connect: {'wechat': True, 'qq': True, 'telegram': False}",
        "  connect: {'telegram': True}",
        "  received on telegram: to Telegram",
        "  left: ['qq', 'telegram']",
    ]
    assert sorted(third[:2]) == [
        "  received on qq: Beijing, -3.5 degrees",
        "  received on wechat: Beijing, -3.5 degrees",
    ]
    assert third[2:] == [
        "  routed: True",
        "  received on qq: routed",
        "  disconnect: {'wechat': True}",
        "  connected: ['qq']",
    ]


async def test_broadcasts_reach_everybody_they_are_for(output_of):
    assert await output_of("broadcast.py") == [
        "2 users, 3 connections",
        "to everybody",
        "  handed over to 3 of 3 connections",
        *[f"  {who}: Welcome!" for who in ("alice on qq", "alice on wechat", "bob on qq")],
        "to everybody on qq",
        "  handed over to 2 of 2 connections",
        *[f"  {who}: Hello, QQ" for who in ("alice on qq", "bob on qq")],
        "a custom message to everybody",
        "  handed over to 3 of 3 connections",
        *[f"  {who}: notice, maintenance at noon" for who in ("alice on qq", "alice on wechat", "bob on qq")],
        "a custom message to all that alice has open",
        "  handed over to 2 of 2 connections",
        *[f"  {who}: notice, for you" for who in ("alice on qq", "alice on wechat")],
        "to everybody on telegram, where nobody is",
        "  handed over to 0 of 0 connections",
    ]


async def test_a_legacy_adapter_and_a_bot_talk_through_the_bridge(output_of):
    assert await output_of("bridge.py") == [
        "bot: Ann says 'Good morning'",
        "adapter: for group 20002: 'Hello, Ann!'",
        "bridge: ended with status 0",
    ]


async def test_messages_are_forwarded_and_their_sender_kept(output_of):
    assert sorted(await output_of("forwarding.py")) == [
        "bob: 'goodnight' was not delivered, nobody is on telegram",
        "bob: got 'forward_hello' from Alice: hello Bob, this is QQ",
        "server: forwarded from ('alice', 'qq') to wechat",
    ]


async def test_custom_messages_and_requests_end_in_each_of_their_ways(output_of):
    lines = await output_of("custom_messages.py")
    assert sorted(lines[:3]) == [
        "client: Beijing has -3.5 degrees",
        "client: sent: True",
        "server: qq subscribes to Beijing",
    ]
    assert lines[3:] == [
        "client: weather_query {'city': 'Guangzhou'} -> {'temperature': 18.0}",
        "client: weather_query {'city': 'Atlantis'} failed: KeyError",
        "client: unheard_of {} failed: no_handler",
        "client: slow_query {} had no answer in 0.1 s; it may have been handled all the same",
        "server: ping -> {'pong': 7}",
        "server: ping failed: no_handler",
    ]


async def test_handlers_do_all_they_may(output_of):
    lines = await output_of("handlers.py")
    assert lines[-1] == "handled: 4, failed: 1 (on_message raised RuntimeError)"
    assert sorted(lines[:-1]) == [
        "at once -> [('traffic', 3), ('weather', 18)]",
        "blocking -> 42",
        "invalid -> invalid: there is no such thing",
        "slow -> took too long, please try again",
    ]


async def test_the_load_aware_handler_keeps_its_limits(output_of):
    _, counts, urgent = await output_of("load_aware.py")
    done, busy, at_once = map(int, re.fullmatch(r"done: (\d+), busy: (\d+), at most (\d) at work", counts).groups())
    assert done + busy == 21
    assert done >= 10  # three at work, six waiting, one urgent; more on a slow machine
    assert at_once == 3
    place = int(re.fullmatch(rf"the urgent one was finished as number (\d+) of {done}", urgent)[1])
    assert place < done  # the last of 21 to be sent


async def test_the_monitor_sees_the_load_and_the_tasks(output_of):
    lines = await output_of("monitoring.py")
    assert lines[0] == "watch: 0 users, 0 connections, 0 handlers at work"
    assert "watch: HIGH LOAD" in lines
    assert sum(line.strip() == "on_message" for line in lines) > 5
    assert "stats_callback: 11 messages received, 1 errors" in lines
    for line in (
        "messages_processed: 10",
        "handler_errors: 1",
        "last_error: on_message raised ValueError",
        "total_auth_requests: 1",
        "client: 11 sent, 11 acknowledged",
    ):
        assert line in lines


TLS_LINES = [
    "TLS",
    "  with the authority: connected",
    "  without it: no connection: .*TLS certificate not accepted.*",
    "  without TLS: no connection: .*this port speaks TLS.*",
    "mutual TLS",
    "  without a certificate: no connection: .*the server asks for a client certificate.*",
    "  server: a certificate for 'bot-1' was shown",
    "  with a certificate: connected",
    "  server: a certificate for 'bot-1' was shown",
    "  reloaded; still connected: True",
]


def openssl() -> Path:
    found = shutil.which("openssl")
    if found is None:
        raise PeerUnavailable("the command openssl is not on PATH.")
    return Path(found)


@pytest.mark.parametrize("certificates", ["its own", "those of a folder"])
async def test_tls_and_mutual_tls_let_in_who_shows_the_right_certificates(output_of, certificates, tmp_path):
    if certificates == "its own":
        needs(openssl)
        lines = await output_of("tls.py")
    else:
        Certificates(tmp_path)
        for name in ("ca", "server", "client"):
            (tmp_path / f"{name}.pem").rename(tmp_path / f"{name}.crt")
        lines = await output_of("tls.py", str(tmp_path))
    assert len(lines) == len(TLS_LINES)
    for line, pattern in zip(lines, TLS_LINES, strict=True):
        assert re.fullmatch(pattern, line)


async def test_the_host_on_asyncio_hears_what_it_sent(output_of):
    lines = await output_of("asyncio_host.py")
    assert lines[:3] == [f"sent {text} True" for text in ("one", "two", "three")]
    assert sorted(lines[3:]) == ["heard one", "heard three", "heard two"]


async def test_the_adapter_talks_to_the_legacy_bot_and_waits_for_it(output_of):
    assert await output_of("legacy_bot.py") == [
        "adapter: authentication failed (HTTP 401): this token is not valid",
        "adapter: connected: True",
        "bot: Ming says 'Hello, bot!'",
        "adapter: an answer of reply and text for group 20002",
        "bot: poked by 10001 on qq",
        "adapter: 10001 is poked back",
        "adapter: kept: True",
        "bot: Ming says 'Are you there?'",
        "adapter: an answer of reply and text for group 20002",
    ]


INTERRUPTED = """
import builtins, runpy, signal, sys

def says(*words, say=print, **options):
    say(*words, **options)
    if words[0].startswith(sys.argv[2]):
        signal.raise_signal(signal.SIGINT)

builtins.print = says
runpy.run_path(sys.argv[1], run_name="__main__")
"""


@pytest.mark.parametrize("line", ["adapter: connected", "bot: Ming"])  # in the main task, in a handler
def test_ctrl_c_ends_the_legacy_bot_without_a_traceback(line):
    command = [sys.executable, "-W", "error", "-c", INTERRUPTED, str(EXAMPLES / "legacy_bot.py"), line]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment(PYTHONUTF8="1"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "interrupted"


def test_a_taken_port_is_told_in_a_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [sys.executable, str(EXAMPLES / "graceful_shutdown.py"), str(taken.getsockname()[1])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment())
    assert done.returncode == 1
    assert re.fullmatch(r"\[Errno \d+\] cannot listen on 127\.0\.0\.1, port \d+: .*\n", done.stderr)


async def test_the_legacy_router_follows_its_configuration(output_of):
    assert await output_of("legacy_router.py") == [
        "connect qq True",
        "  qq: the old bot got 'hello'",
        "connect wechat True",
        "  wechat: the old bot got 'hello'",
        "wechat moves, telegram comes, qq stays as it is",
        "connect qq True",
        "  qq: the old bot got 'hello again'",
        "connect wechat True",
        "  wechat: the new bot got 'hello again'",
        "connect telegram True",
        "  telegram: the new bot got 'hello again'",
        "connections made: {'qq': 1, 'wechat': 2, 'telegram': 1}",
        "there is no platform 'discord' in the configuration of this router",
    ]


# -- those that serve


class Talker:
    """A client of a running example."""

    def __init__(self, url: str, api_key: str) -> None:
        self._key = api_key
        self.client = WebSocketClient(create_client_config(url, api_key, platform="qq", auto_reconnect=False))
        self._messages = self.client.messages()

    async def send(self, text: str) -> None:
        assert await self.client.send_message(text_message(text, to=self._key))

    async def asks(self, text: str) -> str:
        await self.send(text)
        with trio.fail_after(PATIENCE):
            message, _ = await anext(self._messages)
        return message.message_segment.data


async def test_the_production_server_takes_its_configuration_from_file_and_environment(example):
    server = await example("production.py", MAIM_PORT="0")
    url = await url_said_by(server)
    premium, standard = Talker(url, "prod_key_client_001"), Talker(url, "prod_key_client_002")
    stranger = WebSocketClient(create_client_config(url, "prod_key_client_003"))
    async with premium.client, standard.client, stranger:
        assert await premium.client.connect()
        assert await standard.client.connect()
        assert not await stranger.connect()
        assert "ask the administrator for a key" in stranger.get_last_error()
        assert await premium.asks("hello") == "you said: hello"
        assert await premium.asks(" ") == "send me text"
        assert await premium.asks("/status") == "2 users, 3 messages"
        assert await premium.asks("/sudo now") == "unknown command /sudo"
        assert await standard.asks("/status") == "commands are for premium users"
    await stop(server, signal.SIGTERM)
    log = [line.partition(" - ")[2] for line in server.err.all]
    assert "production - WARNING - prod_standard_client_002 may not use commands" in log
    assert any(line.startswith("production - WARNING - wrong key from 127.0.0.1") for line in log)
    assert all("- WARNING -" in line for line in log)
    assert not any("prod_key" in line for line in log)


async def test_the_production_server_names_what_is_wrong_with_its_configuration(example):
    server = await example("production.py", MAIM_PORT="many")
    assert await server.wait() == 1
    assert server.err.all == [
        "configuration: environment variable MAIM_PORT must be a whole number from 0 to 65535, not 'many'"
    ]


async def test_a_graceful_shutdown_finishes_what_is_at_work(example):
    server = await example("graceful_shutdown.py", "0")
    talker = Talker(await url_said_by(server), "test_key_123")
    async with talker.client:
        assert await talker.client.connect()
        await talker.send("0.5")
        await server.out.next("working 0.5 s for qq")
        server.signal(signal.SIGTERM)
        assert await server.wait() == 0
    assert server.out.all[2:] == ["SIGTERM: stopping", "work is done", "connection closed with 1001", "stopped"]


async def test_a_second_signal_breaks_it_off(example):
    server = await example("graceful_shutdown.py", "0")
    talker = Talker(await url_said_by(server), "test_key_123")
    async with talker.client:
        assert await talker.client.connect()
        await talker.send("1000")
        await server.out.next("working 1000 s for qq")
        server.signal(signal.SIGINT)
        await server.out.next("SIGINT: stopping")
        server.signal(signal.SIGINT)
        assert await server.wait() == 0
    assert {"again: stopping now", "work was broken off"} <= set(server.out.all)
    assert server.out.all[-1] == "stopped"
    assert "work is done" not in server.out.all


# -- the list


def test_every_example_is_listed_in_both_languages():
    rows = [row for page in PAGES for row in page.read_text(encoding="utf-8").splitlines() if row.startswith("| [")]
    listed = {target for row in rows for target in re.findall(r"\(([^)]+)\)", row.split("|")[1])}
    assert {Path(target).name for target in listed} == example_files() | {"README.md"}
    assert [row for row in rows if not re.search("[一-鿿]", row.split("|")[3])] == []


def test_every_example_is_run_by_a_test():
    modules = [*ELSEWHERE.values(), "test_examples.py", "test_external_examples.py"]
    source = "".join((TESTS / module).read_text(encoding="utf-8") for module in modules)
    for name in example_files() - {"index.html"}:
        assert f'{name}"' in source, f"nobody runs {name}"
    assert '"examples" / "browser"' in source


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_the_commands_on_the_pages_exist(page):
    commands = "\n".join(block.code for block in blocks_of(page) if block.language == "sh")
    named = [line.split()[1] for line in commands.splitlines() if line]
    assert named
    assert [path for path in named if not (EXAMPLES.parent / path).is_file()] == []
