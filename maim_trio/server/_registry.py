"""Who is connected: user → platform → connections. Pure; every change is one synchronous step."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar


class Member(Protocol):
    """What the registry needs to know of a connection."""

    @property
    def uuid(self) -> str: ...
    @property
    def platform(self) -> str: ...
    @property
    def user_id(self) -> str: ...
    @property
    def api_key(self) -> str: ...


M = TypeVar("M", bound=Member)


class Registry(Generic[M]):
    """Live connections by uuid, by user and platform, and which user a key belongs to while it is connected."""

    def __init__(self) -> None:
        self._by_uuid: dict[str, M] = {}
        self._by_user: dict[str, dict[str, dict[str, M]]] = {}
        self._by_key: dict[str, dict[str, M]] = {}

    def __len__(self) -> int:
        return len(self._by_uuid)

    def add(self, member: M) -> M | None:
        """Registers a connection and returns the one of the same uuid that it replaces."""
        replaced = self._by_uuid.get(member.uuid)
        if replaced is not None:
            self._forget(replaced)
        self._by_uuid[member.uuid] = member
        self._by_user.setdefault(member.user_id, {}).setdefault(member.platform, {})[member.uuid] = member
        self._by_key.setdefault(member.api_key, {})[member.uuid] = member
        return replaced

    def remove(self, member: M) -> bool:
        """Removes this very connection; False when it was replaced before: a successor is never touched."""
        if self._by_uuid.get(member.uuid) is not member:
            return False
        self._forget(member)
        return True

    def get(self, uuid: str) -> M | None:
        return self._by_uuid.get(uuid)

    def all(self) -> list[M]:
        return list(self._by_uuid.values())

    def of_user(self, user_id: str, platform: str | None = None) -> list[M]:
        """The connections of a user, on one platform or (None) on all."""
        platforms = self._by_user.get(user_id)
        if platforms is None:
            return []
        if platform is not None:
            members = platforms.get(platform)
            return list(members.values()) if members is not None else []
        return [member for members in platforms.values() for member in members.values()]

    def on_platform(self, platform: str) -> list[M]:
        """The connections of all users on one platform."""
        return [member for member in self._by_uuid.values() if member.platform == platform]

    def user_count(self) -> int:
        return len(self._by_user)

    def user_of_key(self, api_key: str, platform: str) -> str | None:
        """The user that is connected with this key, if there are several the latest one, on this platform if any."""
        members = [*reversed(self._by_key.get(api_key, {}).values())]
        members = [member for member in members if member.platform == platform] or members
        return members[0].user_id if members else None

    def _forget(self, member: M) -> None:
        del self._by_uuid[member.uuid]
        platforms = self._by_user[member.user_id]
        del platforms[member.platform][member.uuid]
        if not platforms[member.platform]:
            del platforms[member.platform]
        if not platforms:
            del self._by_user[member.user_id]
        keyed = self._by_key[member.api_key]
        del keyed[member.uuid]
        if not keyed:
            del self._by_key[member.api_key]
