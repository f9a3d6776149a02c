from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from maim_trio._wire.decoding import decode
from maim_trio._wire.envelope import Ack, Bare, Custom, FrameError, Ignored, PeerError, Standard
from maim_trio.message import APIMessageBase, Seg
from tests.wire.frames import (
    ACK,
    BARE,
    CUSTOM,
    ERROR,
    MSG_ID,
    damaged_envelopes,
    damaged_frames,
    dump,
    envelope,
    frame,
    json_values,
    payload,
)

CODES = {"invalid_json", "invalid_envelope", "unsupported_version", "unknown_type", "invalid_payload", "too_deep"}


def refused(data: bytes) -> FrameError:
    with pytest.raises(FrameError) as caught:
        decode(data)
    return caught.value


def standard(**changes: Any) -> Standard:
    decoded = decode(frame(**changes))
    assert type(decoded) is Standard
    return decoded


def nested(depth: int, kind: str = "seglist") -> dict[str, Any]:
    segment: dict[str, Any] = {"type": "text", "data": "deep"}
    for _ in range(depth):
        segment = {"type": kind, "data": [segment]}
    return segment


# --- standard messages -----------------------------------------------------------------------------------------


def test_a_standard_message_is_decoded_with_its_envelope():
    decoded = standard(meta={"sender_user": "k", "unknown": [1]})
    assert decoded.message == APIMessageBase.from_dict(payload())
    assert decoded.msg_id == MSG_ID
    assert decoded.meta == {"sender_user": "k", "unknown": [1]}
    assert decoded.bare is False


def test_nested_segments_are_segments():
    outer = standard().message.message_segment
    assert outer.data[1] == Seg("seglist", [Seg("image", "aGk=")])


@pytest.mark.parametrize("order", [["type", "payload", "meta", "msg_id", "ver"], ["payload", "ver", "type"]])
def test_the_order_of_members_does_not_matter(order: list[str]):
    whole = envelope()
    decoded = decode(dump({name: whole[name] for name in order}))
    assert isinstance(decoded, Standard)
    assert decoded.message.message_info.message_id == "m-1"


@pytest.mark.parametrize("absent", [None, ...])
def test_version_id_and_meta_may_be_absent_or_null(absent: object):
    decoded = standard(ver=absent, msg_id=absent, meta=absent)
    assert (decoded.msg_id, decoded.meta) == (None, {})


def test_messages_do_not_share_their_meta():
    standard(meta=...).meta["mine"] = 1
    assert standard(meta=...).meta == {}


def test_unknown_members_are_ignored_everywhere():
    decoded = standard(payload=payload(more=1), extra={"a": [1, 2]}, bare=True)
    assert decoded.message == standard().message
    assert decoded.bare is False


def test_integers_as_identifiers_and_nulls_for_optional_fields_are_taken():
    info = {
        "platform": "qq",
        "message_id": 7,
        "time": 1,
        "sender_info": {"user_info": {"platform": "qq", "user_id": 2**70, "user_nickname": None}, "group_info": None},
        "template_info": None,
    }
    decoded = standard(payload=payload(message_info=info))
    assert decoded.message.message_info.message_id == "7"
    assert decoded.message.message_info.sender_info.user_info.user_id == str(2**70)
    assert decoded.message.message_info.template_info is None
    assert decoded.msg_id == MSG_ID


@pytest.mark.parametrize(
    "data", ["", 1, -(2**63), 10**40, 1.5, 5e-324, True, None, [], {}, [{"a": [None]}], "\U0001f600\x00"]
)
def test_the_data_of_other_segments_is_any_json_value_unchanged(data: object):
    decoded = standard(payload=payload(message_segment={"type": "x", "data": data}))
    assert decoded.message.message_segment.data == data
    assert type(decoded.message.message_segment.data) is type(data)


def test_white_space_around_json_is_json():
    assert decode(b" \r\n\t" + frame() + b"\n ") == decode(frame())


def test_of_doubled_members_the_last_counts():
    doubled = frame()[:-1] + b', "msg_id": "last"}'
    assert decode(doubled).msg_id == "last"
    assert decode(frame()[:-1] + b', "type": "sys_future"}') == Ignored("sys_future")


# --- without an envelope ---------------------------------------------------------------------------------------


def test_a_payload_without_an_envelope_is_a_message_without_an_id():
    decoded = decode(BARE)
    assert type(decoded) is Bare
    assert isinstance(decoded, Standard)
    assert decoded.message == APIMessageBase.from_dict(payload())
    assert (decoded.bare, decoded.msg_id, decoded.meta) == (True, None, {})


