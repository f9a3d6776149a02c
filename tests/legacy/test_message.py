from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maim_trio import message as api
from maim_trio._legacy.message import (
    BaseMessageInfo,
    FormatInfo,
    GroupInfo,
    InfoBase,
    MessageBase,
    ReceiverInfo,
    Seg,
    SenderInfo,
    TemplateInfo,
    UserInfo,
)
from maim_trio.errors import InvalidMessage
from tests.legacy.strategies import messages

FIELDS = {
    GroupInfo: ("platform", "group_id", "group_name"),
    UserInfo: ("platform", "user_id", "user_nickname", "user_cardname"),
    InfoBase: ("group_info", "user_info"),
    SenderInfo: ("group_info", "user_info"),
    ReceiverInfo: ("group_info", "user_info"),
    FormatInfo: ("content_format", "accept_format"),
    TemplateInfo: ("template_items", "template_name", "template_default"),
    BaseMessageInfo: (
        "platform",
        "message_id",
        "time",
        "group_info",
        "user_info",
        "format_info",
        "template_info",
        "additional_config",
        "sender_info",
        "receiver_info",
    ),
    MessageBase: ("message_info", "message_segment", "raw_message"),
}


def message(**info: Any) -> MessageBase:
    return MessageBase(BaseMessageInfo(**info), Seg("text", "hello"))


@pytest.mark.parametrize("model", FIELDS)
def test_positional_arguments_stand_in_the_order_of_maim_message(model: Any):
    made = model(*FIELDS[model])
    assert {name: getattr(made, name) for name in FIELDS[model]} == {name: name for name in FIELDS[model]}


@pytest.mark.parametrize("model", [model for model in FIELDS if model is not MessageBase])
def test_everything_but_the_message_itself_is_made_of_nothing(model: Any):
    assert model() == model()


def test_objects_are_mutable_and_equal_by_value_and_class():
    made = message(user_info=UserInfo("qq", 1))
    made.message_info.user_info = UserInfo("qq", 2)

    assert made == message(user_info=UserInfo(user_id=2, platform="qq"))
    assert SenderInfo() != ReceiverInfo()
    assert isinstance(SenderInfo(), InfoBase)
    assert copy.deepcopy(made) == pickle.loads(pickle.dumps(made)) == made


# Absent fields


def test_absent_fields_of_a_message_are_absent_and_those_of_its_parts_are_null():
    made = message(platform="qq", user_info=UserInfo(user_id="1"), sender_info=SenderInfo(GroupInfo("qq", "2")))

    assert made.to_dict() == {
        "message_info": {
            "platform": "qq",
            "user_info": {"platform": None, "user_id": "1", "user_nickname": None, "user_cardname": None},
            "sender_info": {
                "group_info": {"platform": "qq", "group_id": "2", "group_name": None},
                "user_info": None,
            },
        },
        "message_segment": {"type": "text", "data": "hello"},
    }


def test_alone_the_parts_have_no_nulls():
    assert UserInfo(user_id="1").to_dict() == {"user_id": "1"}
    assert SenderInfo(GroupInfo("qq", "2")).to_dict() == {"group_info": {"platform": "qq", "group_id": "2"}}
    assert FormatInfo().to_json() == b"{}"
    assert TemplateInfo({"a": None}).to_dict() == {"template_items": {"a": None}, "template_default": True}


def test_a_message_without_info_has_an_empty_one():
    assert MessageBase.from_dict({"message_segment": {"type": "text", "data": "hello"}}) == message()


def test_null_counts_as_absent():
    nulls = dict.fromkeys(FIELDS[BaseMessageInfo])
    segment = {"type": "text", "data": "hello"}

    assert MessageBase.from_dict({"message_info": nulls, "message_segment": segment, "raw_message": None}) == message()
    assert TemplateInfo.from_dict({"template_default": None}).template_default


def test_a_side_that_leaves_out_its_user_has_an_empty_one_and_one_that_says_null_has_none():
    group = {"platform": "qq", "group_id": "2"}

    assert SenderInfo.from_dict({"group_info": group}).user_info == UserInfo()
    assert SenderInfo.from_dict({"group_info": group, "user_info": None}).user_info is None
    assert SenderInfo.from_json(b"{}").user_info == UserInfo()


