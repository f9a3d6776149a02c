from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from hypothesis import given

from maim_trio.errors import InvalidMessage
from maim_trio.message import (
    BaseMessageInfo,
    FormatInfo,
    GroupInfo,
    InfoBase,
    MessageDim,
    ReceiverInfo,
    SenderInfo,
    TemplateInfo,
    UserInfo,
)
from tests.message.strategies import infos

KEY = "demo_key_456_which_is_secret"


def info(**fields: Any) -> BaseMessageInfo:
    return BaseMessageInfo(**{"platform": "qq", "message_id": "1", "time": 1.5, **fields})


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (GroupInfo, ("platform", "group_id", "group_name")),
        (UserInfo, ("platform", "user_id", "user_nickname", "user_cardname")),
        (InfoBase, ("group_info", "user_info")),
        (SenderInfo, ("group_info", "user_info")),
        (ReceiverInfo, ("group_info", "user_info")),
        (FormatInfo, ("content_format", "accept_format")),
        (TemplateInfo, ("template_items", "template_name", "template_default")),
        (MessageDim, ("api_key", "platform")),
        (
            BaseMessageInfo,
            (
                "platform",
                "message_id",
                "time",
                "format_info",
                "template_info",
                "additional_config",
                "sender_info",
                "receiver_info",
            ),
        ),
    ],
)
def test_positional_arguments_stand_in_the_documented_order(model: Any, fields: tuple[str, ...]):
    made = model(*fields)
    assert {name: getattr(made, name) for name in fields} == {name: name for name in fields}


def test_objects_are_mutable_and_equal_by_value_and_class():
    user = UserInfo("qq", "1")
    user.user_nickname = "nick"

    assert user == UserInfo(user_nickname="nick", user_id="1", platform="qq")
    assert user != UserInfo("qq", "1")
    assert SenderInfo() != ReceiverInfo()
    assert isinstance(SenderInfo(), InfoBase)


@given(infos)
def test_whatever_is_known_about_a_message_comes_back_as_it_was(original: BaseMessageInfo):
    assert repr(BaseMessageInfo.from_json(original.to_json())) == repr(original)
    assert repr(BaseMessageInfo.from_dict(original.to_dict())) == repr(original)


def test_copies_and_pickles_are_equal():
    original = info(sender_info=SenderInfo(user_info=UserInfo("qq", "1")), additional_config={"a": [1]})

    assert copy.deepcopy(original) == original
    assert pickle.loads(pickle.dumps(original)) == original


# Absent fields


def test_absent_optional_fields_are_absent_and_not_null():
    assert info().to_dict() == {"platform": "qq", "message_id": "1", "time": 1.5}
    assert info(sender_info=SenderInfo(), format_info=FormatInfo()).to_dict() == {
        "platform": "qq",
        "message_id": "1",
        "time": 1.5,
        "sender_info": {},
        "format_info": {},
    }


def test_empty_is_not_absent():
    full = info(format_info=FormatInfo([], []), additional_config={}, template_info=TemplateInfo({}, {}))

    assert full.to_dict()["format_info"] == {"content_format": [], "accept_format": []}
    assert full.to_dict()["additional_config"] == {}
    assert BaseMessageInfo.from_json(full.to_json()) == full
    assert UserInfo("", "", "").to_dict() == {"platform": "", "user_id": "", "user_nickname": ""}


def test_whether_the_default_templates_are_meant_is_always_said():
    assert TemplateInfo().to_json() == b'{"template_default":true}'
    assert TemplateInfo(template_default=False).to_json() == b'{"template_default":false}'
    assert TemplateInfo(template_default=None).to_json() == b'{"template_default":true}'  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (GroupInfo, ("group_name",)),
        (UserInfo, ("user_nickname", "user_cardname")),
        (SenderInfo, ("group_info", "user_info")),
        (FormatInfo, ("content_format", "accept_format")),
        (TemplateInfo, ("template_items", "template_name", "template_default")),
        (
            BaseMessageInfo,
            ("format_info", "template_info", "additional_config", "sender_info", "receiver_info"),
        ),
    ],
)
def test_null_for_an_optional_field_equals_absent(model: Any, fields: tuple[str, ...]):
    required = {
        GroupInfo: {"platform": "qq", "group_id": "1"},
        UserInfo: {"platform": "qq", "user_id": "1"},
        BaseMessageInfo: {"platform": "qq", "message_id": "1", "time": 1.0},
    }.get(model, {})
    nulls = dict.fromkeys(fields)

    absent = model.from_dict(required)
    assert model.from_dict({**required, **nulls}) == absent
    assert model.from_json(_json({**required, **nulls})) == absent


