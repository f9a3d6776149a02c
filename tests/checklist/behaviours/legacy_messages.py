"""The legacy message classes, and what converts them."""

from __future__ import annotations

import maim_trio
from maim_trio import MessageConverter
from tests.checklist.behaviours.messages import EXAMPLES

USER = maim_trio.UserInfo("qq", 10001, "nickname", "cardname")
GROUP = maim_trio.GroupInfo("qq", "group_001", "a group")
INFO = maim_trio.BaseMessageInfo(
    "qq", 5, 1703123456, GROUP, USER, maim_trio.FormatInfo(["text"], ["text", "emoji"]),
    maim_trio.TemplateInfo({"a": "b"}, {"c": "d"}), {"any": ["thing", 1]},
    maim_trio.SenderInfo(GROUP, USER), maim_trio.ReceiverInfo(GROUP, USER),
)  # fmt: skip
MESSAGE = maim_trio.MessageBase(INFO, maim_trio.Seg("text", "消息内容"), "[raw]")
LEGACY = {
    "MessageBase": MESSAGE,
    "maim_trio.BaseMessageInfo": INFO,
    "maim_trio.UserInfo": USER,
    "maim_trio.GroupInfo": GROUP,
    "maim_trio.InfoBase": maim_trio.InfoBase(GROUP, USER),
    "maim_trio.SenderInfo": INFO.sender_info,
    "maim_trio.ReceiverInfo": INFO.receiver_info,
    "maim_trio.FormatInfo": INFO.format_info,
    "maim_trio.TemplateInfo": INFO.template_info,
}
"""Of every class one with all of its fields."""

EXAMPLES.update(LEGACY)


def a_legacy_group_without_id_is_no_group() -> None:
    assert maim_trio.GroupInfo.from_dict({"platform": "qq", "group_name": "a group"}) is None
    assert maim_trio.SenderInfo.from_dict({"group_info": {"platform": "qq"}}).group_info is None


def a_legacy_message_is_converted_both_ways() -> None:
    received = MessageConverter.to_api_receive(MESSAGE, "key_of_receiver_1234", "qq")
    assert received.get_api_key() == "key_of_receiver_1234"
    assert received.message_info.receiver_info is None
    assert MessageConverter.from_api_receive(received).message_info.user_info == maim_trio.UserInfo(
        "qq", "10001", "nickname", "cardname"
    )
    sent = MessageConverter.to_api_send(MESSAGE, "key_of_receiver_1234")
    assert sent.message_info.sender_info is None
    assert MessageConverter().from_api_send(sent).message_info.group_info == GROUP
