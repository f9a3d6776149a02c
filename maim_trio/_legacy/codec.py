"""The legacy wire, pure: every frame is one JSON object, a standard message or a custom one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from maim_trio._wire.envelope import INVALID_ENVELOPE, INVALID_JSON, TOO_DEEP, FrameError
from maim_trio.errors import InvalidMessage
from maim_trio.message._json import PARSE_ERRORS, is_json, json_value, kind_of, parse_error

__all__ = ["custom_message", "decode", "encode", "type_of"]

_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode
_encode: Final = msgspec.json.Encoder().encode


def decode(frame: bytes) -> dict[str, Any]:
    """The object in one frame. Raises `FrameError` and nothing else, whatever the bytes are."""
    try:
        return _decode(frame)
    except msgspec.ValidationError as error:
        raise FrameError(INVALID_ENVELOPE, str(error)) from None
    except PARSE_ERRORS as error:
        if isinstance(error, RecursionError):
            raise FrameError(TOO_DEEP, "Nested too deep - at `$`") from None
        if isinstance(error, UnicodeError):
            raise FrameError(INVALID_JSON, "Text is not valid UTF-8") from None
        raise FrameError(INVALID_JSON, str(error)) from None


def encode(message: Mapping[str, Any]) -> bytes:
    """The frame of a message. Raises `InvalidMessage`, naming the place, for what would not come out of JSON as it went
    in."""
    plain = message if type(message) is dict else dict(message) if isinstance(message, Mapping) else message
    if type(plain) is not dict:
        raise InvalidMessage(f"Expected `object`, got `{kind_of(plain)}` - at `$`")
    if not is_json(plain):
        plain = json_value(plain, "$")
    try:
        return _encode(plain)
    except (ValueError, RecursionError) as error:
        json_value(plain, "$")  # raises the same, with the place: lone surrogates, integers of thousands of digits
        raise parse_error(error, "$") from None


def custom_message(platform: str, message_type_name: str, content: Mapping[str, Any], now: float) -> dict[str, Any]:
    """A custom message as it travels. `now` is the sender's monotonic clock in seconds, as in maim_message.

    Raises `InvalidMessage` for a type that is no name and a content that is no JSON object.
    """
    if not isinstance(message_type_name, str) or not message_type_name:
        raise InvalidMessage("the type of a custom message must be a non-empty string")
    if not isinstance(content, Mapping):
        raise InvalidMessage(f"Expected `object`, got `{kind_of(content)}` - at `$.content`")
    return {
        "platform": platform,
        "message_type_name": message_type_name,
        "content": dict(content),
        "timestamp": now,
        "is_custom_message": True,
    }


def type_of(message: Mapping[str, Any], known: Mapping[str, Any]) -> str | None:
    """The type of a custom message ("" when it has no readable one), None for a standard message.

    Without the flag, as older programs send it, it is a custom message if its type is one of those `known`.
    """
    name = message.get("message_type_name")
    name = name if isinstance(name, str) else ""
    if message.get("is_custom_message") or (name and name in known):
        return name
    return None