@pytest.mark.parametrize("field", ["platform", "message_id", "time"])
def test_null_for_a_required_field_is_refused(field: str):
    data = {"platform": "qq", "message_id": "1", "time": 1.0, field: None}

    for attempt in (lambda: BaseMessageInfo.from_dict(data), lambda: BaseMessageInfo.from_json(_json(data))):
        with pytest.raises(InvalidMessage, match=rf"got `null` - at `\$\.{field}`$"):
            attempt()


# Identifiers


def test_integers_are_taken_as_identifiers_and_names():
    user = {"platform": "qq", "user_id": 2**70, "user_nickname": 5, "user_cardname": -6}
    group = {"platform": "qq", "group_id": 0, "group_name": 7}
    data = {"platform": "qq", "message_id": 8, "time": 1, "sender_info": {"user_info": user, "group_info": group}}
    expected = BaseMessageInfo(
        "qq", "8", 1.0, sender_info=SenderInfo(GroupInfo("qq", "0", "7"), UserInfo("qq", str(2**70), "5", "-6"))
    )

    assert BaseMessageInfo.from_dict(data) == expected
    assert BaseMessageInfo.from_json(_json(data)) == expected


def test_integers_that_were_assigned_are_written_as_text_and_stay_in_the_object():
    user = UserInfo("qq", 12345, 6)  # type: ignore[arg-type]

    assert user.to_dict() == {"platform": "qq", "user_id": "12345", "user_nickname": "6"}
    assert user.user_id == 12345


@pytest.mark.parametrize("value", [True, 1.0, [], {}])
def test_only_integers_are_taken_as_identifiers(value: Any):
    data = {"platform": "qq", "user_id": value}

    for attempt in (
        lambda: UserInfo.from_dict(data),
        lambda: UserInfo.from_json(_json(data)),
        UserInfo("qq", value).to_json,
    ):
        with pytest.raises(InvalidMessage, match=r"^Expected `str`, got `\w+` - at `\$\.user_id`$"):
            attempt()


def test_platforms_and_keys_are_no_identifiers():
    with pytest.raises(InvalidMessage, match=r"at `\$\.platform`$"):
        UserInfo.from_json(b'{"platform":1,"user_id":"1"}')
    with pytest.raises(InvalidMessage, match=r"at `\$\.api_key`$"):
        MessageDim.from_dict({"api_key": 123456789, "platform": "qq"})


# Platforms


def test_users_and_groups_without_platform_are_written_with_the_messages_own():
    sender = SenderInfo(GroupInfo(group_id="g"), UserInfo(user_id="u", user_nickname="nick"))
    receiver = ReceiverInfo(GroupInfo(group_id="h"), UserInfo("telegram", "v"))
    original = info(sender_info=sender, receiver_info=receiver)

    written = original.to_dict()

    assert written["sender_info"] == {
        "group_info": {"platform": "qq", "group_id": "g"},
        "user_info": {"platform": "qq", "user_id": "u", "user_nickname": "nick"},
    }
    assert written["receiver_info"] == {
        "group_info": {"platform": "qq", "group_id": "h"},
        "user_info": {"platform": "telegram", "user_id": "v"},
    }
    assert BaseMessageInfo.from_json(original.to_json()).to_dict() == written


def test_filling_in_platforms_leaves_the_objects_alone():
    sender = SenderInfo(GroupInfo(group_id="g"), UserInfo(user_id="u"))
    original = info(sender_info=sender, message_id=5)

    original.to_json()

    assert original.sender_info is sender
    assert sender == SenderInfo(GroupInfo(group_id="g"), UserInfo(user_id="u"))
    assert original.message_id == 5


@pytest.mark.parametrize(
    ("part", "field"),
    [
        ({"user_info": {"user_id": "1"}}, "platform` - at `$.receiver_info.user_info`"),
        ({"user_info": {"platform": "qq"}}, "user_id` - at `$.receiver_info.user_info`"),
        ({"group_info": {"group_id": "1"}}, "platform` - at `$.receiver_info.group_info`"),
        ({"group_info": {"platform": "qq"}}, "group_id` - at `$.receiver_info.group_info`"),
    ],
)
def test_platform_and_id_are_required_on_receive(part: dict[str, Any], field: str):
    for side in ("receiver_info", "sender_info"):
        data = {"platform": "qq", "message_id": "1", "time": 1.0, side: part}
        for attempt in (
            lambda data=data: BaseMessageInfo.from_dict(data),
            lambda data=data: BaseMessageInfo.from_json(_json(data)),
        ):
            with pytest.raises(InvalidMessage) as caught:
                attempt()
            assert str(caught.value) == f"Object missing required field `{field}".replace("receiver_info", side)


