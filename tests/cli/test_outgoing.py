"""What a line of `send` stands for."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maim_trio._cli.outgoing import Address, CustomMessage, parse
from maim_trio.errors import InvalidMessage
from maim_trio.message import APIMessageBase, Seg

ADDRESS = Address("key-of-bob", "wechat", "qq")
NOWHERE = Address("", "wechat", "qq")
WHOLE = {
    "message_info": {"platform": "telegram", "message_id": "m1", "time": 1.5},
    "message_segment": {"type": "text", "data": "hello"},
    "message_dim": {"api_key": "key-of-carol", "platform": "irc"},
}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
names = st.sampled_from(["message_info", "message_segment", "message_dim", "message", "custom", "payload", "type"])


def parsed(value: object, address: Address = ADDRESS) -> APIMessageBase | CustomMessage:
    return parse(json.dumps(value), address)


def can_be_sent(line: str, *, plain: bool = False) -> bool:
    """Whether `line` is something to send; that it cannot be is the only exception there may be."""
    try:
        return isinstance(parse(line, ADDRESS, plain=plain), APIMessageBase | CustomMessage)
    except InvalidMessage:
        return False


def test_text_becomes_a_message_from_and_for_whom_the_options_name():
    message = parse("你好 {bob}", ADDRESS)
    assert isinstance(message, APIMessageBase)
    assert message.message_segment == Seg("text", "你好 {bob}")
    assert message.message_info.platform == "qq"
    assert (message.message_dim.api_key, message.message_dim.platform) == ("key-of-bob", "wechat")


def test_every_text_has_an_id_of_its_own():
    ids = {parse("again", ADDRESS).message_info.message_id for _ in range(10)}
    assert len(ids) == 10


def test_a_whole_message_goes_as_it_is():
    message = parsed(WHOLE)
    assert isinstance(message, APIMessageBase)
    assert message.to_dict() == WHOLE


def test_what_a_message_lacks_is_filled_in():
    message = parsed({"message_segment": {"type": "image", "data": "QUJD"}, "message_info": {"message_id": 7}})
    assert isinstance(message, APIMessageBase)
    assert message.message_segment == Seg("image", "QUJD")
    assert (message.message_info.message_id, message.message_info.platform) == ("7", "qq")
    assert (message.message_dim.api_key, message.message_dim.platform) == ("key-of-bob", "wechat")


def test_what_listen_prints_can_be_sent_on_to_somebody_else():
    received = {name: value for name, value in WHOLE.items() if name != "message_dim"}
    message = parsed({"message": received, "from": "server", "msg_id": "msg_1", "timestamp": 1.5})
    assert isinstance(message, APIMessageBase)
    assert message.to_dict() == {**received, "message_dim": {"api_key": "key-of-bob", "platform": "wechat"}}
    assert parsed({"custom": "custom_status", "payload": {"a": 1}, "from": "server"}) == CustomMessage(
        "custom_status", {"a": 1}
    )


def test_a_custom_message_gets_its_prefix_and_may_be_empty():
    assert parsed({"custom": "status", "payload": {"busy": True}}) == CustomMessage("custom_status", {"busy": True})
    assert parsed({"custom": "ping"}) == CustomMessage("custom_ping", {})


def test_plain_takes_json_for_text():
    message = parse('{"custom": "status"}', ADDRESS, plain=True)
    assert isinstance(message, APIMessageBase)
    assert message.message_segment.data == '{"custom": "status"}'


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"text": "hello"}, "neither a message"),
        ({"message": "hello"}, "neither a message"),
        ({"custom": "status", "payload": [1]}, "payload of a custom message must be an object"),
        ({"custom": ""}, "."),
        ({"custom": 5}, "."),
        ({**WHOLE, "message_info": 5}, r"`\$\.message_info`"),
        ({**WHOLE, "message_segment": {"type": "text"}}, r"missing required field `data` - at `\$\.message_segment`"),
        ({**WHOLE, "message_dim": {"api_key": ""}}, "whom is it for"),
    ],
)
def test_what_is_wrong_is_said(value, problem):
    with pytest.raises(InvalidMessage, match=problem):
        parsed(value)


def test_broken_json_is_not_sent_as_text():
    with pytest.raises(InvalidMessage, match="not valid JSON"):
        parse('{"message_segment": ', ADDRESS)


def test_without_a_receiver_nothing_can_be_sent_but_what_names_one():
    for line in ("hello", '{"message_segment": {"type": "text", "data": "hello"}}'):
        with pytest.raises(InvalidMessage, match="whom is it for"):
            parse(line, NOWHERE)
    assert isinstance(parsed(WHOLE, NOWHERE), APIMessageBase)


@given(st.text(), st.booleans())
def test_any_line_is_something_to_send_or_a_complaint(line, plain):
    assert can_be_sent(line, plain=plain) or (not plain and line.lstrip().startswith("{"))


@given(st.dictionaries(names, json_values))
def test_any_object_is_something_to_send_or_a_complaint(value):
    if can_be_sent(json.dumps(value)):
        assert "custom" in value or "message_segment" in value or "message" in value


def test_an_address_does_not_show_its_key():
    assert "key-of-bob" not in repr(ADDRESS)
