"""A server and clients that talk over TLS, and keep what they are told."""

from __future__ import annotations

from contextlib import asynccontextmanager

import trio

from maim_trio.client import ClientConfig, WebSocketClient
from maim_trio.server import ServerConfig, WebSocketServer
from tests.memory import text_message

KEY = "key_of_a_good_one"
PATIENCE = 20.0
"""Seconds after which a test that waits for an event has failed."""


class Lines:
    """A logger that keeps its lines, and wakes whoever waits for one."""

    def __init__(self):
        self.lines = []
        self._more = trio.Event()

    def _keep(self, line):
        self.lines.append(line)
        self._more.set()

    debug = info = warning = error = _keep

    async def wait(self, part):
        """The first line with these words."""
        with trio.fail_after(PATIENCE):
            return await self._wait(part)

    async def _wait(self, part):
        while True:
            for line in self.lines:
                if part in line:
                    return line
            self._more = trio.Event()
            await self._more.wait()


class Echo(WebSocketServer):
    """Sends every message back, and notes the metadata of all connections and its own log."""

    def __init__(self, certificates, **config):
        self.lines, self.metadata = Lines(), []
        fields = {**certificates.serving, "host": "127.0.0.1", "port": 0, "custom_logger": self.lines, **config}
        super().__init__(ServerConfig(on_auth=self._auth, on_message=self._echo, **fields))

    def _auth(self, metadata):
        self.metadata.append(metadata)
        return True

    async def _echo(self, message, metadata):
        await self.send_message(message)

    def url(self, scheme="wss", host="localhost"):
        return f"{scheme}://{host}:{self.port}/ws"


class Talker(WebSocketClient):
    """Asks for its own words back."""

    def __init__(self, url, **config):
        self.lost = []
        self.heard, self._heard = trio.open_memory_channel(10)
        super().__init__(ClientConfig(url, KEY, on_message=self._hear, on_disconnect=self._lose, **config))

    async def _hear(self, message, metadata):
        await self.heard.send(message.message_segment.data)

    def _lose(self, *arguments):
        self.lost.append(arguments)

    async def talks(self):
        assert await self.send_message(text_message("echo", to=KEY))
        with trio.fail_after(PATIENCE):
            assert await self._heard.receive() == "echo"
        assert self.lost == []


@asynccontextmanager
async def echo(certificates, **config):
    """A server, with a good client that notices nothing of whatever else goes on."""
    async with Echo(certificates, **config) as server:
        good = Talker(server.url(), **(certificates.identified if server.config.ssl_verify else certificates.trusting))
        async with good:
            assert await good.connect(), good.get_last_error()
            await good.talks()
            server.lines.lines.clear()
            yield server
            await good.talks()


async def why_not(url, **config):
    """What a client says after its first attempt."""
    lines = Lines()
    client = Talker(url, custom_logger=lines, reconnect_delay=1000, **config)  # one attempt
    async with client, trio.open_nursery() as nursery:
        nursery.start_soon(client.connect)
        await lines.wait("could not connect")
        assert not client.is_connected()
        nursery.cancel_scope.cancel()
    return client.get_last_error()
