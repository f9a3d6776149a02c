"""Where received messages wait for handlers: one place per platform, whatever its connections do."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from maim_trio._runtime.dispatch import Lane

if TYPE_CHECKING:
    from maim_trio._legacy.connection import Received

__all__ = ["INBOX_BYTES", "Lanes"]

INBOX_BYTES = 64 * 1024 * 1024
"""What one platform may hold of messages that wait for a handler; as much again waits beyond that."""


class Lanes:
    """Lanes by name. One stays as long as a connection uses it or messages wait in it: who leaves and comes back finds
    its place in the order again, and cannot fill another one."""

    def __init__(self, max_messages: int) -> None:
        self._max_messages = max_messages
        self._lanes: dict[str, Lane[Received]] = {}
        self._users: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._lanes)

    def enter(self, name: str) -> Lane[Received]:
        """The lane for a connection, until `leave`."""
        self._users[name] = self._users.get(name, 0) + 1
        if name not in self._lanes:
            self._lanes[name] = Lane(self._max_messages, INBOX_BYTES)
        return self._lanes[name]

    def leave(self, name: str) -> None:
        """A connection has ended."""
        self._users[name] -= 1
        if not self._users[name]:
            del self._users[name]
            self._forget_unused(name)

    def _forget_unused(self, name: str) -> None:
        lane = self._lanes[name]
        if name in self._users:
            return
        if lane.idle:
            del self._lanes[name]
        else:
            lane.on_idle = partial(self._forget_unused, name)
