"""What is known about a message beside its content: who, where, when, in which format, and whom it is for."""

from __future__ import annotations

from math import isfinite
from typing import Any, ClassVar, Final, Self

import msgspec

from maim_trio.message._json import is_json
from maim_trio.message._mask import mask
from maim_trio.message._model import NOT_GIVEN, Model

__all__ = [
    "BaseMessageInfo",
    "FormatInfo",
    "GroupInfo",
    "InfoBase",
    "MessageDim",
    "ReceiverInfo",
    "SenderInfo",
    "TemplateInfo",
    "UserInfo",
]

# What is made of text only (gc=False) can be in no cycle. The garbage collector, which has much to look at while many
# messages are under way, need not know of it.

# Integers up to here are exact in the doubles that most JSON parsers read numbers into.
_EXACT_INT: Final = 2**53


class GroupInfo(Model, gc=False):
    """A group (room, channel) of a platform.

    `group_id` is required. `platform` is too, but inside of a message it may be left out when the object is made: it is
    then written as the message's own platform. `group_name` may be absent.
    """

    platform: str = NOT_GIVEN
    group_id: str = NOT_GIVEN
    group_name: str | None = None

    _identifiers: ClassVar[tuple[str, ...]] = ("group_id", "group_name")

    def _in_order(self) -> bool:
        name = self.group_name
        return type(self.group_id) is str and type(self.platform) is str and (name is None or type(name) is str)

    def _with_platform(self, platform: str) -> GroupInfo:
        return GroupInfo(platform, self.group_id, self.group_name) if self.platform is None else self

    def _missing(self) -> str | None:
        if self.platform is None:
            return "platform"
        return "group_id" if self.group_id is None else None


class UserInfo(Model, gc=False):
    """A user of a platform.

    `user_id` is required. `platform` is too, but inside of a message it may be left out when the object is made: it is
    then written as the message's own platform. `user_nickname` and `user_cardname` (the name in the group) may be
    absent.
    """

    platform: str = NOT_GIVEN
    user_id: str = NOT_GIVEN
    user_nickname: str | None = None
    user_cardname: str | None = None

    _identifiers: ClassVar[tuple[str, ...]] = ("user_id", "user_nickname", "user_cardname")

    def _in_order(self) -> bool:
        nickname, cardname = self.user_nickname, self.user_cardname
        return (
            type(self.user_id) is str
            and type(self.platform) is str
            and (nickname is None or type(nickname) is str)
            and (cardname is None or type(cardname) is str)
        )

    def _with_platform(self, platform: str) -> UserInfo:
        if self.platform is not None:
            return self
        return UserInfo(platform, self.user_id, self.user_nickname, self.user_cardname)

    def _missing(self) -> str | None:
        if self.platform is None:
            return "platform"
        return "user_id" if self.user_id is None else None


class InfoBase(Model, gc=False):
    """A user, a group, or a user in a group; the base of `SenderInfo` and `ReceiverInfo`. Both parts may be absent."""

    group_info: GroupInfo | None = None
    user_info: UserInfo | None = None

    _parts: ClassVar[dict[str, type[Model]]] = {"group_info": GroupInfo, "user_info": UserInfo}

    def _in_order(self) -> bool:
        group, user = self.group_info, self.user_info
        return (group is None or (type(group) is GroupInfo and group._in_order())) and (
            user is None or (type(user) is UserInfo and user._in_order())
        )

    def _with_platform(self, platform: str) -> Self:
        group, user = self.group_info, self.user_info
        if (group is None or group.platform is not None) and (user is None or user.platform is not None):
            return self
        return type(self)(group and group._with_platform(platform), user and user._with_platform(platform))

    def _missing(self) -> str | None:
        group, user = self.group_info, self.user_info
        if group is not None and (group.platform is None or group.group_id is None):
            return f"group_info.{group._missing()}"
        if user is not None and (user.platform is None or user.user_id is None):
            return f"user_info.{user._missing()}"
        return None


class SenderInfo(InfoBase, gc=False):
    """Who sent the message, and in which group."""


class ReceiverInfo(InfoBase, gc=False):
    """Whom the message is meant for on its platform, and in which group. Routing goes by `MessageDim`, not by this."""


