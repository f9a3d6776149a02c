"""Who may come in, and who they are."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maim_trio.server._config import ServerConfig

EVERYBODY = "sys_default"
"""The user id of everyone when nobody is authenticated, as in maim_message."""


@dataclass
class AuthResult:
    """What `on_auth` may return instead of a bool.

    `user_id` names the user, so that `on_auth_extract_user` is not asked at the handshake; `error_message` is told to
    the refused client in the body of the 401.
    """

    success: bool
    user_id: str | None = None
    error_message: str | None = None


def default_user(config: ServerConfig, api_key: str) -> str:
    """The user of a key where no `on_auth_extract_user` says it."""
    return EVERYBODY if config.on_auth is None else derived_user(api_key)


def derived_user(api_key: str) -> str:
    """The user id of a key when no hook names one: one user per key, and the key cannot be read from it."""
    return "user_" + hashlib.sha256(api_key.encode("utf-8", "surrogatepass")).hexdigest()[:16]
