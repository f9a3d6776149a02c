"""Legacy messages as messages of the API-Server, and back. The clock is the caller's.

The two differ in where the other end of the conversation stands. A legacy message has it in `group_info` and
`user_info`, whichever way it goes; a message of the API-Server in `sender_info` or in `receiver_info`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from maim_trio import message as api
from maim_trio._legacy import message as legacy

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["UNKNOWN_PLATFORM", "from_api", "platform_of", "to_api"]

UNKNOWN_PLATFORM: Final = "unknown"
"""What stands for the platform of a message that names none."""

_Part = TypeVar("_Part", bound=msgspec.Struct)


def platform_of(message: legacy.MessageBase, platform: str | None) -> str:
    """The platform that a message is for: the one that is asked for, else its own."""
    return platform or message.message_info.platform or UNKNOWN_PLATFORM


def to_api(
    message: legacy.MessageBase, dim: api.MessageDim, *, outgoing: bool, message_id: str, time: float
) -> api.APIMessageBase:
    """The message for the API-Server, addressed to `dim`; `message_id` and `time` are for one that has none.

    The other end becomes the receiver when `outgoing`, else the sender. `raw_message` has no place there.
    """
    info = message.message_info
    group, user = _other_end(info, dim.platform)
    known = group is not None or user is not None
    return api.APIMessageBase(
        api.BaseMessageInfo(
            dim.platform,
            str(info.message_id or message_id),
            info.time or time,
            _same(api.FormatInfo, info.format_info),
            _same(api.TemplateInfo, info.template_info),
            info.additional_config,
            api.SenderInfo(group, user) if known and not outgoing else None,
            api.ReceiverInfo(group, user) if known and outgoing else None,
        ),
        api.Seg(message.message_segment.type, message.message_segment.data),
        dim,
    )


def from_api(message: api.APIMessageBase, *, outgoing: bool) -> legacy.MessageBase:
    """The legacy message. The other end is the receiver when `outgoing`, else the sender. `message_dim` is dropped."""
    info = message.message_info
    group, user = _legacy_parts(info.receiver_info if outgoing else info.sender_info)
    sender, receiver = info.sender_info, info.receiver_info
    return legacy.MessageBase(
        legacy.BaseMessageInfo(
            info.platform,
            info.message_id,
            info.time,
            group,
            user,
            _same(legacy.FormatInfo, info.format_info),
            _same(legacy.TemplateInfo, info.template_info),
            info.additional_config,
            None if sender is None else legacy.SenderInfo(*_legacy_parts(sender)),
            None if receiver is None else legacy.ReceiverInfo(*_legacy_parts(receiver)),
        ),
        api.Seg(message.message_segment.type, message.message_segment.data),
    )


def _other_end(info: legacy.BaseMessageInfo, platform: str) -> tuple[api.GroupInfo | None, api.UserInfo | None]:
    """Group and user of the other end, each from the first place that has it."""
    places = list(_places(info))
    group = next((group for group, _ in places if group is not None), None)
    user = next((user for _, user in places if user is not None), None)
    return _api_group(group, platform), _api_user(user, platform)


def _places(info: legacy.BaseMessageInfo) -> Iterator[tuple[legacy.GroupInfo | None, legacy.UserInfo | None]]:
    yield info.group_info, info.user_info
    for side in (info.sender_info, info.receiver_info):
        if side is not None:
            yield side.group_info, side.user_info


def _api_group(group: legacy.GroupInfo | None, platform: str) -> api.GroupInfo | None:
    if group is None:
        return None
    return api.GroupInfo(group.platform or platform, str(group.group_id or ""), _text(group.group_name))


def _api_user(user: legacy.UserInfo | None, platform: str) -> api.UserInfo | None:
    if user is None:
        return None
    names = _text(user.user_nickname), _text(user.user_cardname)
    return api.UserInfo(user.platform or platform, str(user.user_id or ""), *names)


def _legacy_parts(side: api.InfoBase | None) -> tuple[legacy.GroupInfo | None, legacy.UserInfo | None]:
    if side is None:
        return None, None
    return _same(legacy.GroupInfo, side.group_info), _same(legacy.UserInfo, side.user_info)


def _same(kind: type[_Part], part: msgspec.Struct | None) -> _Part | None:
    """An object of a class that has the same fields as the one of `part`."""
    return None if part is None else kind(*msgspec.structs.astuple(part))


def _text(name: str | int | None) -> str | None:
    return None if name is None else str(name)
