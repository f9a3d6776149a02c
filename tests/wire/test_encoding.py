from __future__ import annotations

import copy
import datetime
import enum
import json
import uuid
from collections import OrderedDict
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maim_trio._wire.encoding import (
    AckWriter,
    Meta,
    custom_type,
    encode_ack,
    encode_custom,
    encode_error,
    encode_standard,
)
from maim_trio._wire.ids import AckIds
from maim_trio.errors import InvalidMessage
from maim_trio.message import APIMessageBase, BaseMessageInfo, MessageDim, Seg, SenderInfo, UserInfo
from tests.wire.frames import MSG_ID, json_objects, payload

META = {"sender_user": "server", "target_user": "u1", "platform": "qq", "timestamp": 1703123456.789}


def message(data: Any = "hi", kind: str = "text", **info: Any) -> APIMessageBase:
    head = BaseMessageInfo("qq", "m-1", 1703123456.789, **info)
    return APIMessageBase(head, Seg(kind, data), MessageDim("key", "qq"))


def custom(payload: Any, **changes: Any) -> bytes:
    return encode_custom(**{"type": "custom_x", "payload": payload, "msg_id": MSG_ID, "meta": META, **changes})


def strictly(data: bytes) -> Any:
    """What RFC 8259 makes of it, and nothing more generous."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} on the wire")

    value = json.loads(data.decode(), parse_constant=refuse)
    json.dumps(value, ensure_ascii=False).encode()
    return value


# --- standard messages -----------------------------------------------------------------------------------------


def test_a_standard_message_is_written_as_documented():
    data = encode_standard(message(), msg_id=MSG_ID, meta=META)
    assert data == (
        b'{"ver":1,"msg_id":"msg_3f0c1a2b4d5e_1703123456","type":"sys_std",'
        b'"meta":{"sender_user":"server","target_user":"u1","platform":"qq","timestamp":1703123456.789},'
        b'"payload":{"message_info":{"platform":"qq","message_id":"m-1","time":1703123456.789},'
        b'"message_segment":{"type":"text","data":"hi"},"message_dim":{"api_key":"key","platform":"qq"}}}'
    )


def test_text_is_utf_8_without_escapes():
    assert "你好😀".encode() in encode_standard(message("你好😀"), msg_id=MSG_ID, meta={"platform": "平台"})


def test_the_whole_payload_is_what_the_message_says():
    whole = APIMessageBase.from_dict(payload())
    assert strictly(encode_standard(whole, msg_id=MSG_ID, meta={}))["payload"] == payload()


def test_a_platform_left_out_is_written_and_the_message_stays_as_it_is():
    original = message(sender_info=SenderInfo(user_info=UserInfo(user_id="u1")))
    before = copy.deepcopy(original)
    written = strictly(encode_standard(original, msg_id=MSG_ID, meta=META))
    assert written["payload"]["message_info"]["sender_info"]["user_info"] == {"platform": "qq", "user_id": "u1"}
    assert original == before


def cyclic_list() -> list[Any]:
    cycle: list[Any] = []
    cycle.append(cycle)
    return cycle


def cyclic_seglist() -> Seg:
    cycle = Seg("seglist", [])
    cycle.data.append(cycle)
    return cycle


class Colour(enum.Enum):
    RED = "red"


NOT_JSON = {
    "nan": float("nan"),
    "infinity": float("inf"),
    "minus infinity": float("-inf"),
    "surrogate": "a\ud800b",
    "bytes": b"raw",
    "set": {1},
    "date": datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
    "uuid": uuid.UUID(int=1),
    "enum": Colour.RED,
    "complex": 1j,
    "object": object(),
    "function": len,
    "integer keys": {1: "a"},
    "surrogate key": {"\udfff": 1},
    "endless integer": 10**5000,
    "cycle": cyclic_list(),
}


@pytest.mark.parametrize("value", NOT_JSON.values(), ids=NOT_JSON.keys())
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_what_json_cannot_carry_is_refused_wherever_it_is(value: object, depth: int):
    for _ in range(depth):
        value = {"a": [1, value]}
    with pytest.raises(InvalidMessage, match=r"at `\$"):
        encode_standard(message(value, "data"), msg_id=MSG_ID, meta=META)
    with pytest.raises(InvalidMessage, match=r"at `\$"):
        encode_standard(message(additional_config={"a": value}), msg_id=MSG_ID, meta=META)
    with pytest.raises(InvalidMessage, match=r"at `\$.meta"):
        encode_standard(message(), msg_id=MSG_ID, meta={**META, "a": value})
    with pytest.raises(InvalidMessage, match=r"at `\$.payload"):
        custom({"a": value})
    with pytest.raises(InvalidMessage, match=r"at `\$.meta"):
        custom({}, meta={**META, "a": value})


@pytest.mark.parametrize(
    "bad",
    [
        message(b"raw"),
        message("x", 7),  # type: ignore[arg-type]
        message("x", "\ud800"),
        message([Seg("text", "\ud800")], "seglist"),
        message([Seg("text", float("nan"))], "seglist"),
        message("not a list", "seglist"),
        message([7], "seglist"),
        message(cyclic_seglist().data, "seglist"),
        APIMessageBase(BaseMessageInfo("qq", "m", float("nan")), Seg("text", ""), MessageDim("k", "p")),
        APIMessageBase(BaseMessageInfo("qq", "m", "now"), Seg("text", ""), MessageDim("k", "p")),  # type: ignore[arg-type]
        APIMessageBase(BaseMessageInfo("qq", "m", 1.0), Seg("text", ""), None),  # type: ignore[arg-type]
        APIMessageBase(BaseMessageInfo("qq\ud800", "m", 1.0), Seg("text", ""), MessageDim("k", "p")),
        message(sender_info=SenderInfo(user_info=UserInfo())),
    ],
)
def test_a_message_that_does_not_fit_the_schema_is_refused_with_the_place(bad: APIMessageBase):
    with pytest.raises(InvalidMessage, match=r"at `\$"):
        encode_standard(bad, msg_id=MSG_ID, meta=META)


def test_an_id_that_is_no_unicode_is_refused():
    with pytest.raises(InvalidMessage):
        encode_standard(message(), msg_id="\ud800", meta=META)
    with pytest.raises(InvalidMessage):
        custom({}, msg_id="\ud800")


@pytest.mark.parametrize("bad", [None, "text", {}, Seg("text", ""), message().to_dict()])
def test_what_is_no_message_is_refused(bad: Any):
    with pytest.raises(InvalidMessage, match="Expected `APIMessageBase`"):
        encode_standard(bad, msg_id=MSG_ID, meta=META)


def test_nesting_beyond_the_interpreters_depth_is_refused_as_too_deep():
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidMessage) as caught:
        encode_standard(message(deep, "data"), msg_id=MSG_ID, meta=META)
    assert caught.value.code == "too_deep"
    with pytest.raises(InvalidMessage) as caught:
        custom({"a": deep})
    assert caught.value.code == "too_deep"


def test_a_key_appears_in_no_error_text():
    secret = "sk-secret-0123456789"
    whole = message(float("nan"), "data")
    whole.set_message_dim(secret, "qq")
    with pytest.raises(InvalidMessage) as caught:
        encode_standard(whole, msg_id=MSG_ID, meta={"sender_user": secret})
    assert secret not in str(caught.value)
    with pytest.raises(InvalidMessage) as caught:
        encode_standard(message(), msg_id=MSG_ID, meta={"sender_user": secret + "\ud800"})
    assert secret not in str(caught.value)


# --- custom messages -------------------------------------------------------------------------------------------


def test_a_custom_message_is_written_as_documented():
    data = encode_custom("ping", {"n": [1, None]}, msg_id="custom_1", meta={"platform": "qq"})
    assert data == (
        b'{"ver":1,"msg_id":"custom_1","type":"custom_ping","meta":{"platform":"qq"},"payload":{"n":[1,null]}}'
    )


def test_a_custom_message_may_go_without_an_id():
    assert encode_custom("x", {}, msg_id=None, meta={}) == b'{"ver":1,"type":"custom_x","meta":{},"payload":{}}'


@pytest.mark.parametrize("mapping", [OrderedDict(a=(1, 2)), MappingProxyType({"a": (1, 2)})])
def test_any_mapping_is_a_payload_and_tuples_are_lists(mapping: Any):
    assert strictly(custom(mapping))["payload"] == {"a": [1, 2]}


@pytest.mark.parametrize("bad", [None, [], "x", 7, [("a", 1)]])
def test_a_payload_that_is_no_object_is_refused(bad: Any):
    with pytest.raises(InvalidMessage, match=r"Expected `object`, got .* - at `\$.payload`"):
        custom(bad)


@pytest.mark.parametrize("bad", ["", "custom_", None, 7, b"x", ["x"]])
def test_a_custom_message_needs_a_name(bad: Any):
    with pytest.raises(InvalidMessage, match="non-empty string"):
        custom({}, type=bad)
    with pytest.raises(ValueError, match="non-empty string"):
        custom_type(bad)


def test_a_name_with_a_lone_surrogate_is_refused():
    with pytest.raises(InvalidMessage, match=r"surrogate.*`\$.type`"):
        custom({}, type="x\ud800")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("x", "custom_x"), ("custom_x", "custom_x"), ("custom_custom_x", "custom_custom_x"), ("custom", "custom_custom")],
)
def test_the_prefix_is_added_where_it_is_missing(name: str, expected: str):
    assert custom_type(name) == expected
    assert custom_type(custom_type(name)) == expected


@given(json_objects)
def test_any_json_object_is_a_payload(value: dict[str, Any]):
    assert strictly(custom(value))["payload"] == value


# --- acks and errors -------------------------------------------------------------------------------------------


def test_an_ack_is_written_as_documented():
    data = encode_ack(msg_id="a-1", connection_uuid="c-1", acked_msg_id=MSG_ID, now=1703123456.5)
    assert data == (
        b'{"ver":1,"msg_id":"a-1","type":"sys_ack",'
        b'"meta":{"uuid":"c-1","acked_msg_id":"msg_3f0c1a2b4d5e_1703123456","timestamp":1703123456.5},'
        b'"payload":{"status":"received","server_timestamp":1703123456.5}}'
    )


def test_a_client_writes_its_own_time_into_an_ack():
    data = encode_ack(msg_id="a-1", connection_uuid="c-1", acked_msg_id="x", now=1.0, by_client=True)
    assert strictly(data)["payload"] == {"status": "received", "client_timestamp": 1.0}


@given(st.text(), st.text())
def test_ids_of_any_text_are_escaped_in_acks(connection_uuid: str, acked: str):
    meta = strictly(encode_ack(msg_id="a", connection_uuid=connection_uuid, acked_msg_id=acked, now=1.0))["meta"]
    assert meta == {"uuid": connection_uuid, "acked_msg_id": acked, "timestamp": 1.0}


def test_an_ack_of_a_lone_surrogate_is_refused():
    with pytest.raises(InvalidMessage):
        encode_ack(msg_id="a", connection_uuid="c", acked_msg_id="\ud800", now=1.0)


@given(st.text(), st.text(), st.booleans(), st.integers(0, 2**122 - 1))
def test_the_acks_of_a_connection_are_the_same_with_ids_of_their_own(
    connection_uuid: str, acked: str, by_client: bool, random: int
):
    writer, ids = AckWriter(AckIds(random), connection_uuid, by_client=by_client), AckIds(random)
    for now in (1.0, 1703123456.789, 1.7976931348623157e308):
        expected = encode_ack(
            msg_id=ids.next(), connection_uuid=connection_uuid, acked_msg_id=acked, now=now, by_client=by_client
        )
        assert writer.write(acked, now) == expected


def test_the_acks_of_all_connections_count_together():
    ids = AckIds(2**48 - 2)
    writers = [AckWriter(ids, "c-1"), AckWriter(ids, "c-2")]
    written = {strictly(writer.write("m", 1.0))["msg_id"] for writer in writers * 20}
    assert len(written) == 40
    assert all(str(uuid.UUID(found)) == found for found in written)


def test_a_connection_refuses_to_ack_a_lone_surrogate():
    with pytest.raises(InvalidMessage):
        AckWriter(AckIds(1), "c").write("\ud800", 1.0)


def test_our_own_meta_is_written_like_any_other():
    meta = Meta(sender_user="server", target_user="u1", platform="qq", timestamp=1703123456.789)
    assert encode_standard(message(), msg_id=MSG_ID, meta=meta) == encode_standard(message(), msg_id=MSG_ID, meta=META)
    bare = Meta(sender_user="server", timestamp=1.0)
    assert strictly(encode_standard(message(), msg_id=MSG_ID, meta=bare))["meta"] == {
        "sender_user": "server",
        "timestamp": 1.0,
    }


@pytest.mark.parametrize("text", ["\ud800", "a\udfff"])
def test_our_own_meta_with_a_lone_surrogate_is_refused_with_its_place(text: str):
    with pytest.raises(InvalidMessage, match=r"\$\.meta\.target_user"):
        encode_standard(message(), msg_id=MSG_ID, meta=Meta(sender_user="server", target_user=text, timestamp=1.0))


def test_an_error_is_written_as_documented():
    problem = "Object missing required field `message_segment` - at `$.payload`"
    data = encode_error(code="invalid_payload", message=problem, connection_uuid="c-1", failed_msg_id="m", now=1.0)
    assert data == (
        b'{"ver":1,"type":"sys_error","meta":{"uuid":"c-1","failed_msg_id":"m","timestamp":1.0},'
        b'"payload":{"code":"invalid_payload","message":'
        b'"Object missing required field `message_segment` - at `$.payload`"}}'
    )


def test_an_error_about_nothing_in_particular_names_no_id():
    data = encode_error(code="invalid_json", message="no", connection_uuid="c-1", failed_msg_id=None, now=1.0)
    assert strictly(data)["meta"] == {"uuid": "c-1", "timestamp": 1.0}


def test_an_error_never_fails_over_its_texts():
    bad = "\ud800"
    data = encode_error(code=bad, message=bad * 10_000, connection_uuid=bad, failed_msg_id=bad, now=1.0)
    assert strictly(data)["payload"]["message"] == "?" * 300
