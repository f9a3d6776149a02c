"""Ctrl-C in programs of users: it ends a server in order, whatever that does, and breaks off what a handler does."""

from __future__ import annotations

import re
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

import maim_trio
from maim_trio._transport import interrupts
from maim_trio.client import ClientConfig, WebSocketClient
from maim_trio.client_factory import create_multi_client
from maim_trio.server import ServerConfig, WebSocketServer
from tests.cli.program import PATIENCE, Program
from tests.memory import text_message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SERVER = """
import contextlib, logging, sys, trio
from maim_trio.client_factory import create_multi_client
from maim_trio.server import WebSocketServer, create_server_config

logging.basicConfig(level=logging.INFO)

async def on_message(message, metadata):
    if message.message_segment.data == "loop":
        print("looping", flush=True)
        while True:
            pass
    await server.send_message(message)

async def main():
    async with server:
        await trio.sleep_forever()

server = WebSocketServer(create_server_config(
    host="127.0.0.1", port=0, on_auth=lambda _: True, on_message=on_message
))
if sys.argv[1] == "run":
    with contextlib.suppress(KeyboardInterrupt):
        trio.run(server.run)
else:
    try:
        trio.run(main)
    except* KeyboardInterrupt:
        pass
"""


@asynccontextmanager
async def connected(form: str) -> AsyncIterator[tuple[Program, WebSocketClient, trio.MemoryReceiveChannel[str]]]:
    """A server in a process of its own, a client of it, and why that has lost its connection."""
    tell, lost = trio.open_memory_channel[str](1)
    async with trio.open_nursery() as nursery:
        server = await Program.start(nursery, [sys.executable, "-W", "error", "-c", SERVER, form])
        try:
            found = re.search(r"port (\d+)", await server.err.next("listening"))
            assert found is not None
            config = ClientConfig(
                url=f"ws://127.0.0.1:{found[1]}/ws",
                api_key="key_of_client",
                on_message=lambda *_: None,
                on_disconnect=lambda _, why: tell.send_nowait(why),
                log_level="CRITICAL",
            )
            async with WebSocketClient(config) as client:
                assert await client.connect()
                yield server, client, lost
        finally:
            await server.aclose()


async def interrupt(server: Program) -> str:
    """What it has logged, once a Ctrl-C has ended it well."""
    server.signal(signal.SIGINT)
    status = await server.wait()
    said = "\n".join(server.err.all)
    assert (status, "Traceback" in said) == (0, False), said
    return said


@pytest.mark.parametrize("form", ["run", "with"])
async def test_a_server_under_load_ends_in_order(form):
    for messages in (20, 100):
        async with connected(form) as (server, client, lost), trio.open_nursery() as nursery:

            async def send_all_the_time(client=client):
                while True:
                    await client.send_message(text_message())

            nursery.start_soon(send_all_the_time)
            while client.get_stats()["messages_processed"] < messages:
                await trio.lowlevel.checkpoint()
            assert "stopped" in await interrupt(server)
            nursery.cancel_scope.cancel()
            with trio.fail_after(PATIENCE):
                assert "1001" in await lost.receive()


async def test_a_handler_that_never_ends_is_broken_off():
    async with connected("run") as (server, client, lost):
        await client.send_message(text_message("loop"))
        await server.out.next("looping")
        assert "stopped" in await interrupt(server)
        with trio.fail_after(PATIENCE):
            assert "1001" in await lost.receive()


class Unprotected:
    """Finds what of our tasks Ctrl-C would break off, of all that runs: where a handler is called it may."""

    def __init__(self) -> None:
        self.found: set[str] = set()
        self.calls = 0
        self._user = trio.lowlevel.current_task()

    def __call__(self, frame: Any, event: str, _argument: Any) -> None:
        if event != "call" or not frame.f_code.co_filename.startswith(OURS):
            return
        try:
            task = trio.lowlevel.current_task()
        except RuntimeError:
            return
        self.calls += 1
        if task is not self._user and not trio.lowlevel.currently_ki_protected() and not _called_by_a_handler(frame):
            self.found.add(f"{frame.f_code.co_qualname} in {task.name}")


OURS = str(Path(maim_trio.__file__).parent)


def _called_by_a_handler(frame: Any) -> bool:
    while frame is not None:
        if frame.f_code in interrupts._calls_users:
            return True
        frame = frame.f_back
    return False


async def test_no_task_of_ours_is_interrupted(tmp_path):
    watch = Unprotected()
    sys.setprofile(watch)
    try:
        with trio.fail_after(PATIENCE):
            await _talk(outbox_path=None)
            await _talk(outbox_path=str(tmp_path / "outbox.db"))
            await _talk_legacy("ws")
            await _talk_legacy("tcp")
    finally:
        sys.setprofile(None)
    assert watch.calls > 1000
    assert watch.found == set()


async def _talk(**options: Any) -> None:
    """A server and its clients do about all that they ever do."""
    heard = trio.Event()

    async def on_message(message: Any, _metadata: Any) -> None:
        await server.send_message(message)

    server = WebSocketServer(
        ServerConfig(host="127.0.0.1", port=0, on_auth=lambda _: True, on_message=on_message, **options)
    )
    server.register_custom_handler("ask", lambda payload: payload)
    async with server:
        url = f"ws://127.0.0.1:{server.port}/ws"
        config = ClientConfig(url=url, api_key="key_of_client", on_message=lambda *_: heard.set())
        many = create_multi_client({"a": {"url": url, "api_key": "another", "platform": "p"}})
        async with WebSocketClient(config) as client, many:
            assert await client.connect()
            assert await many.connect() == {"a": True}
            await client.send_message(text_message())
            assert await client.request("ask", {"a": 1}) == {"a": 1}
            await heard.wait()


async def _talk_legacy(mode: Any) -> None:
    heard = trio.Event()
    server, client = maim_trio.MessageServer("127.0.0.1", 0, mode=mode), maim_trio.MessageClient()
    for _ in range(2):
        server.register_message_handler(lambda message: server.broadcast_message(message))
    client.register_message_handler(lambda _: heard.set())
    async with server, client:
        assert await client.connect(f"{mode}://127.0.0.1:{server.port}/ws", "qq")
        message = text_message().to_dict()
        await client.send_message({name: message[name] for name in ("message_info", "message_segment")})
        await heard.wait()