def test_a_group_without_id_is_no_group():
    nameless = {"platform": "qq", "group_name": "a group"}
    info = {"group_info": nameless, "sender_info": {"group_info": nameless}}

    read = BaseMessageInfo.from_dict(info)

    assert read.group_info is None
    assert read.sender_info == SenderInfo(None, UserInfo())
    assert GroupInfo.from_dict(nameless) is None
    assert GroupInfo.from_json(json.dumps(nameless)) is None
    assert GroupInfo.from_dict({"group_id": 0}) == GroupInfo(group_id=0)


# Values


def test_identifiers_and_times_stay_what_they_are():
    text = '{"message_id":7,"time":1703123456,"user_info":{"user_id":18446744073709551617,"user_nickname":"a"}}'

    read = BaseMessageInfo.from_json(text)

    assert (read.message_id, read.time) == (7, 1703123456)
    assert read.user_info == UserInfo(None, 18446744073709551617, "a")
    assert b'"message_id":7,"time":1703123456,' in read.to_json()


@given(messages)
def test_what_is_written_is_read_again(made: MessageBase):
    assert MessageBase.from_json(made.to_json()).to_dict() == MessageBase.from_dict(made.to_dict()).to_dict()


def test_the_plain_dict_shares_nothing_with_the_message():
    config = {"list": [1]}
    made = message(additional_config=config)

    made.to_dict()["message_info"]["additional_config"]["list"].append(2)
    read = MessageBase.from_dict({"message_info": {"additional_config": config}, "message_segment": Seg("text", "")})
    config["list"].append(3)

    assert made.message_info.additional_config == {"list": [1, 3]}
    assert read.message_info.additional_config == {"list": [1]}


def test_segments_in_lists_are_segments():
    inner = {"type": "seglist", "data": [{"type": "text", "data": "a"}]}

    read = MessageBase.from_json(json.dumps({"message_segment": {"type": "seglist", "data": [inner]}}))

    assert read.message_segment == Seg("seglist", [Seg("seglist", [Seg("text", "a")])])
    assert read.to_dict()["message_segment"] == {"type": "seglist", "data": [inner]}


# Errors


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"message_info": None}, r"Expected `object`, got `null` - at `\$.message_info`"),
        ({"message_info": {"platform": 5}}, r"Expected `str \| null`, got `int` - at `\$.message_info.platform`"),
        ({"message_info": {"time": "now"}}, r"at `\$.message_info.time`"),
        ({"message_info": {"user_info": {"user_id": [1]}}}, r"at `\$.message_info.user_info.user_id`"),
        ({"message_info": {"sender_info": "Ann"}}, r"got `str` - at `\$.message_info.sender_info`"),
        ({"message_segment": {"type": "text"}}, r"missing required field `data` - at `\$.message_segment`"),
        ({"message_segment": {"type": "seglist", "data": "a"}}, r"at `\$.message_segment.data`"),
        ({"raw_message": {"text": "hello"}}, r"at `\$.raw_message`"),
    ],
)
def test_an_error_names_the_place(change: dict[str, Any], text: str):
    data = {"message_info": {}, "message_segment": {"type": "text", "data": "hello"}, **change}

    with pytest.raises(InvalidMessage, match=text):
        MessageBase.from_dict(data)
    with pytest.raises(InvalidMessage, match=text):
        MessageBase.from_json(json.dumps(data))


def test_a_message_needs_a_segment():
    with pytest.raises(InvalidMessage, match=r"missing required field `message_segment` - at `\$`"):
        MessageBase.from_dict({"message_info": {}})


@given(st.binary() | st.text())
def test_whatever_the_bytes_are_reading_gives_a_message_or_one_kind_of_error(data: bytes | str):
    with pytest.raises(InvalidMessage):
        MessageBase.from_json(data)


@pytest.mark.parametrize("data", [b"[" * 100_000, b"\xff", b'{"message_segment":' * 10_000, b"1e999"])
def test_what_is_no_json_is_refused(data: bytes):
    with pytest.raises(InvalidMessage, match=r"\$"):
        MessageBase.from_json(data)


def test_what_json_cannot_hold_is_not_written():
    for value in (float("nan"), {1}, "\ud800", object()):
        with pytest.raises(InvalidMessage, match=r"\$.message_info.additional_config.a"):
            message(additional_config={"a": value}).to_json()


def test_a_class_of_the_api_server_is_told_from_the_legacy_one():
    mixed = message(user_info=api.UserInfo("qq", "1"))

    with pytest.raises(InvalidMessage, match=r"Expected `maim_trio.UserInfo`, got `maim_trio.message.UserInfo` - at"):
        mixed.to_dict()
