"""Heads of frames: what they say, and what is refused as soon as they are there."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maim_trio._legacy._tcp import framing
from maim_trio._transport.frames import PROTOCOL_ERROR, TOO_BIG, Violation

from . import raw


def refused(head: bytes, *, maximum: int = 100) -> Violation:
    with pytest.raises(Violation) as raised:
        framing.parse_head(head, 0, maximum)
    return raised.value


def refused_as_handshake(data: bytes) -> str:
    with pytest.raises(Violation) as raised:
        framing.parse_handshake_head(data)
    assert raised.value.code == PROTOCOL_ERROR
    return raised.value.reason


@given(st.integers(0, 255), st.binary(max_size=300))
def test_a_frame_is_its_length_its_type_and_its_payload(kind, payload):
    assert framing.frame(kind, payload) == raw.frame(kind, payload)


def test_a_handshake_carries_the_key():
    assert framing.handshake_frame(b"k" * 32) == raw.frame(raw.HANDSHAKE, b"k" * 32)
    assert framing.parse_handshake_head(framing.handshake_frame(b"k" * 32)) == 37


def test_a_heartbeat_is_empty():
    assert raw.frame(raw.HEARTBEAT) == framing.HEARTBEAT_FRAME
    assert framing.parse_head(framing.HEARTBEAT_FRAME, 0, 0) == (5, framing.HEARTBEAT)


def test_the_length_of_a_data_frame_counts_everything():
    assert framing.data_head(100) == raw.frame(raw.DATA, b"x" * 136)[:5]
    assert framing.parse_head(b"??" + framing.data_head(100), 2, 100) == (141, framing.DATA)


def test_a_message_that_no_frame_can_carry_is_an_error_of_the_sender():
    largest = 2**32 - 1 - 5 - 36
    assert struct.unpack("!IB", framing.data_head(largest))[0] == 2**32 - 1
    with pytest.raises(ValueError, match="does not fit into a frame"):
        framing.data_head(largest + 1)


def test_a_message_over_the_limit_is_refused_when_its_head_is_there():
    assert framing.parse_head(framing.data_head(100), 0, 100)[0] == 141
    violation = refused(framing.data_head(101))
    assert (violation.code, violation.reason) == (TOO_BIG, "message over 100 bytes")
    assert refused(struct.pack("!IB", 2**32 - 1, raw.DATA)).code == TOO_BIG


@pytest.mark.parametrize("length", [0, 4, 5, 40])
def test_a_data_frame_has_room_for_nonce_number_and_tag(length):
    assert refused(struct.pack("!IB", length, raw.DATA)).reason == f"a data frame of {length} bytes is too short"


@pytest.mark.parametrize("length", [0, 4, 6, 2**32 - 1])
def test_a_heartbeat_with_something_in_it_is_refused(length):
    assert "heartbeat of" in refused(struct.pack("!IB", length, raw.HEARTBEAT)).reason


def test_a_second_handshake_is_refused():
    assert refused(raw.frame(raw.HANDSHAKE, b"k" * 32)).reason == "a second handshake"


@pytest.mark.parametrize("kind", [0, raw.ANSWER, 5, 255])
def test_other_types_are_refused(kind):
    assert refused(raw.frame(kind)).reason == f"unknown frame type {kind}"


@pytest.mark.parametrize("start", [b"GET /ws HTTP/1.1", b"HTTP/1.1 400 Bad Request", b"POST / HTTP/1.0"])
def test_a_peer_that_speaks_http_is_named(start):
    assert "speaks HTTP or WebSocket" in refused_as_handshake(start)


@pytest.mark.parametrize("start", [b"\x16\x03\x01\x02\x00\x01", b"\x15\x03\x03\x00\x02"])
def test_a_peer_that_speaks_tls_is_named(start):
    assert "speaks TLS" in refused_as_handshake(start)


@pytest.mark.parametrize("length", [0, 5, 36, 38, 2**32 - 1])
def test_a_handshake_has_one_length(length):
    assert f"of {length} bytes" in refused_as_handshake(struct.pack("!IB", length, raw.HANDSHAKE))


@given(st.binary(min_size=5, max_size=40))
def test_anything_else_is_no_handshake(data):
    if not data.startswith(b"\x00\x00\x00\x25\x01"):
        assert refused_as_handshake(data)