def test_members_of_an_envelope_mean_nothing_in_a_bare_payload():
    decoded = decode(dump(payload(msg_id=7, ver=2, meta=[], type=None)))
    assert (decoded.bare, decoded.msg_id, decoded.meta) == (True, None, {})


def test_what_is_wrong_in_a_bare_payload_is_named_from_its_own_root():
    error = refused(dump(payload(message_dim={"api_key": "k"})))
    assert (error.code, error.msg_id) == ("invalid_payload", None)
    assert error.message == "Object missing required field `platform` - at `$.message_dim`"


@pytest.mark.parametrize("member", ["message_info", "message_segment"])
def test_an_object_that_is_neither_envelope_nor_payload_lacks_its_type(member: str):
    half = payload()
    del half[member]
    error = refused(dump(half))
    assert error.code == "invalid_envelope"
    assert error.message == "Object missing required field `type` - at `$`"


# --- acks, custom messages, errors, the rest -------------------------------------------------------------------


def test_an_ack_names_what_it_acknowledges():
    assert decode(ACK) == Ack(MSG_ID)


def test_an_ack_needs_nothing_but_that_name():
    assert decode(b'{"type":"sys_ack","meta":{"acked_msg_id":"x"},"payload":[]}') == Ack("x")
    assert decode(b'{"ver":null,"type":"sys_ack","meta":{"acked_msg_id":"x"}}') == Ack("x")


@pytest.mark.parametrize(
    "meta", [..., None, {}, {"acked_msg_id": None}, {"acked_msg_id": 7}, {"acked_msg_id": ["x"]}, []]
)
def test_an_ack_of_nothing_is_an_error(meta: object):
    error = refused(frame(type="sys_ack", meta=meta))
    assert (error.code, error.msg_id) == ("invalid_envelope", MSG_ID)
    assert "`$.meta" in error.message


def test_a_custom_message_keeps_its_payload_and_meta():
    decoded = decode(CUSTOM)
    assert decoded == Custom(
        type="custom_ping", payload={"n": 1, "deep": [[{"a": None}]]}, msg_id=MSG_ID, meta={"platform": "qq"}
    )


@pytest.mark.parametrize("absent", [None, ...])
def test_a_custom_message_needs_only_type_and_payload(absent: object):
    decoded = decode(frame(type="custom_x", payload={}, ver=absent, msg_id=absent, meta=absent))
    assert decoded == Custom(type="custom_x", payload={})


def test_an_error_of_the_peer_is_read():
    assert decode(ERROR) == PeerError("invalid_payload", "no", MSG_ID)


@pytest.mark.parametrize(
    "rest",
    [
        {},
        {"ver": 99, "msg_id": 7},
        {"meta": [], "payload": "x"},
        {"meta": {"failed_msg_id": 1}, "payload": {"code": 1, "message": None}},
    ],
)
def test_an_error_is_never_answered_with_an_error(rest: dict[str, Any]):
    assert decode(dump({"type": "sys_error", **rest})) == PeerError("", "", None)


def test_an_error_of_the_peer_is_bounded():
    long = {"meta": {"failed_msg_id": "i" * 257}, "payload": {"code": "c" * 10**6, "message": "m" * 10**6}}
    assert decode(dump({"type": "sys_error", **long})) == PeerError("c" * 300, "m" * 300, None)


def test_an_error_of_the_peer_cannot_forge_log_lines():
    decoded = decode(dump({"type": "sys_error", "payload": {"code": "a\nb", "message": "\r\n\x1bINFO fine"}}))
    assert decoded == PeerError("a b", "INFO fine", None)


def test_a_later_protocols_system_type_is_ignored_whatever_it_holds():
    assert decode(frame(type="sys_future", payload=[1], meta=7, msg_id={})) == Ignored("sys_future")


