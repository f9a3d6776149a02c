from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given

from maim_trio.errors import InvalidMessage
from maim_trio.message import APIMessageBase, BaseMessageInfo, MessageDim, Seg, SenderInfo, UserInfo
from maim_trio.message._decode import finish, from_builtins, prepare
from tests.message.strategies import messages

PLACE = "$.payload"


class Envelope(msgspec.Struct):
    payload: APIMessageBase


def typed(message: dict[str, Any]) -> APIMessageBase:
    return msgspec.json.decode(json.dumps({"payload": message}), type=Envelope).payload


def wire(segment: Any, **info: Any) -> dict[str, Any]:
    return {
        "message_info": {"platform": "qq", "message_id": "1", "time": 1.0, **info},
        "message_segment": segment,
        "message_dim": {"api_key": "demo_key_456", "platform": "qq"},
    }


def message(**info: Any) -> APIMessageBase:
    fields = {"platform": "qq", "message_id": "1", "time": 1.0, **info}
    return APIMessageBase(BaseMessageInfo(**fields), Seg("text", "x"), MessageDim("demo_key_456", "qq"))


@given(messages)
def test_both_ways_through_an_envelope_give_the_message_itself(original: APIMessageBase):
    plain = original.to_dict()

    assert finish(typed(plain)) == original
    assert from_builtins(plain) == original


def test_finishing_makes_segments_of_a_seglist_in_place():
    decoded = typed(wire({"type": "seglist", "data": [{"type": "text", "data": "x"}]}))

    assert finish(decoded) is decoded
    assert decoded.message_segment == Seg("seglist", [Seg("text", "x")])


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (
            wire({"type": "text", "data": "x"}, sender_info={"user_info": {"platform": "qq"}}),
            "Object missing required field `user_id` - at `$.payload.message_info.sender_info.user_info`",
        ),
        (
            wire({"type": "seglist", "data": [{"type": "text"}]}),
            "Object missing required field `data` - at `$.payload.message_segment.data[0]`",
        ),
    ],
)
def test_errors_name_the_place_in_the_whole_frame(data: dict[str, Any], error: str):
    for attempt in (lambda: finish(typed(data), PLACE), lambda: from_builtins(data, PLACE)):
        with pytest.raises(InvalidMessage) as caught:
            attempt()
        assert str(caught.value) == error


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (None, "Expected `object`, got `null` - at `$.payload`"),
        ([], "Expected `object`, got `array` - at `$.payload`"),
        ({}, "Object missing required field `message_info` - at `$.payload`"),
        (wire(5), "Expected `object`, got `int` - at `$.payload.message_segment`"),
    ],
)
def test_whatever_was_decoded_is_a_message_or_invalid(value: Any, error: str):
    with pytest.raises(InvalidMessage) as caught:
        from_builtins(value, PLACE)
    assert str(caught.value) == error


def test_integers_and_nulls_that_the_typed_decode_refuses_are_taken():
    plain = wire(
        {"type": "text", "data": "x"},
        message_id=1,
        sender_info={"user_info": {"platform": "qq", "user_id": 5, "user_nickname": None}, "group_info": None},
        template_info=None,
    )

    with pytest.raises(msgspec.ValidationError):
        typed(plain)
    assert from_builtins(plain) == message(sender_info=SenderInfo(user_info=UserInfo("qq", "5")))


def test_a_message_in_order_is_encoded_as_it_is():
    original = message(sender_info=SenderInfo(user_info=UserInfo("qq", "5")), additional_config={"a": [1, {"b": 0.5}]})

    assert prepare(original) is original


def test_a_message_that_is_not_in_order_is_prepared_as_a_copy():
    original = message(message_id=5, sender_info=SenderInfo(user_info=UserInfo(user_id="6")))

    assert prepare(original) == message(sender_info=SenderInfo(user_info=UserInfo("qq", "6")), message_id="5")
    assert original == message(message_id=5, sender_info=SenderInfo(user_info=UserInfo(user_id="6")))


def test_what_msgspec_would_encode_as_something_else_is_not_prepared():
    with pytest.raises(InvalidMessage, match=r"got `bytes` - at `\$\.message_info\.additional_config\.a`$"):
        prepare(message(additional_config={"a": b"1"}))
