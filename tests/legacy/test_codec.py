"""The legacy wire: objects to frames and back, and which of them are custom messages."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maim_trio._legacy.codec import custom_message, decode, encode, type_of
from maim_trio._wire.envelope import FrameError
from maim_trio.errors import InvalidMessage

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), JSON))
def test_what_is_encoded_is_decoded_as_it_was(message):
    assert decode(encode(message)) == message
    assert json.loads(encode(message)) == message


@given(st.binary())
def test_whatever_the_bytes_are_there_is_an_object_or_one_kind_of_error(data):
    try:
        outcome = decode(data)
    except FrameError as error:
        outcome = error
    assert isinstance(outcome, dict) or outcome.code in ("invalid_json", "invalid_envelope", "too_deep")


@pytest.mark.parametrize(
    ("frame", "code", "words"),
    [
        (b"", "invalid_json", "truncated"),
        (b"{", "invalid_json", "truncated"),
        (b'{"a": NaN}', "invalid_json", "malformed"),
        (b'{"a": "\xff"}', "invalid_json", "UTF-8"),
        (b"[]", "invalid_envelope", "Expected `object`, got `array`"),
        (b'"text"', "invalid_envelope", "Expected `object`, got `str`"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too_deep", "Nested too deep"),
    ],
)
def test_an_unreadable_frame_is_named(frame, code, words):
    with pytest.raises(FrameError) as caught:
        decode(frame)
    assert caught.value.code == code
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"a": float("nan")}, "`$.a`"),
        ({"a": {1: 2}}, "as key, got `int` - at `$.a`"),
        ({"a": "\ud800"}, "surrogate is not Unicode - at `$.a`"),
        ({"a": b"bytes"}, "got `bytes` - at `$.a`"),
        ([], "Expected `object`, got `array` - at `$`"),
        ("text", "Expected `object`, got `str` - at `$`"),
    ],
)
def test_what_json_cannot_hold_is_not_sent(message, words):
    with pytest.raises(InvalidMessage) as caught:
        encode(message)
    assert words in str(caught.value)


def test_tuples_leave_as_lists_and_the_message_stays_as_it_was():
    message = {"a": (1, 2)}
    assert encode(message) == b'{"a":[1,2]}'
    assert message == {"a": (1, 2)}


def test_a_custom_message_has_the_five_members_of_the_wire():
    content = {"x": 1}
    assert custom_message("qq", "poke", content, 12.5) == {
        "platform": "qq",
        "message_type_name": "poke",
        "content": {"x": 1},
        "timestamp": 12.5,
        "is_custom_message": True,
    }


@pytest.mark.parametrize(("name", "content"), [("", {}), (None, {}), ("poke", []), ("poke", None)])
def test_a_custom_message_needs_a_type_and_an_object(name, content):
    with pytest.raises(InvalidMessage):
        custom_message("qq", name, content, 0.0)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ({"is_custom_message": True, "message_type_name": "poke"}, "poke"),
        ({"is_custom_message": True, "message_type_name": "unknown"}, "unknown"),
        ({"is_custom_message": True}, ""),
        ({"is_custom_message": True, "message_type_name": ["poke"]}, ""),
        ({"message_type_name": "poke"}, "poke"),  # as older programs send it
        ({"message_type_name": "unknown"}, None),
        ({"message_type_name": {}}, None),
        ({"is_custom_message": False, "message_type_name": "unknown"}, None),
        ({"message_info": {}}, None),
    ],
)
def test_a_message_is_custom_by_its_flag_or_by_a_type_that_is_known(message, kind):
    assert type_of(message, {"poke": []}) == kind
