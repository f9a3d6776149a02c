from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from maim_trio._wire import codec
from maim_trio._wire.codec import Ack, Custom, FrameError, PeerError, Standard
from maim_trio.message import APIMessageBase
from tests.wire.frames import MSG_ID, json_objects, json_values, payload

messages = st.builds(
    lambda kind, data, config, key: APIMessageBase.from_dict(
        payload(
            message_info={"platform": "qq", "message_id": "1", "time": 1.5, "additional_config": config},
            message_segment={"type": "seglist", "data": [{"type": kind, "data": data}]},
            message_dim={"api_key": key, "platform": key},
        )
    ),
    st.text().filter(lambda kind: kind != "seglist"),
    json_values,
    json_objects,
    st.text(),
)

printable = st.text(st.characters(min_codepoint=33, max_codepoint=0xFF).filter(str.isprintable), max_size=40)


@given(messages, json_objects, st.text(max_size=256))
def test_a_standard_message_arrives_as_it_was_sent(message: APIMessageBase, meta: dict[str, Any], msg_id: str):
    frame = codec.encode_standard(message, msg_id=msg_id, meta=meta)
    assert codec.decode(frame) == Standard(message=message, msg_id=msg_id, meta=meta)


@given(st.text(min_size=1), json_objects, json_objects, st.none() | st.text(max_size=256))
def test_a_custom_message_arrives_as_it_was_sent(
    name: str, payload: dict[str, Any], meta: dict[str, Any], msg_id: str | None
):
    frame = codec.encode_custom("custom_" + name, payload, msg_id=msg_id, meta=meta)
    assert codec.decode(frame) == Custom(type="custom_" + name, payload=payload, msg_id=msg_id, meta=meta)


@given(st.text(), st.booleans())
def test_an_ack_arrives_as_it_was_sent(acked: str, by_client: bool):
    frame = codec.encode_ack(msg_id="a", connection_uuid="c", acked_msg_id=acked, now=1.0, by_client=by_client)
    assert codec.decode(frame) == Ack(acked)


@given(printable, printable, st.none() | st.text(max_size=256))
def test_an_error_arrives_as_it_was_sent(code: str, message: str, failed: str | None):
    frame = codec.encode_error(code=code, message=message, connection_uuid="c", failed_msg_id=failed, now=1.0)
    assert codec.decode(frame) == PeerError(code, message, failed)


def test_a_refused_frame_is_answered_with_its_own_error():
    try:
        codec.decode(f'{{"ver":1,"msg_id":"{MSG_ID}","type":"sys_std","payload":{{}}}}'.encode())
    except FrameError as caught:
        error = caught
    answer = codec.encode_error(
        code=error.code, message=error.message, connection_uuid="c", failed_msg_id=error.msg_id, now=1.0
    )
    assert codec.decode(answer) == PeerError("invalid_payload", error.message, MSG_ID)
    assert "`message_info`" in error.message


def test_the_module_exports_what_it_names():
    assert all(hasattr(codec, name) for name in codec.__all__)
