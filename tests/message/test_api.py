from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from maim_trio.errors import InvalidMessage, MaimError
from maim_trio.message import (
    APIMessageBase,
    BaseMessageInfo,
    FormatInfo,
    GroupInfo,
    MessageDim,
    ReceiverInfo,
    Seg,
    SenderInfo,
    UserInfo,
)
from tests.message.strategies import messages

KEY = "demo_key_456_which_is_secret"
WIRE: dict[str, Any] = {
    "message_info": {"platform": "qq", "message_id": "msg_1", "time": 1703123456.789},
    "message_segment": {"type": "text", "data": "你好"},
    "message_dim": {"api_key": KEY, "platform": "telegram"},
}


def message(segment: Seg | None = None, **fields: Any) -> APIMessageBase:
    return APIMessageBase(
        BaseMessageInfo(**{"platform": "qq", "message_id": "msg_1", "time": 1703123456.789, **fields}),
        segment or Seg("text", "你好"),
        MessageDim(KEY, "telegram"),
    )


def wire(path: str, value: Any) -> dict[str, Any]:
    """WIRE with another value at the path."""
    data: dict[str, Any] = json.loads(json.dumps(WIRE))
    *way, last = path.split(".")
    place = data
    for name in way:
        place = place.setdefault(name, {})
    place[last] = value
    return data


def test_a_message_is_what_the_documents_show():
    made = APIMessageBase(
        message_info=BaseMessageInfo(
            platform="wechat",
            message_id="msg_123456789",
            time=1.0,
            sender_info=SenderInfo(
                user_info=UserInfo(
                    platform="wechat", user_id="user_001", user_nickname="用户昵称", user_cardname="用户名片"
                ),
                group_info=GroupInfo(platform="wechat", group_id="group_001", group_name="群组名称"),
            ),
            format_info=FormatInfo(content_format=["text"], accept_format=["text", "image"]),
        ),
        message_segment=Seg(type="text", data="消息内容"),
        message_dim=MessageDim(api_key="your_api_key", platform="wechat"),
    )

    assert made.to_dict() == {
        "message_info": {
            "platform": "wechat",
            "message_id": "msg_123456789",
            "time": 1.0,
            "format_info": {"content_format": ["text"], "accept_format": ["text", "image"]},
            "sender_info": {
                "group_info": {"platform": "wechat", "group_id": "group_001", "group_name": "群组名称"},
                "user_info": {
                    "platform": "wechat",
                    "user_id": "user_001",
                    "user_nickname": "用户昵称",
                    "user_cardname": "用户名片",
                },
            },
        },
        "message_segment": {"type": "text", "data": "消息内容"},
        "message_dim": {"api_key": "your_api_key", "platform": "wechat"},
    }


def test_what_a_message_says_can_be_asked():
    asked = message(sender_info=SenderInfo())

    assert asked.get_api_key() == KEY
    assert asked.get_platform() == "telegram"
    assert asked.get_message_platform() == "qq"
    assert asked.get_message_id() == "msg_1"
    assert asked.get_message_time() == 1703123456.789
    assert asked.has_sender_info()
    assert not asked.has_receiver_info()
    assert message(receiver_info=ReceiverInfo()).has_receiver_info()


def test_readdressing_one_message_leaves_others_with_the_same_address_alone():
    dim = MessageDim("test_key_123", "qq")
    first, second = message(), message()
    first.message_dim = second.message_dim = dim

    first.set_message_dim("demo_key_456", "telegram")

    assert first.message_dim == MessageDim("demo_key_456", "telegram")
    assert second.message_dim == MessageDim("test_key_123", "qq")


@given(messages)
def test_messages_come_back_as_they_were(original: APIMessageBase):
    assert repr(APIMessageBase.from_json(original.to_json())) == repr(original)
    assert repr(APIMessageBase.from_dict(original.to_dict())) == repr(original)
    assert json.loads(original.to_json()) == original.to_dict()


def test_text_is_taken_like_bytes():
    assert (
        APIMessageBase.from_json(json.dumps(WIRE)) == APIMessageBase.from_json(json.dumps(WIRE).encode()) == message()
    )


def test_unknown_fields_are_ignored_on_every_level():
    data = wire("message_info.sender_info.user_info", {"platform": "qq", "user_id": "1", "age": 30})
    data["message_info"]["sender_info"]["extra"] = {1: object()}
    data["message_segment"]["extra"] = data["message_dim"]["extra"] = data["extra"] = float("nan")

    assert APIMessageBase.from_dict(data) == message(sender_info=SenderInfo(user_info=UserInfo("qq", "1")))