# --- what cannot be taken --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"ver": 2}, "unsupported_version", "Only version 1 is spoken here - at `$.ver`"),
        ({"ver": 0}, "unsupported_version", "Only version 1 is spoken here - at `$.ver`"),
        ({"ver": 10**30}, "unsupported_version", "Only version 1 is spoken here - at `$.ver`"),
        ({"ver": 2, "type": "sys_future"}, "unsupported_version", "Only version 1 is spoken here - at `$.ver`"),
        ({"ver": "1"}, "invalid_envelope", "Expected `int`, got `str` - at `$.ver`"),
        ({"ver": True}, "invalid_envelope", "Expected `int`, got `bool` - at `$.ver`"),
        ({"ver": 1.0}, "invalid_envelope", "Expected `int`, got `float` - at `$.ver`"),
        ({"ver": [1]}, "invalid_envelope", "Expected `int`, got `array` - at `$.ver`"),
        ({"type": ...}, "invalid_envelope", "Object missing required field `type` - at `$`"),
        ({"type": None}, "invalid_envelope", "Object missing required field `type` - at `$`"),
        ({"type": 5}, "invalid_envelope", "Expected `str`, got `int` - at `$.type`"),
        ({"type": ["sys_std"]}, "invalid_envelope", "Expected `str`, got `array` - at `$.type`"),
        ({"type": "message"}, "unknown_type", "Unknown type 'message' - at `$.type`"),
        ({"type": ""}, "unknown_type", "Unknown type '' - at `$.type`"),
        ({"type": "custom_"}, "unknown_type", "Unknown type 'custom_' - at `$.type`"),
        ({"type": "Custom_x"}, "unknown_type", "Unknown type 'Custom_x' - at `$.type`"),
        ({"meta": []}, "invalid_envelope", "Expected `object`, got `array` - at `$.meta`"),
        ({"meta": "x"}, "invalid_envelope", "Expected `object`, got `str` - at `$.meta`"),
        ({"payload": ...}, "invalid_payload", "Object missing required field `payload` - at `$`"),
        ({"payload": None}, "invalid_payload", "Object missing required field `payload` - at `$`"),
        ({"payload": []}, "invalid_payload", "Expected `object`, got `array` - at `$.payload`"),
        ({"payload": "{}"}, "invalid_payload", "Expected `object`, got `str` - at `$.payload`"),
        ({"type": "custom_x", "payload": [1]}, "invalid_payload", "Expected `object`, got `array` - at `$.payload`"),
        ({"type": "custom_x", "payload": ...}, "invalid_payload", "Object missing required field `payload` - at `$`"),
    ],
)
def test_an_error_of_the_frame_has_its_code_and_its_place(changes: dict[str, Any], code: str, message: str):
    error = refused(frame(**changes))
    assert (error.code, error.message, error.msg_id) == (code, message, MSG_ID)


@pytest.mark.parametrize("msg_id", [7, 1.5, True, [], {}, ["a"]])
@pytest.mark.parametrize("kind", ["sys_std", "sys_ack", "custom_x"])
def test_an_id_of_a_wrong_type_is_an_error_of_the_frame(msg_id: object, kind: str):
    error = refused(frame(type=kind, msg_id=msg_id))
    assert (error.code, error.msg_id) == ("invalid_envelope", None)
    assert error.message.startswith("Expected `str`, got ")
    assert error.message.endswith("- at `$.msg_id`")


def test_an_endless_id_is_an_error_of_the_frame_and_is_not_echoed():
    assert standard(msg_id="i" * 256).msg_id == "i" * 256
    for kind in ("sys_std", "sys_ack", "custom_x"):
        error = refused(frame(type=kind, msg_id="i" * 257))
        assert (error.code, error.msg_id) == ("invalid_envelope", None)


def remove(message: dict[str, Any], path: str) -> dict[str, Any]:
    *outer, last = path.split(".")
    target = message
    for name in outer:
        target = target[name]
    del target[last]
    return message