class FormatInfo(Model):
    """Segment types: those the message contains, and those its sender can take in an answer. Both may be absent."""

    content_format: list[str] | None = None
    accept_format: list[str] | None = None

    def _in_order(self) -> bool:
        return _is_texts(self.content_format) and _is_texts(self.accept_format)


class TemplateInfo(Model):
    """The prompt templates that the answer is to be made with.

    `template_items` and `template_name` are JSON objects and may be absent; `template_default` True means the templates
    of the receiver.
    """

    template_items: dict[str, Any] | None = None
    template_name: dict[str, Any] | None = None
    # A factory, because msgspec leaves plain defaults off the wire and the peers always write this one.
    template_default: bool = msgspec.field(default_factory=lambda: True)

    @classmethod
    def _relax(cls, value: object) -> None:
        if type(value) is dict and value.get("template_default", True) is None:
            del value["template_default"]

    def _in_order(self) -> bool:
        return (
            type(self.template_default) is bool and _is_object(self.template_items) and _is_object(self.template_name)
        )


class MessageDim(Model, gc=False):
    """Whom the message is FOR: API key and platform of the receiver, never of the sender. They decide the route.

    The API key is a secret: `repr` shows 4 characters of it and a short hash, and of a key under 8 characters nothing.
    """

    api_key: str
    platform: str

    def __repr__(self) -> str:
        return f"MessageDim(api_key={mask(str(self.api_key))!r}, platform={self.platform!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("api_key", mask(str(self.api_key))), ("platform", self.platform)]

    def _in_order(self) -> bool:
        return type(self.api_key) is str and type(self.platform) is str


class BaseMessageInfo(Model):
    """Where a message comes from, its id, its time, and what else its ends want to know.

    `platform`, `message_id` and `time` (seconds since 1970, UTC) are required. `additional_config` is a JSON object and
    travels unchanged. The rest may be absent.
    """

    platform: str
    message_id: str
    time: float
    format_info: FormatInfo | None = None
    template_info: TemplateInfo | None = None
    additional_config: dict[str, Any] | None = None
    sender_info: SenderInfo | None = None
    receiver_info: ReceiverInfo | None = None

    _identifiers: ClassVar[tuple[str, ...]] = ("message_id",)
    _parts: ClassVar[dict[str, type[Model]]] = {
        "format_info": FormatInfo,
        "template_info": TemplateInfo,
        "sender_info": SenderInfo,
        "receiver_info": ReceiverInfo,
    }

    def _in_order(self) -> bool:
        formats, template, config = self.format_info, self.template_info, self.additional_config
        sender, receiver, time = self.sender_info, self.receiver_info, self.time
        return (
            type(self.platform) is str
            and type(self.message_id) is str
            and (isfinite(time) if type(time) is float else _is_whole_time(time))
            and (formats is None or (type(formats) is FormatInfo and formats._in_order()))
            and (template is None or (type(template) is TemplateInfo and template._in_order()))
            and (config is None or _is_object(config))
            and (sender is None or (type(sender) is SenderInfo and sender._in_order()))
            and (receiver is None or (type(receiver) is ReceiverInfo and receiver._in_order()))
        )

    def _with_platforms(self) -> Self:
        sender = self.sender_info and self.sender_info._with_platform(self.platform)
        receiver = self.receiver_info and self.receiver_info._with_platform(self.platform)
        if sender is self.sender_info and receiver is self.receiver_info:
            return self
        return msgspec.structs.replace(self, sender_info=sender, receiver_info=receiver)

    def _missing(self) -> str | None:
        sender, receiver = self.sender_info, self.receiver_info
        if sender is None and receiver is None:
            return None
        if sender is not None and (field := sender._missing()) is not None:
            return f"sender_info.{field}"
        if receiver is not None and (field := receiver._missing()) is not None:
            return f"receiver_info.{field}"
        return None


def _is_texts(value: object) -> bool:
    return value is None or (type(value) is list and all(type(item) is str for item in value))


def _is_object(value: object) -> bool:
    return value is None or (type(value) is dict and is_json(value))


def _is_whole_time(value: object) -> bool:
    return type(value) is int and -_EXACT_INT <= value <= _EXACT_INT
