"""A received message on its way to a handler, and where it is from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from maim_trio._wire.codec import Custom, Standard

if TYPE_CHECKING:
    from maim_trio._runtime.session import Session


class Source(Protocol):
    """Where a received message is from: a connection, or what the durable inbox knows of one."""

    metadata: dict[str, Any]
    session: Session

    @property
    def api_key(self) -> str:
        """The key it was authenticated with."""


class Delivery(msgspec.Struct, eq=False):
    """A received message on its way to a handler."""

    connection: Source
    envelope: Standard | Custom
    size: int
    key: int
    """Tells a retransmission; 0 without msg_id."""
    name: str
    """What handles it."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """The API keys that its handler sees, and no log line may show."""
        envelope, key = self.envelope, self.connection.api_key
        return (key, envelope.message.message_dim.api_key) if isinstance(envelope, Standard) else (key,)

    def waits(self) -> None:
        if self.key:
            self.connection.session.waits(self.key)

    def accepted(self) -> None:
        msg_id = self.envelope.msg_id
        if msg_id is not None:
            self.connection.session.take(msg_id, self.key)


def name_of(envelope: Standard | Custom) -> str:
    """What handles it."""
    return "on_message" if isinstance(envelope, Standard) else envelope.type