@pytest.mark.parametrize(
    "path",
    [
        "message_info",
        "message_segment",
        "message_dim",
        "message_info.platform",
        "message_info.message_id",
        "message_info.time",
        "message_segment.type",
        "message_segment.data",
        "message_dim.api_key",
        "message_dim.platform",
        "message_info.sender_info.user_info.user_id",
        "message_info.sender_info.user_info.platform",
        "message_info.sender_info.group_info.group_id",
    ],
)
def test_a_missing_required_field_is_named_with_its_place(path: str):
    outer, _, name = f"$.payload.{path}".rpartition(".")
    error = refused(frame(payload=remove(payload(), path)))
    assert error.message == f"Object missing required field `{name}` - at `{outer}`"
    assert (error.code, error.msg_id) == ("invalid_payload", MSG_ID)


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"message_info": []}, "`$.payload.message_info`"),
        ({"message_info": {"platform": "q", "message_id": "1", "time": "now"}}, "`$.payload.message_info.time`"),
        ({"message_segment": "hello"}, "`$.payload.message_segment`"),
        ({"message_segment": {"type": 1, "data": ""}}, "`$.payload.message_segment.type`"),
        ({"message_segment": {"type": "seglist", "data": "x"}}, "`$.payload.message_segment.data`"),
        ({"message_segment": {"type": "seglist", "data": [{"type": "text"}]}}, "`$.payload.message_segment.data[0]`"),
        ({"message_dim": {"api_key": None, "platform": "q"}}, "`$.payload.message_dim.api_key`"),
        ({"message_dim": {"api_key": ["secret-key"], "platform": "q"}}, "`$.payload.message_dim.api_key`"),
    ],
)
def test_a_wrong_type_is_named_with_its_place_but_not_its_value(changes: dict[str, Any], place: str):
    error = refused(frame(payload=payload(**changes)))
    assert (error.code, error.msg_id) == ("invalid_payload", MSG_ID)
    assert place in error.message
    assert "secret-key" not in str(error)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"  \n",
        b"\xef\xbb\xbf" + frame(),
        b"\xff\xfe\x00\x01",
        b"hello",
        b"{",
        frame()[:-1],
        frame() + b"x",
        frame() + frame(),
        frame().replace(b'"m-1"', b'"\xff"'),
        frame().replace(b'"m-1"', b'"\xed\xa0\x80"'),
        frame().replace(b'"m-1"', b'"a\nb"'),
        frame().replace(b'"m-1"', b'"\\x41"'),
        frame().replace(b"0.5", b"NaN"),
        frame().replace(b"0.5", b"Infinity"),
        frame().replace(b"0.5", b"-Infinity"),
        frame().replace(b"0.5", b"01"),
        frame().replace(b'"ver": 1', b'"ver": 1, "unknown": NaN'),
        frame().decode().encode("utf-16"),
        b"'" + frame() + b"'",
    ],
)
def test_what_is_no_json_is_refused(data: bytes):
    assert refused(data).code == "invalid_json"


@pytest.mark.parametrize(
    "escape", [r"\ud800", r"\ud800x", r"\udc00", r"\udfff\ud800", r"\ud800\ud800", r"\ud83d\u0041"]
)
@pytest.mark.parametrize("kind", ["sys_std", "custom_x"])
def test_a_lone_surrogate_is_refused_and_named(escape: str, kind: str):
    error = refused(frame(type=kind).replace(b'"m-1"', f'"{escape}"'.encode()))
    assert (error.code, error.msg_id) == ("invalid_json", MSG_ID)
    assert "surrogate" in error.message


def test_a_pair_of_surrogates_is_one_character():
    decoded = decode(frame().replace(b'"m-1"', rb'"\ud83d\ude00"'))
    assert decoded.message.message_info.message_id == "😀"


@pytest.mark.parametrize("data", [b"[]", b"null", b"1", b'"sys_std"', b"true", b"[" * 100 + b"]" * 100])
def test_json_that_is_no_object_is_refused(data: bytes):
    error = refused(data)
    assert error.code == "invalid_envelope"
    assert error.message.startswith("Expected `object`, got ")


@pytest.mark.parametrize("number", [b"1e400", b"-1e999", b"1" * 5000, b"-" + b"9" * 10_000])
def test_a_number_beyond_all_bounds_is_refused_where_it_stands(number: bytes):
    in_data = frame(payload=payload(message_segment={"type": "n", "data": "#"})).replace(b'"#"', number)
    error = refused(in_data)
    assert (error.code, error.msg_id) == ("invalid_payload", MSG_ID)
    assert "out of range - at `$.payload.message_segment.data`" in error.message
    assert refused(frame(type="custom_x", payload={"n": "#"}).replace(b'"#"', number)).code == "invalid_payload"
    assert refused(frame(meta={"n": "#"}).replace(b'"#"', number)).code == "invalid_envelope"
    assert refused(frame(ver="#").replace(b'"#"', number)).code == "invalid_envelope"
    assert refused(number).code == "invalid_json"


def test_seglists_are_nested_64_deep_and_no_deeper():
    assert isinstance(standard(payload=payload(message_segment=nested(64))).message.message_segment.data[0], Seg)
    error = refused(frame(payload=payload(message_segment=nested(65))))
    assert (error.code, error.msg_id) == ("too_deep", MSG_ID)
    assert len(error.message) <= 300