def test_an_id_that_was_never_given_is_found_on_encoding():
    with pytest.raises(InvalidMessage, match=r"missing required field `user_id` - at `\$\.sender_info\.user_info`$"):
        info(sender_info=SenderInfo(user_info=UserInfo(platform="qq"))).to_json()


def test_a_user_on_its_own_has_no_message_to_take_the_platform_from():
    with pytest.raises(InvalidMessage, match=r"missing required field `platform` - at `\$`$"):
        UserInfo(user_id="1").to_dict()
    with pytest.raises(InvalidMessage, match=r"missing required field `platform` - at `\$\.group_info`$"):
        SenderInfo(group_info=GroupInfo(group_id="1")).to_json()


# Times


@pytest.mark.parametrize("time", [0, 1703123456, 1703123456.789, -1.5, 2**53])
def test_a_time_may_be_an_integer_and_keeps_its_value(time: float):
    assert info(time=time).to_dict()["time"] == time
    assert BaseMessageInfo.from_json(info(time=time).to_json()).time == time


@pytest.mark.parametrize("time", [float("nan"), float("inf"), True, "1.5", None, 10**400])
def test_a_time_is_a_finite_number(time: Any):
    with pytest.raises(InvalidMessage, match=r" - at `\$\.time`$"):
        info(time=time).to_json()


def test_a_time_out_of_range_is_refused_on_receive():
    with pytest.raises(InvalidMessage, match=r"Number out of range - at `\$\.time`$"):
        BaseMessageInfo.from_json(b'{"platform":"qq","message_id":"1","time":1e999}')


# Wrong types


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"platform": 5}, "platform"),
        ({"platform": b"qq"}, "platform"),
        ({"message_id": None}, "message_id"),
        ({"sender_info": ReceiverInfo()}, "sender_info"),
        ({"sender_info": {"user_info": None}}, "sender_info"),
        ({"receiver_info": ReceiverInfo(user_info=GroupInfo("qq", "1"))}, "receiver_info.user_info"),
        ({"receiver_info": ReceiverInfo(UserInfo("qq", "1"))}, "receiver_info.group_info"),
        ({"sender_info": SenderInfo(user_info=UserInfo("qq", "1", []))}, "sender_info.user_info.user_nickname"),
        ({"format_info": FormatInfo(["text", 5])}, "format_info.content_format[1]"),
        ({"format_info": FormatInfo(accept_format="text")}, "format_info.accept_format"),
        ({"format_info": {}}, "format_info"),
        ({"template_info": TemplateInfo(template_default="no")}, "template_info.template_default"),
        ({"template_info": TemplateInfo(["x"])}, "template_info.template_items"),
        ({"template_info": TemplateInfo(template_name={"x": {1}})}, "template_info.template_name.x"),
        ({"template_info": FormatInfo()}, "template_info"),
        ({"additional_config": []}, "additional_config"),
        ({"additional_config": {"a": [float("nan")]}}, "additional_config.a[0]"),
        ({"additional_config": {1: 2}}, "additional_config"),
    ],
)
def test_wrong_types_in_attributes_are_found_on_encoding(fields: dict[str, Any], place: str):
    for attempt in (info(**fields).to_json, info(**fields).to_dict):
        with pytest.raises(InvalidMessage) as caught:
            attempt()
        assert str(caught.value).endswith(f" - at `$.{place}`")


# Secrets


def test_the_key_is_masked_wherever_an_object_shows_itself():
    dim = MessageDim(KEY, "qq")

    for shown in (repr(dim), str(dim), f"{dim}", repr(dim.__rich_repr__())):
        assert "demo…#" in shown
        assert "demo_" not in shown
        assert "qq" in shown


def test_nothing_of_a_short_key_is_shown():
    assert repr(MessageDim("abcdefg", "qq")) == "MessageDim(api_key='…', platform='qq')"


@pytest.mark.parametrize(
    "data", [{"api_key": KEY}, {"api_key": KEY, "platform": 5}, {"api_key": [KEY], "platform": ""}]
)
def test_errors_never_hold_the_key(data: dict[str, Any]):
    for attempt in (lambda: MessageDim.from_dict(data), lambda: MessageDim.from_json(_json(data))):
        with pytest.raises(InvalidMessage) as caught:
            attempt()
        assert "demo" not in str(caught.value)


def test_a_key_that_is_no_text_is_masked_as_well():
    assert "123456789" not in repr(MessageDim(123456789, "qq"))  # type: ignore[arg-type]


def _json(value: Any) -> bytes:

    return json.dumps(value).encode()