@pytest.mark.parametrize(
    ("path", "value", "problem", "place"),
    [
        ("message_info", None, "Expected `object`, got `null`", ""),
        ("message_info", 5, "Expected `object`, got `int`", ""),
        ("message_info.platform", 5, "Expected `str`, got `int`", ""),
        ("message_info.time", "1", "Expected `float`, got `str`", ""),
        (
            "message_info.sender_info.user_info",
            {"platform": "", "user_id": 1.5},
            "Expected `str`, got `float`",
            ".user_id",
        ),
        ("message_info.sender_info.user_info", {"user_id": "1"}, "Object missing required field `platform`", ""),
        ("message_info.template_info.template_default", 1, "Expected `bool`, got `int`", ""),
        ("message_segment", {}, "Object missing required field `type`", ""),
        ("message_segment", {"type": "seglist", "data": [5]}, "Expected `object`, got `int`", ".data[0]"),
        ("message_dim.api_key", 5, "Expected `str`, got `int`", ""),
    ],
)
def test_errors_name_the_place(path: str, value: Any, problem: str, place: str):
    data = wire(path, value)

    for read, source in ((APIMessageBase.from_dict, data), (APIMessageBase.from_json, json.dumps(data).encode())):
        with pytest.raises(InvalidMessage) as caught:
            read(source)
        assert str(caught.value) == f"{problem} - at `$.{path}{place}`"
        assert isinstance(caught.value, ValueError)
        assert isinstance(caught.value, MaimError)


@pytest.mark.parametrize("field", ["message_info", "message_segment", "message_dim"])
def test_all_three_parts_are_required(field: str):
    data = {name: part for name, part in WIRE.items() if name != field}

    for read, source in ((APIMessageBase.from_dict, data), (APIMessageBase.from_json, json.dumps(data).encode())):
        with pytest.raises(InvalidMessage) as caught:
            read(source)
        assert str(caught.value) == f"Object missing required field `{field}` - at `$`"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff",
        b"\x00\x01",
        b"\xef\xbb\xbf{}",
        json.dumps(WIRE).encode() + b"x",
        json.dumps(wire("message_info.time", float("nan"))).encode(),
        json.dumps(wire("message_info.time", float("inf"))).encode(),
        json.dumps(wire("message_segment.data", [float("-inf")])).encode(),
        json.dumps(wire("extra", float("nan"))).encode(),
        json.dumps(wire("message_segment.data", "\ud800")).encode(),
        json.dumps(wire("message_info.platform", "\udc00\ud800")).encode(),
        json.dumps(WIRE).replace("msg_1", "\ud800"),
        json.dumps(WIRE, ensure_ascii=False).encode("gbk"),
        json.dumps(WIRE).replace("1703123456.789", "1" * 400).encode(),
        json.dumps(WIRE).replace('"msg_1"', "1" * 5000).encode(),
    ],
)
def test_what_is_no_message_is_invalid_and_nothing_else(data: bytes | str):
    with pytest.raises(InvalidMessage) as caught:
        APIMessageBase.from_json(data)
    assert caught.value.code == "invalid_payload"


@pytest.mark.parametrize("field", ["message_segment", "message_info", "extra"])
def test_nesting_of_any_depth_is_an_error_and_not_a_crash(field: str):
    text = json.dumps(WIRE).replace("{", f'{{"{field}":' + "[" * 10_000 + "]" * 10_000 + ",", 1)

    with pytest.raises(InvalidMessage, match="Nested too deep") as caught:
        APIMessageBase.from_json(text)
    assert caught.value.code == "too_deep"


def test_a_plain_dict_of_any_depth_is_an_error_and_not_a_crash():
    data: Any = []
    for _ in range(10_000):
        data = [data]

    for attempt in (
        lambda: APIMessageBase.from_dict(wire_with(data)),
        message(Seg("card", data)).to_json,
        message(Seg("card", data)).to_dict,
    ):
        with pytest.raises(InvalidMessage, match=r"Nested too deep - at `\$\.message_segment\.data`$") as caught:
            attempt()
        assert caught.value.code == "too_deep"


def wire_with(data: Any) -> dict[str, Any]:
    return {**WIRE, "message_segment": {"type": "card", "data": data}}


def test_a_message_may_be_as_deep_as_the_stack_and_no_deeper():
    data: list[Any] = []
    accepted = []
    for _ in range(1200):
        data = [data]
        try:
            accepted.append(message(Seg("card", data)).to_dict()["message_segment"]["data"] == data)
        except InvalidMessage:
            accepted.append(False)

    assert accepted == sorted(accepted, reverse=True)
    assert 500 < sum(accepted) < 1000


def test_data_that_contains_itself_is_an_error_and_not_an_endless_loop():
    data: dict[str, Any] = {"a": 1}
    data["self"] = [data, data]

    for attempt in (message(Seg("card", data)).to_json, message(additional_config=data).to_dict):
        with pytest.raises(InvalidMessage) as caught:
            attempt()
        assert caught.value.code == "too_deep"