DEEP = 100_000


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"type":"seglist","data":['])
@pytest.mark.parametrize("kind", [b"sys_std", b"sys_ack", b"sys_error", b"sys_future", b"custom_x"])
def test_bottomless_nesting_is_refused_with_the_id(opening: bytes, kind: bytes):
    head = b'{"ver":1,"msg_id":"m7","type":"' + kind + b'","meta":{"acked_msg_id":"x"},"payload":'
    closing = {b"[": b"]", b'{"a":': b"}"}.get(opening, b"]}")
    error = refused(head + opening * DEEP + b"1" + closing * DEEP + b"}")
    assert (error.code, error.msg_id) == ("too_deep", "m7")
    unfinished = refused(head + opening * DEEP)
    assert unfinished.code in {"too_deep", "invalid_json"}


@pytest.mark.parametrize("depth", [10_000, 1_000_000])
def test_bottomless_nesting_without_an_envelope_is_refused(depth: int):
    for data in (
        b"[" * depth,
        b'{"a":' * depth,
        b'{"message_info":{},"message_segment":' + b"[" * depth + b"]" * depth + b"}",
    ):
        assert refused(data).code in {"too_deep", "invalid_json", "invalid_payload"}


@pytest.mark.parametrize(
    ("data", "msg_id"),
    [
        (b'{"msg_id":"a","x":NaN}', "a"),
        (b'{"ver":1,"msg_id":"a","x":', "a"),
        (b' {\n "ver" : 1 ,\n "msg_id" : "a" , oops', "a"),
        (rb'{"msg_id":"\u4f60\"\\","x":NaN}', '你"\\'),
        (rb'{"msg_id":"\ud800","x":NaN}', None),
        (b'{"msg_id":"\xff","x":NaN}', None),
        (b'{"msg_id":7,"x":NaN}', None),
        (b'{"payload":{"msg_id":"inner"},"x":NaN}', None),
        (b'[{"msg_id":"inner"},NaN]', None),
        (b'{"msg_id":"' + b"i" * 257 + b'","x":NaN}', None),
        (b"NaN", None),
    ],
)
def test_a_broken_frame_keeps_its_id_where_that_is_beyond_doubt(data: bytes, msg_id: str | None):
    error = refused(data)
    assert (error.code, error.msg_id) == ("invalid_json", msg_id)


def test_error_texts_are_bounded():
    for data in (
        frame(type="t" * 100_000),
        frame(payload=payload(message_segment=nested(70))),
        frame(type="custom_x", payload={"k" * 100_000: "#"}).replace(b'"#"', b"1e999"),
        frame(payload=payload(message_info={"k" * 100_000: 1})),
    ):
        assert len(refused(data).message) <= 300


# --- anything --------------------------------------------------------------------------------------------------


def outcome(data: bytes) -> Any:
    """What comes of a frame, so that two can be compared; any exception but FrameError fails the test."""
    try:
        return decode(data)
    except FrameError as caught:
        error = caught
    assert error.code in CODES
    assert 0 < len(error.message) <= 300
    assert error.msg_id is None or len(error.msg_id) <= 256
    return error.code, error.msg_id


@given(st.binary(max_size=200))
def test_any_bytes_give_an_envelope_or_a_frame_error(data: bytes):
    outcome(data)


@settings(max_examples=1500)
@given(damaged_frames())
def test_any_damaged_frame_gives_an_envelope_or_a_frame_error(data: bytes):
    outcome(data)


@settings(max_examples=600)
@given(damaged_envelopes())
@example(json.loads(BARE) | {"msg_id": 1})
def test_the_fast_way_and_the_lenient_way_agree(value: dict[str, Any]):
    fast = outcome(dump(value))
    if value.get("ver", 1) == 1 and type(value.get("ver", 1)) is int:
        # A null version means 1, as an absent one does, but the typed decode does not know that.
        assert fast == outcome(dump({**value, "ver": None}))


@given(json_values, st.sampled_from(["ver", "msg_id", "type", "meta", "payload"]))
def test_any_value_of_a_member_gives_an_envelope_or_a_frame_error(value: object, name: str):
    for kind in ("sys_std", "sys_ack", "sys_error", "custom_x"):
        outcome(frame(**{"type": kind, name: value}))


@given(st.dictionaries(st.sampled_from(["ver", "msg_id", "type", "meta", "payload", "message_info"]), json_values))
def test_any_object_gives_an_envelope_or_a_frame_error(value: dict[str, Any]):
    outcome(dump(value))
