"""Who is connected, by platform: one connection each, and the newer one wins. Pure; every change is one synchronous
step."""

from __future__ import annotations

from collections import deque
from typing import Generic, Protocol, TypeVar

from maim_trio._wire.credentials import UNKNOWN_PLATFORM

__all__ = ["RIVALRY_LIMIT", "RIVALRY_WINDOW", "Platforms", "Rivalry"]

RIVALRY_WINDOW = 60.0
RIVALRY_LIMIT = 3
"""A platform may be taken over so many times within the window (seconds); more is two clients that fight over it."""


class Rivalry:
    """How often the connections of one platform were replaced of late; each hands it on to its successor."""

    __slots__ = ("_times", "_told")

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=RIVALRY_LIMIT + 1)
        self._told = False

    def note(self, now: float) -> bool:
        """Counts a replacement. True when from here on it looks like a fight: once, until there was peace for as long
        as the window."""
        if self._times and self._times[-1] <= now - RIVALRY_WINDOW:
            self._times.clear()
            self._told = False
        self._times.append(now)
        if self._told or len(self._times) <= RIVALRY_LIMIT or self._times[0] <= now - RIVALRY_WINDOW:
            return False
        self._told = True
        return True


class Member(Protocol):
    """What the registry needs to know of a connection."""

    rivalry: Rivalry

    @property
    def platform(self) -> str: ...


M = TypeVar("M", bound=Member)


class Platforms(Generic[M]):
    """Live connections. Those that have not said their platform receive broadcasts only."""

    def __init__(self) -> None:
        self._all: dict[int, M] = {}  # in the order in which they came
        self._by_platform: dict[str, M] = {}

    def __len__(self) -> int:
        return len(self._all)

    def add(self, member: M, now: float) -> tuple[M | None, bool]:
        """Registers a connection. Returns the one it replaces, which is no longer registered then, and whether this
        was the step that made it look like a fight."""
        self._all[id(member)] = member
        if member.platform == UNKNOWN_PLATFORM:
            return None, False
        replaced = self._by_platform.get(member.platform)
        self._by_platform[member.platform] = member
        if replaced is None:
            return None, False
        del self._all[id(replaced)]
        member.rivalry = replaced.rivalry
        return replaced, member.rivalry.note(now)

    def remove(self, member: M) -> bool:
        """Removes this very connection; False when it was replaced before: a successor is never touched."""
        if self._all.pop(id(member), None) is None:
            return False
        if self._by_platform.get(member.platform) is member:
            del self._by_platform[member.platform]
        return True

    def get(self, platform: str) -> M | None:
        """The connection of a platform."""
        return self._by_platform.get(platform)

    def all(self) -> list[M]:
        return list(self._all.values())

    def named(self) -> list[M]:
        """The connections that have said their platform."""
        return list(self._by_platform.values())
