"""The legacy messages: like those of `maim_trio.message`, but with nearly everything optional, and no `message_dim`.

They read and write what maim_message does. Inside of the parts of `message_info`, fields that are absent are written as
null, because programs index the plain dicts that their handlers get. Identifiers stay what they are, text or integer.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, Self

import msgspec

from maim_trio.message import Seg
from maim_trio.message._json import PARSE_ERRORS, parse_error
from maim_trio.message._model import Model

__all__ = [
    "BaseMessageInfo",
    "FormatInfo",
    "GroupInfo",
    "InfoBase",
    "MessageBase",
    "ReceiverInfo",
    "Seg",
    "SenderInfo",
    "TemplateInfo",
    "UserInfo",
]

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode


class _Legacy(Model, omit_defaults=True):
    """The base of the legacy classes. What JSON leaves out may mean something else than null, so that all JSON takes
    the way of plain dicts, where the two are told apart.
    """

    @classmethod
    def from_json(cls, data: bytes | str) -> Self:
        """The object that UTF-8 JSON describes; unknown keys are ignored.

        Raises InvalidMessage, a ValueError that names the path of what is wrong, whatever the bytes are.
        """
        try:
            plain = _decode(data)
        except PARSE_ERRORS as error:
            raise parse_error(error, "$") from None
        return cls.from_dict(plain)


class _Part(_Legacy, omit_defaults=False):
    """What stands inside of `message_info`: there with nulls for what is absent, alone without."""

    def to_json(self) -> bytes:
        """UTF-8 JSON. Raises InvalidMessage, which names the path, for what does not fit the schema or JSON."""
        return _encode(self._without_nulls(_decode(super().to_json())))

    @classmethod
    def _without_nulls(cls, plain: dict[str, Any]) -> dict[str, Any]:
        """The dict of an object of this class without fields that are null. Content of the user's is not looked at."""
        present = {name: value for name, value in plain.items() if value is not None}
        return {name: _without_nulls(cls._parts.get(name), value) for name, value in present.items()}


def _without_nulls(part: type[Model] | None, value: Any) -> Any:
    return part._without_nulls(value) if part is not None and issubclass(part, _Part) else value


class GroupInfo(_Part):
    """A group (room, channel) of a platform. All fields may be absent; what has no `group_id` is read as no group."""

    platform: str | None = None
    group_id: str | int | None = None
    group_name: str | int | None = None

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self | None:  # type: ignore[override]
        """The group that a plain dict describes, or None when that has no `group_id`; the two share nothing.

        Unknown keys are ignored. Raises InvalidMessage, a ValueError that names the path of what is wrong.
        """
        group = super().from_dict(data)
        return None if group.group_id is None else group


class UserInfo(_Part):
    """A user of a platform. All fields may be absent. `user_cardname` is the name in the group."""

    platform: str | None = None
    user_id: str | int | None = None
    user_nickname: str | int | None = None
    user_cardname: str | int | None = None


class InfoBase(_Part):
    """A user, a group, or a user in a group; the base of `SenderInfo` and `ReceiverInfo`. Both parts may be absent.

    Where JSON leaves out `user_info`, it is read as an empty `UserInfo`; where it says null, as None.
    """

    group_info: GroupInfo | None = None
    user_info: UserInfo | None = None

    _parts: ClassVar[dict[str, type[Model]]] = {"group_info": GroupInfo, "user_info": UserInfo}

    @classmethod
    def _values(cls, source: object, path: str, *, sending: bool) -> dict[str, Any]:
        values = _without_nameless_group(super()._values(source, path, sending=sending))
        if isinstance(source, dict) and "user_info" not in source:
            values["user_info"] = {}
        return values


class SenderInfo(InfoBase):
    """Who sent the message, and in which group."""


class ReceiverInfo(InfoBase):
    """Whom the message is meant for, and in which group."""


class FormatInfo(_Part):
    """Segment types: those the message contains, and those its sender can take in an answer. Both may be absent."""

    content_format: list[str] | None = None
    accept_format: list[str] | None = None


class TemplateInfo(_Part):
    """The prompt templates that the answer is to be made with.

    `template_items` and `template_name` are JSON objects and may be absent; `template_default` True means the templates
    of the receiver.
    """

    template_items: dict[str, Any] | None = None
    template_name: dict[str, Any] | None = None
    template_default: bool = True


class BaseMessageInfo(_Legacy):
    """Where a message comes from, its id, its time, and what else its ends want to know. All fields may be absent.

    `time`: seconds since 1970, UTC. `group_info` and `user_info`: the other end of the conversation, which is the
    sender of what comes from a platform and the receiver of what goes there. `additional_config`: a JSON object, which
    travels unchanged.
    """

    platform: str | None = None
    message_id: str | int | None = None
    time: int | float | None = None
    group_info: GroupInfo | None = None
    user_info: UserInfo | None = None
    format_info: FormatInfo | None = None
    template_info: TemplateInfo | None = None
    additional_config: dict[str, Any] | None = None
    sender_info: SenderInfo | None = None
    receiver_info: ReceiverInfo | None = None

    _parts: ClassVar[dict[str, type[Model]]] = {
        "group_info": GroupInfo,
        "user_info": UserInfo,
        "format_info": FormatInfo,
        "template_info": TemplateInfo,
        "sender_info": SenderInfo,
        "receiver_info": ReceiverInfo,
    }

    @classmethod
    def _values(cls, source: object, path: str, *, sending: bool) -> dict[str, Any]:
        return _without_nameless_group(super()._values(source, path, sending=sending))


class MessageBase(_Legacy):
    """A legacy message: what is known about it, its content, and, where the platform has one, its raw text.

    A dict without `message_info` is read as one with an empty one.
    """

    message_info: BaseMessageInfo
    message_segment: Seg
    raw_message: str | None = None

    _parts: ClassVar[dict[str, type[Model]]] = {"message_info": BaseMessageInfo, "message_segment": Seg}

    @classmethod
    def _values(cls, source: object, path: str, *, sending: bool) -> dict[str, Any]:
        return {"message_info": {}, **super()._values(source, path, sending=sending)}

    def _finish(self, path: str) -> None:
        self.message_segment._finish(f"{path}.message_segment")


def _without_nameless_group(values: dict[str, Any]) -> dict[str, Any]:
    group = values.get("group_info")
    if isinstance(group, dict) and group.get("group_id") is None:
        del values["group_info"]
    return values
