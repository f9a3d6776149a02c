"""The named clients of a multi client, kept in step with its configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from maim_trio._transport.interrupts import uninterrupted
from maim_trio.client._multi_status import counters_of
from maim_trio.client._named import NamedClient
from maim_trio.errors import ConfigError

if TYPE_CHECKING:
    from maim_trio.client._connections import ConnectionEntry
    from maim_trio.client._multi import WebSocketMultiClient


@uninterrupted
class Roster:
    """`clients` by name, and `problems`: why a connection has no client, or still goes by its earlier configuration.

    What the configuration says becomes so in one synchronous step (`sync`); what takes time runs in the nursery.
    """

    def __init__(self, owner: WebSocketMultiClient) -> None:
        self.clients: dict[str, NamedClient] = {}
        self.problems: dict[str, str] = {}
        self.departed: dict[str, int] = {}
        """What connections that were removed or replaced have counted."""
        self._owner = owner
        self._version = -1
        self._nursery: trio.Nursery | None = None
        self._leaving: set[NamedClient] = set()

    def sync(self) -> None:
        """Makes the clients what the configuration says now."""
        config = self._owner.config
        if self._version == config.version:
            return
        self._version = config.version
        connections = dict(config.connections)
        for name in [name for name in self.clients if name not in connections]:
            self._retire(self.clients.pop(name))
        for name in [name for name in self.problems if name not in connections]:
            del self.problems[name]
        for name, entry in connections.items():
            client = self.clients.get(name)
            if client is None or client.entry is not entry or client.entry_version != entry.version:
                self._place(name, entry)

    def look_again(self, name: str) -> None:
        """Before an attempt to connect: files may have come, and dicts may have been changed in place."""
        entry = self._owner.config.connections.get(name)
        if entry is not None:
            self._place(name, entry)

    def all(self) -> list[NamedClient]:
        """Those that are on their way out included."""
        return [*self.clients.values(), *self._leaving]

    # -- life cycle

    def open(self, nursery: trio.Nursery) -> None:
        """From here on connections can be made, in `nursery`."""
        self._nursery = nursery
        for name in self._owner.config.connections:
            self.look_again(name)

    async def stop(self) -> None:
        """Stops all clients, concurrently, and starts none any more."""
        self._nursery = None
        async with trio.open_nursery() as stopping:
            for client in self.all():
                stopping.start_soon(client.stop)

    def close(self) -> None:
        """The nursery is no longer there."""
        self._nursery = None

    async def started(self, client: NamedClient) -> bool:
        """Starts a client that does not run yet. False, and noted why, when it cannot run."""
        if client.is_running():
            return True
        if self._nursery is None:
            client.note("the client is not running: start() it first")
            return False
        try:
            await client.start(self._nursery)
        except ConfigError as error:
            client.note(str(error))
            return False
        return True

    async def try_once(self, client: NamedClient) -> None:
        """One attempt to connect; after a failure more are made in the background."""
        if await self.started(client):
            await client.first_attempt()

    # -- one client

    def _place(self, name: str, entry: ConnectionEntry) -> None:
        client = self.clients.get(name)
        if client is not None and client.entry is entry:
            self._refresh(client)
            return
        wanted = self._owner.config.auto_connect_on_start
        if client is not None:
            wanted = wanted or client.wants_connection()
            self._retire(self.clients.pop(name))
        try:
            client = self.clients[name] = NamedClient(self._owner, name, entry)
        except ConfigError as error:
            self._complain(name, error)
            return
        self.problems.pop(name, None)
        if wanted and self._nursery is not None:
            self._nursery.start_soon(self.try_once, client, name=f"connect {name}")

    def _refresh(self, client: NamedClient) -> None:
        try:
            outdated = client.refresh()
        except ConfigError as error:
            self._complain(client.connection_name, error)
            return
        self.problems.pop(client.connection_name, None)
        if outdated and self._nursery is not None:
            client.renew(self._nursery)

    def _complain(self, name: str, error: ConfigError) -> None:
        problem = f"connection {name!r:.80} cannot be used as configured: {error}"
        if self.problems.get(name) != problem:
            self.problems[name] = problem
            self._owner.log.error("%s", problem)

    def _retire(self, client: NamedClient) -> None:
        """It is no longer known by its name; what it has to close is closed in the background."""
        if self._nursery is None or not client.is_running():
            self._depart(client)
            return
        self._leaving.add(client)
        self._nursery.start_soon(self._close, client, name=f"close {client.connection_name}")

    async def _close(self, client: NamedClient) -> None:
        try:
            await client.disconnect()
            await client.stop()
        finally:
            self._leaving.discard(client)
            self._depart(client)

    def _depart(self, client: NamedClient) -> None:
        for name, value in counters_of(client).items():
            self.departed[name] = self.departed.get(name, 0) + value
