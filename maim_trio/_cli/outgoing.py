"""What `send` reads: a line of text, or a JSON object, as something that can be sent."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import Any

import msgspec

from maim_trio._wire.codec import custom_type
from maim_trio.errors import InvalidMessage
from maim_trio.message import APIMessageBase, BaseMessageInfo, MessageDim, Seg


@dataclass(frozen=True, slots=True)
class Address:
    """What a line does not say itself: whom it is for (an API key and a platform), and which platform it comes from."""

    api_key: str
    to_platform: str
    platform: str

    def __repr__(self) -> str:
        return f"Address(to_platform={self.to_platform!r}, platform={self.platform!r})"


@dataclass(frozen=True, slots=True)
class CustomMessage:
    """A custom message to send."""

    type: str
    payload: dict[str, Any]


def parse(line: str, address: Address, *, plain: bool = False) -> APIMessageBase | CustomMessage:
    """What `line` says to send. One that begins with ``{`` is JSON, unless `plain`; every other one is text.

    JSON is a message, whole or with parts left to `address`; the same under ``message``, as `listen` prints it; or
    ``{"custom": type, "payload": {...}}``. Raises InvalidMessage that says what is wrong.
    """
    if plain or not line.lstrip().startswith("{"):
        return text_message(line, address)
    try:
        value = msgspec.json.decode(line)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidMessage(f"not valid JSON: {error}") from None
    if "custom" in value:
        return _custom(value)
    message = value.get("message", value)
    if not isinstance(message, dict) or "message_segment" not in message:
        raise InvalidMessage("neither a message (with message_segment) nor a custom message (with custom)")
    return _message(message, address)


def text_message(text: str, address: Address) -> APIMessageBase:
    """A new message that holds `text`. Raises InvalidMessage when there is no receiver."""
    return _addressed(
        APIMessageBase(
            message_info=BaseMessageInfo(platform=address.platform, message_id=_new_id(), time=time.time()),
            message_segment=Seg(type="text", data=text),
            message_dim=MessageDim(api_key=address.api_key, platform=address.to_platform),
        )
    )


def _message(message: dict[str, Any], address: Address) -> APIMessageBase:
    info = {"platform": address.platform, "message_id": _new_id(), "time": time.time()}
    dim = {"api_key": address.api_key, "platform": address.to_platform}
    whole = {**message, "message_info": _filled(message, "message_info", info)}
    whole["message_dim"] = _filled(message, "message_dim", dim)
    return _addressed(APIMessageBase.from_dict(whole))


def _filled(message: dict[str, Any], name: str, defaults: dict[str, Any]) -> Any:
    """A part of the message with what it does not say; one that is no object is left for the schema to refuse."""
    part = message.get(name, {})
    return {**defaults, **part} if isinstance(part, dict) else part


def _addressed(message: APIMessageBase) -> APIMessageBase:
    if not message.message_dim.api_key:
        raise InvalidMessage("whom is it for? Give --to KEY, or message_dim in the message")
    return message


def _custom(value: dict[str, Any]) -> CustomMessage:
    payload = value.get("payload", {})
    if not isinstance(payload, dict):
        raise InvalidMessage("the payload of a custom message must be an object")
    try:
        return CustomMessage(custom_type(value["custom"]), payload)
    except (ValueError, TypeError) as error:
        raise InvalidMessage(str(error)) from None


def _new_id() -> str:
    return f"cli_{uuid.uuid4().hex[:16]}"
