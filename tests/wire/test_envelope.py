from __future__ import annotations

import msgspec
import pytest

from maim_trio._wire.envelope import MAX_ERROR_TEXT, Ack, Bare, Custom, FrameError, Standard
from maim_trio.message import APIMessageBase
from tests.wire.frames import payload

SECRET = "sk-secret-0123456789"


def test_no_repr_shows_what_a_client_says_about_itself():
    meta = {"sender_user": SECRET}
    message = APIMessageBase.from_dict(payload(message_dim={"api_key": SECRET, "platform": "qq"}))
    for envelope in (
        Standard(message=message, msg_id="m-7", meta=meta),
        Bare(message=message, meta=meta),
        Custom(type="custom_login", payload={"password": SECRET}, msg_id="m-7", meta=meta),
    ):
        assert SECRET not in repr(envelope)
        assert SECRET[5:] not in str(envelope)
    assert "m-7" in repr(envelope)
    assert "custom_login" in repr(envelope)


def test_only_a_bare_message_is_bare():
    message = APIMessageBase.from_dict(payload())
    assert Standard(message=message).bare is False
    assert Bare(message=message).bare is True


def test_a_frame_error_is_short_and_says_code_and_message():
    error = FrameError("invalid_payload", "x" * 1000, "m-1")
    assert (error.code, error.msg_id, len(error.message)) == ("invalid_payload", "m-1", MAX_ERROR_TEXT)
    assert str(FrameError("invalid_json", "no")) == "invalid_json: no"
    assert FrameError("invalid_json", "no").msg_id is None


def test_what_the_peer_said_cannot_be_altered_afterwards():
    with pytest.raises(AttributeError):
        Ack("m-1").acked_msg_id = "m-2"  # type: ignore[misc]


def test_envelopes_are_equal_by_value():
    assert Custom(type="custom_x", payload={"a": 1}) == Custom(type="custom_x", payload={"a": 1})
    assert msgspec.structs.astuple(Ack("m-1")) == ("m-1",)