@pytest.mark.parametrize("place", ["message_segment.data", "message_info.platform", "message_dim.platform"])
def test_lone_surrogates_are_never_sent(place: str):
    part, field = place.split(".")
    broken = message()
    setattr(getattr(broken, part), field, "a\ud800")

    for attempt in (broken.to_json, broken.to_dict, lambda: APIMessageBase.from_dict(wire(place, "a\udfff"))):
        with pytest.raises(InvalidMessage, match=rf"surrogate.* - at `\$\.{part}\.{field}`$"):
            attempt()


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_json_does_not_have_are_never_sent(number: float):
    for attempt in (
        message(Seg("card", {"x": [1, number]})).to_json,
        message(Seg("card", {"x": [1, number]})).to_dict,
        lambda: APIMessageBase.from_dict(wire("message_segment.data", {"x": [1, number]})),
    ):
        with pytest.raises(InvalidMessage, match=r"finite number - at `\$\.message_segment\.data\.x\[1\]`$"):
            attempt()


def test_integers_of_more_digits_than_can_be_read_are_never_sent():
    with pytest.raises(InvalidMessage, match=r"Integer value out of range - at `\$\.message_segment\.data\[0\]`$"):
        message(Seg("card", [10**5000])).to_json()


@pytest.mark.parametrize(
    ("field", "value", "place"),
    [
        ("message_info", WIRE["message_info"], "Expected `BaseMessageInfo`, got `object` - at `$.message_info`"),
        ("message_segment", "hello", "Expected `Seg`, got `str` - at `$.message_segment`"),
        ("message_dim", None, "Expected `MessageDim`, got `null` - at `$.message_dim`"),
    ],
)
def test_parts_of_a_wrong_class_are_found_on_encoding(field: str, value: Any, place: str):
    broken = message()
    setattr(broken, field, value)

    with pytest.raises(InvalidMessage) as caught:
        broken.to_json()
    assert str(caught.value) == place


def test_platforms_are_filled_in_and_nothing_is_changed():
    sender = SenderInfo(GroupInfo(group_id="g"), UserInfo(user_id="u"))
    original = message(sender_info=sender)

    written = original.to_dict()["message_info"]["sender_info"]

    assert written == {
        "group_info": {"platform": "qq", "group_id": "g"},
        "user_info": {"platform": "qq", "user_id": "u"},
    }
    assert json.loads(original.to_json())["message_info"]["sender_info"] == written
    assert original == message(sender_info=SenderInfo(GroupInfo(group_id="g"), UserInfo(user_id="u")))


def test_platforms_are_filled_in_where_identifiers_have_to_be_made_text_as_well():
    original = message(message_id=7, sender_info=SenderInfo(user_info=UserInfo(user_id=8)))  # type: ignore[arg-type]

    written = original.to_dict()["message_info"]

    assert written["message_id"] == "7"
    assert written["sender_info"]["user_info"] == {"platform": "qq", "user_id": "8"}


def test_objects_of_the_package_may_stand_inside_a_plain_dict():
    whole = message(Seg("seglist", [Seg("text", "a"), Seg("seglist", [Seg("text", "b")])]))
    data = {
        "message_info": whole.message_info,
        "message_segment": {"type": "seglist", "data": [Seg("text", "a"), Seg("seglist", [Seg("text", "b")])]},
        "message_dim": {"api_key": KEY, "platform": "telegram"},
    }

    assert APIMessageBase.from_dict(data) == whole
    assert APIMessageBase.from_dict(data).message_info is not whole.message_info


def test_a_plain_dict_is_neither_changed_nor_shared():
    data = wire("message_info.additional_config", {"list": [1]})
    data["message_info"].update(message_id=5, template_info={"template_default": None})
    before = json.dumps(data)

    made = APIMessageBase.from_dict(data)
    assert made.message_info.additional_config is not None
    made.message_info.additional_config["list"].append(2)

    assert json.dumps(data) == before


@pytest.mark.parametrize("value", [None, 5, "text", [], [WIRE], (), object()])
def test_only_dicts_are_read_by_from_dict(value: Any):
    with pytest.raises(InvalidMessage, match=r"^Expected `object`, got `\w+` - at `\$`$"):
        APIMessageBase.from_dict(value)


def test_the_key_is_in_no_repr_and_in_no_error():
    broken = wire("message_segment", 5)

    assert "secret" not in repr(message())
    assert "'demo…#" in repr(message())
    with pytest.raises(InvalidMessage) as caught:
        APIMessageBase.from_dict(broken)
    assert "demo" not in str(caught.value)
