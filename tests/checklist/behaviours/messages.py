"""The message classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from maim_trio.errors import InvalidMessage
from maim_trio.message import (
    APIMessageBase,
    BaseMessageInfo,
    FormatInfo,
    GroupInfo,
    InfoBase,
    MessageDim,
    ReceiverInfo,
    Seg,
    SenderInfo,
    TemplateInfo,
    UserInfo,
)
from tests.memory import text_message

if TYPE_CHECKING:
    from tests.checklist.rows import Row

USER = UserInfo("wechat", "user_001", "nickname", "cardname")
GROUP = GroupInfo("wechat", "group_001", "a group")
FULL = APIMessageBase(
    BaseMessageInfo(
        "wechat", "msg_1", 1703123456.5, FormatInfo(["text"], ["text", "emoji"]), TemplateInfo({"a": "b"}, {"c": "d"}),
        {"any": ["thing", 1]}, SenderInfo(GROUP, USER), ReceiverInfo(GROUP, USER),
    ),
    Seg("text", "消息内容"),
    MessageDim("key_of_receiver_1234", "wechat"),
)  # fmt: skip
EXAMPLES: dict[str, Any] = {
    "APIMessageBase": FULL,
    "BaseMessageInfo": FULL.message_info,
    "Seg": FULL.message_segment,
    "MessageDim": FULL.message_dim,
    "UserInfo": USER,
    "GroupInfo": GROUP,
    "InfoBase": InfoBase(GROUP, USER),
    "SenderInfo": SenderInfo(GROUP, USER),
    "ReceiverInfo": ReceiverInfo(GROUP, USER),
    "FormatInfo": FormatInfo(["text"], ["text", "emoji"]),
    "TemplateInfo": TemplateInfo({"a": "b"}, {"c": "d"}, False),
}
"""Of every class one with all of its fields."""


def a_message_class_reads_what_it_writes(row: Row) -> None:
    example = EXAMPLES[row.of]
    kind = type(example)
    assert set(example.to_dict()) == set(kind.__struct_fields__)
    assert kind.from_dict(example.to_dict()) == example
    assert kind.from_json(example.to_json()) == example
    assert kind.from_json(example.to_json().decode()) == example


def from_dict_refuses_what_does_not_fit(row: Row) -> None:
    kind = type(EXAMPLES[row.of])
    with pytest.raises(InvalidMessage, match=r"\$"):
        kind.from_dict({kind.__struct_fields__[0]: 5.5})


def from_json_refuses_what_does_not_fit(row: Row) -> None:
    kind = type(EXAMPLES[row.of])
    for wrong in (b"[]", b"not JSON", b"\xff"):
        with pytest.raises(ValueError, match=r"\$"):
            kind.from_json(wrong)


def reading_names_the_path_of_what_is_wrong() -> None:
    data = FULL.to_dict()
    data["message_info"]["sender_info"]["user_info"]["user_id"] = ["no", "id"]
    with pytest.raises(InvalidMessage, match=r"\$\.message_info\.sender_info\.user_info\.user_id"):
        APIMessageBase.from_dict(data)


def a_message_tells_what_is_in_it() -> None:
    assert FULL.get_api_key() == "key_of_receiver_1234"
    assert FULL.get_platform() == "wechat"
    assert FULL.get_message_platform() == "wechat"
    assert FULL.get_message_id() == "msg_1"
    assert FULL.get_message_time() == 1703123456.5
    assert FULL.has_sender_info()
    assert FULL.has_receiver_info()
    bare = text_message()
    assert not bare.has_sender_info()
    assert not bare.has_receiver_info()


def a_message_is_readdressed() -> None:
    message = text_message(to="somebody")
    message.set_message_dim("another_key", "qq")
    assert (message.get_api_key(), message.get_platform()) == ("another_key", "qq")


def any_json_survives_in_a_segment() -> None:
    for data in ("text", "", 5, 0.1, None, True, [1, "2"], {"key": {"deep": [None]}}, "表情🙂"):
        segment = Seg(type="custom", data=data)
        assert Seg.from_json(segment.to_json()).data == data


def segments_stand_in_lists() -> None:
    inner = Seg("seglist", [Seg("text", "a"), Seg("image", "aGVsbG8=")])
    segment = Seg.from_json(Seg("seglist", [inner, Seg("text", "b")]).to_json())
    assert segment.data[0].data[1] == Seg("image", "aGVsbG8=")


def a_platform_left_out_is_filled_in() -> None:
    message = text_message(platform="wechat")
    sender = SenderInfo(GroupInfo(group_id="group_001"), UserInfo(user_id="sender_001"))
    message.message_info.sender_info = sender
    written = message.to_dict()["message_info"]["sender_info"]
    assert written["user_info"] == {"platform": "wechat", "user_id": "sender_001"}
    assert written["group_info"] == {"platform": "wechat", "group_id": "group_001"}
    assert sender.user_info == UserInfo(user_id="sender_001"), "encoding changes nothing"
    with pytest.raises(InvalidMessage, match="user_id"):
        SenderInfo(user_info=UserInfo("wechat")).to_json()


def keys_are_not_shown() -> None:
    for shown in (repr(FULL), str(FULL), repr(FULL.message_dim)):
        assert "key_of_receiver_1234" not in shown
        assert "platform='wechat'" in shown


def messages_are_mutable_and_positional() -> None:
    message = text_message("before")
    message.message_segment.data = "after"
    message.message_info.platform = "qq"
    assert message.to_dict()["message_segment"]["data"] == "after"
    assert MessageDim("key", "wechat") == MessageDim(platform="wechat", api_key="key")
    assert BaseMessageInfo("wechat", "1", 2.0) == BaseMessageInfo(platform="wechat", message_id="1", time=2.0)


def messages_are_equal_by_value() -> None:
    assert text_message("a") == text_message("a")
    assert text_message("a") != text_message("b")
