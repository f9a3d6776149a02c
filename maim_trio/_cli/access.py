"""Who is let in by a relay, and who is who."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from maim_trio._wire.credentials import mask, origin_refused
from maim_trio.server._auth import AuthResult, derived_user

if TYPE_CHECKING:
    from collections.abc import Mapping

    from maim_trio._cli.keys import KeyEntry


class Access(Protocol):
    """What a relay asks about API keys.

    `user_of` has an answer for every key: one that is unknown is nobody's. `shown` is what the log says for a key.
    """

    def authenticate(self, metadata: Mapping[str, Any]) -> AuthResult: ...
    def user_of(self, api_key: str) -> str: ...
    def shown(self, api_key: str) -> str: ...


class KnownKeys:
    """Only the keys of a key file come in, each as its user and on its platforms."""

    def __init__(self, entries: Mapping[str, KeyEntry]) -> None:
        self._entries = entries

    def authenticate(self, metadata: Mapping[str, Any]) -> AuthResult:
        entry = self._entries.get(metadata["api_key"])
        if entry is None:
            return AuthResult(False, error_message="this API key is not known here")
        if not entry.allows(metadata["platform"]):
            return AuthResult(False, error_message="this API key is not valid for this platform")
        return AuthResult(True, entry.user)

    def user_of(self, api_key: str) -> str:
        entry = self._entries.get(api_key)
        return derived_user(api_key) if entry is None else entry.user

    def shown(self, api_key: str) -> str:
        entry = self._entries.get(api_key)
        return f"the unknown key {mask(api_key)}" if entry is None else entry.user

    def __str__(self) -> str:
        users = {entry.user for entry in self._entries.values()}
        return f"{_count(len(self._entries), 'API key')} of {_count(len(users), 'user')}"


class AnyKey:
    """Every key comes in, each as a user of its own: for trying things out.

    Web pages are let in as if nobody were authenticated, which is the case: only those of this very host, unless
    `allowed_origins` says otherwise. Any page on the web could use the relay of a visitor's machine if not.
    """

    def __init__(self, allowed_origins: list[str] | None) -> None:
        self._allowed_origins = allowed_origins

    def authenticate(self, metadata: Mapping[str, Any]) -> AuthResult:
        headers = metadata["headers"]
        if origin_refused(headers.get("origin"), headers.get("host"), self._allowed_origins, anonymous=True):
            return AuthResult(False, error_message="pages of this origin may not connect; see --allowed-origin")
        if not metadata["api_key"]:
            return AuthResult(False, error_message="an API key is needed to know who is who; any will do")
        return AuthResult(True, derived_user(metadata["api_key"]))

    def user_of(self, api_key: str) -> str:
        return derived_user(api_key)

    def shown(self, api_key: str) -> str:
        return derived_user(api_key)

    def __str__(self) -> str:
        return "every API key, each as a user of its own"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
