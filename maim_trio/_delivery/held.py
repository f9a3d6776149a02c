"""An inbox whose newest messages may be held back until they are on disk."""

from __future__ import annotations

from typing import TypeVar

from maim_trio._delivery.inbox import Inbox

__all__ = ["HeldInbox"]

T = TypeVar("T")


class HeldInbox(Inbox[T]):
    """The newest `held` items have their place and are not to be had yet. They are let go oldest first (`let_go`)."""

    __slots__ = ("held",)

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        super().__init__(max_messages, max_bytes)
        self.held = 0

    def __len__(self) -> int:
        return len(self._taken) - self.held

    def hold(self) -> None:
        """The item that was stored last is held."""
        self.held += 1

    def let_go(self) -> None:
        """The oldest item that is held can be taken from here on."""
        self.held -= 1

    def restore(self, item: T, size: int) -> None:
        """Stores an item that an earlier process has taken, whatever the bounds say now."""
        self._taken.append(item, size)

    def clear(self) -> None:
        """Drops everything; what was held included."""
        self.held = 0
        self.forget_waiting()
        while self._taken:
            self._taken.popleft()
