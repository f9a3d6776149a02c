"""One connection of a multi client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from maim_trio._runtime.config import HandlerTable
from maim_trio._wire import close
from maim_trio._wire.codec import Custom
from maim_trio.client._client import WebSocketClient
from maim_trio.client._layers import NamedConfig

if TYPE_CHECKING:
    from maim_trio._runtime.hooks import Handler
    from maim_trio._wire.codec import Standard
    from maim_trio.client._connections import ConnectionEntry
    from maim_trio.client._multi import WebSocketMultiClient
    from maim_trio.client._url import Address

_RECONNECTING = frozenset({"url", "api_key", "platform"})
"""A change of these closes a live connection and opens it anew."""


class NamedClient(WebSocketClient):
    """One connection of a multi client: handlers come from its entry, then from the shared configuration, then from the
    defaults, whatever they are at the moment of the call."""

    config: NamedConfig

    def __init__(self, owner: WebSocketMultiClient, name: str, entry: ConnectionEntry) -> None:
        super().__init__(NamedConfig(entry, owner.config, owner.default_config))
        self.connection_name = name
        self.entry = entry
        self.entry_version = entry.version  # of the last refresh
        self._owner = owner
        self._table = HandlerTable(entry)

    async def open_stream(self, address: Address) -> trio.abc.Stream:
        return await self._owner.open_stream(self.config, address)

    async def first_attempt(self) -> bool:
        """Wants a connection, and returns whether there is one after the next attempt; more are made in the background.

        Bounded by `connect_timeout`.
        """
        await trio.lowlevel.checkpoint()
        if not self._ready():
            return False
        self._connector.want()
        return await self._connector.wait_attempt()

    def note(self, error: str) -> None:
        """Remembers why there is no connection."""
        self._connector.note(error)

    def refresh(self) -> bool:
        """Takes over the configuration as it is now. True when a connection that is there has to be made anew.

        ConfigError, and everything stays as it was, for what cannot be taken over.
        """
        self.entry_version = self.entry.version
        return bool(self.config.refresh() & _RECONNECTING)

    def renew(self, nursery: trio.Nursery) -> None:
        """Makes the connection anew where one is wanted: from here on the old one does not count."""
        outdated = self._connector.renew()
        if outdated is not None:
            nursery.start_soon(outdated.aclose, close.NORMAL, "", name=f"close {self.connection_name}")

    def _prepare(self) -> None:
        self.config.refresh()
        super()._prepare()

    def _handler_of(self, envelope: Standard | Custom) -> Handler | None:
        if isinstance(envelope, Custom):
            return self._table.find(envelope.type) or self._owner.find_handler(envelope.type)
        return super()._handler_of(envelope)
