"""The first message of a TCP client, pure: which platform it is, and the token that lets it in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from maim_trio._transport.frames import PROTOCOL_ERROR, Violation
from maim_trio._wire.credentials import MAX_API_KEY, MAX_NAME, BadCredentials, check

__all__ = ["Registration", "decode_registration", "encode_registration"]


@dataclass(frozen=True, slots=True)
class Registration:
    """Who wants to come in. `remote` and `remote_ip` are the peer's address, "" when unknown."""

    platform: str
    token: str | None = field(default=None, repr=False)
    remote: str = ""
    remote_ip: str = ""


def encode_registration(platform: str, token: str | None) -> bytes:
    """The JSON that a client sends. `ValueError` for text that is no valid Unicode."""
    fields = {"platform": platform} if token is None else {"platform": platform, "token": token}
    return msgspec.json.encode(fields)


def decode_registration(payload: bytes, remote: tuple[str, str] = ("", "")) -> Registration:
    """What a client's first message says. Raises Violation, whose text repeats nothing of it.

    The token is None where there is none: whether one is needed is not decided here.
    """
    try:
        fields: Any = msgspec.json.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Violation(PROTOCOL_ERROR, "the registration is no JSON") from None
    platform = fields.get("platform") if isinstance(fields, dict) else None
    if not isinstance(platform, str) or not platform:
        raise Violation(PROTOCOL_ERROR, "the registration names no platform")
    token = fields.get("token")
    if token is not None and not isinstance(token, str):
        raise Violation(PROTOCOL_ERROR, "the token in the registration is no text")
    try:
        check("platform", platform, MAX_NAME)
        check("token", token or "", MAX_API_KEY)
    except BadCredentials as error:
        raise Violation(PROTOCOL_ERROR, f"{error.message}, in the registration") from None
    return Registration(platform, token, *remote)
