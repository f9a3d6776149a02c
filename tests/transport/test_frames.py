"""RFC 6455 frames, without any stream."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maim_trio._transport import frames
from maim_trio._transport.frames import Binary, FrameParser, frame, text_frame

from . import raw

MAX = 1000
VIOLATIONS = {
    "an unmasked frame": (raw.frame(raw.TEXT, b"x"), 1002, "wrong masking"),
    "a reserved bit": (raw.frame(raw.TEXT, b"x", mask=b"abcd", reserved=0x40), 1002, "reserved bit"),
    "a reserved opcode": (raw.masked(3, b"x"), 1002, "reserved opcode"),
    "a reserved control opcode": (raw.masked(11, b"x"), 1002, "reserved opcode"),
    "text that is not UTF-8": (raw.masked(raw.TEXT, b"\xff\xfe"), 1007, "text is not UTF-8"),
    "a lone surrogate": (raw.masked(raw.TEXT, b"\xed\xa0\x80"), 1007, "text is not UTF-8"),
    "a fragment that breaks UTF-8": (
        raw.masked(raw.TEXT, b"ok\xc3", final=False) + raw.masked(raw.CONTINUATION, b"("),
        1007,
        "text is not UTF-8",
    ),
    "text that ends inside a character": (
        raw.masked(raw.TEXT, b"ok", final=False) + raw.masked(raw.CONTINUATION, b"\xc3"),
        1007,
        "text is not UTF-8",
    ),
    "a large ping": (raw.masked(raw.PING, b"x" * 126), 1002, "illegal control frame"),
    "a fragmented ping": (raw.masked(raw.PING, b"x", final=False), 1002, "illegal control frame"),
    "a stray continuation": (raw.masked(raw.CONTINUATION, b"x"), 1002, "fragments out of order"),
    "a message inside a message": (
        raw.masked(raw.TEXT, b"x", final=False) + raw.masked(raw.TEXT, b"y"),
        1002,
        "fragments out of order",
    ),
    "close code 1005": (raw.masked(raw.CLOSE, b"\x03\xed"), 1002, "invalid close code"),
    "close code 1006": (raw.masked(raw.CLOSE, b"\x03\xee"), 1002, "invalid close code"),
    "close code 999": (raw.masked(raw.CLOSE, b"\x03\xe7"), 1002, "invalid close code"),
    "close code 5000": (raw.masked(raw.CLOSE, b"\x13\x88"), 1002, "invalid close code"),
    "a close of one byte": (raw.masked(raw.CLOSE, b"\x03"), 1002, "invalid close code"),
    "a close reason that is not UTF-8": (
        raw.masked(raw.CLOSE, b"\x03\xe8\xff"),
        1007,
        "close reason is not UTF-8",
    ),
    "a message over the limit": (raw.masked(raw.TEXT, b"x" * (MAX + 1)), 1009, f"message over {MAX} bytes"),
    "a head over the limit alone": (b"\x81\xff" + (1 << 62).to_bytes(8, "big"), 1009, f"message over {MAX} bytes"),
    "characters below and bytes over the limit": (
        raw.masked(raw.TEXT, "€".encode() * (MAX // 2)),
        1009,
        f"message over {MAX} bytes",
    ),
    "fragments that are over the limit together": (
        raw.masked(raw.BINARY, b"x" * 600, final=False) + raw.masked(raw.CONTINUATION, b"x" * 600),
        1009,
        f"message over {MAX} bytes",
    ),
    "a size in 2 bytes that fits 7 bits": (b"\x81\xfe\x00\x7d", 1002, "size is not in its shortest form"),
    "a size in 8 bytes that fits 2": (b"\x81\xff" + (300).to_bytes(8, "big"), 1002, "size is not in its shortest form"),
}


@pytest.fixture(params=["C", "Python"], autouse=True)
def mask_function(request, monkeypatch):
    """Every test here runs with both ways of masking."""
    if request.param == "Python":
        monkeypatch.setattr(frames, "apply_mask", frames.xor_mask)
    else:
        assert frames.apply_mask is not frames.xor_mask, "the tests need the extra `speed`"


def parser(*, masked=True, max_message=MAX):
    return FrameParser(masked=masked, max_message=max_message)


def outcome(parser, chunks):
    """Everything that a parser tells about a stream."""
    messages = [message for chunk in chunks for message in parser.feed(chunk)]
    violation = parser.violation and (parser.violation.code, parser.violation.reason)
    return [(type(message), message) for message in messages], parser.controls, parser.close, violation


def chunked(data, cuts):
    edges = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


some_frames = st.builds(
    raw.frame,
    st.sampled_from([0, 1, 1, 1, 2, 8, 9, 10, 3, 11]),
    st.binary(max_size=300) | st.text(max_size=100).map(str.encode),
    mask=st.none() | st.binary(min_size=4, max_size=4),
    final=st.booleans(),
    reserved=st.sampled_from([0, 0, 0, 0x40]),
)
streams = st.binary(max_size=400) | st.lists(some_frames, max_size=6).map(b"".join)


@given(data=streams, cuts=st.lists(st.integers(0, 3000), max_size=12), masked=st.booleans())
def test_any_bytes_in_any_chunks_give_the_same_as_in_one(data, cuts, masked):
    whole = outcome(parser(masked=masked), [data])
    assert outcome(parser(masked=masked), chunked(data, cuts)) == whole


@given(data=streams, masked=st.booleans())
def test_whatever_comes_byte_by_byte_never_raises_and_nothing_illegal_is_kept(data, masked):
    one = parser(masked=masked, max_message=200)
    outcome(one, [bytes([byte]) for byte in data])
    assert len(one._buffer) <= 200 + 14
    assert one._message is None or len(one._message) <= 200


@given(
    payload=st.binary(max_size=300) | st.sampled_from([125, 126, 65535, 65536, 70000]).map(os.urandom),
    opcode=st.sampled_from([frames.TEXT, frames.BINARY]),
    mask=st.booleans(),
)
def test_a_frame_we_build_is_what_a_peer_reads(payload, opcode, mask):
    built = frame(opcode, payload, mask=mask)
    assert raw.split_frames(built) == ([raw.Frame(opcode, payload, mask, True)], b"")


@given(text=st.text(max_size=200), mask=st.booleans())
def test_a_text_frame_parses_back(text, mask):
    payload = text.encode()
    one = parser(masked=mask)
    assert one.feed(b"".join(text_frame(payload, mask=mask))) == [payload]
    assert one.violation is None


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize("size", [0, 125, 126, 16383, 16384, 65535, 65536, 70_000])
def test_a_text_frame_of_any_size_parses_back(size, mask):
    payload = (b"0123456789" * (size // 10 + 1))[:size]
    parts = text_frame(payload, mask=mask)
    assert len(parts) == (1 if size < 16384 else 2)
    one = parser(masked=mask, max_message=size)
    assert one.feed(b"".join(parts)) == [payload]


def test_a_large_payload_is_not_copied_for_its_receivers():
    payload = b"x" * 100_000
    assert text_frame(payload, mask=False)[1] is payload


def test_without_the_extra_speed_masking_is_done_with_the_standard_library():
    program = (
        "import sys; sys.modules['websockets'] = None\n"
        "from maim_trio._transport import frames\n"
        "assert frames.apply_mask is frames.xor_mask"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_mask_in_c_needs_no_package_around_it_and_leaves_that_as_it_is():
    program = (
        "import sys\n"
        "from maim_trio._transport import frames\n"
        "assert frames.apply_mask is not frames.xor_mask\n"
        "assert 'websockets' not in sys.modules and 'importlib.metadata' not in sys.modules\n"
        "import websockets.frames, websockets.speedups\n"
        "assert websockets.frames.apply_mask(b'hello', b'mask') == frames.apply_mask(b'hello', b'mask')"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_each_masked_frame_has_a_mask_of_its_own():
    built = {frame(frames.TEXT, b"hello", mask=True)[2:6] for _ in range(8)}
    assert len(built) == 8


@given(data=st.binary(max_size=200), mask=st.binary(min_size=4, max_size=4))
def test_masking_with_the_standard_library_is_masking_by_the_letter(data, mask):
    assert frames.xor_mask(data, mask) == raw.apply(data, mask)
    assert frames.apply_mask(data, mask) == raw.apply(data, mask)
    assert frames.xor_mask(memoryview(bytearray(data)), bytearray(mask)) == raw.apply(data, mask)


@pytest.mark.parametrize("name", VIOLATIONS)
def test_what_breaks_the_protocol_is_told_with_its_close_code(name):
    data, code, reason = VIOLATIONS[name]
    assert outcome(parser(), [data]) == ([], [], None, (code, reason))


@pytest.mark.parametrize("name", VIOLATIONS)
def test_messages_before_a_violation_count_and_nothing_after_it(name):
    data, code, _ = VIOLATIONS[name]
    one = parser()
    before, after = raw.masked(raw.TEXT, b"before"), raw.masked(raw.TEXT, b"after") + raw.masked(raw.PING)
    assert outcome(one, [before + data + after])[:2] == ([(bytes, b"before")], [])
    assert one.violation.code == code
    assert one.feed(after) == []
    assert one.controls == []


def test_a_masked_frame_from_a_server_is_a_violation():
    assert outcome(parser(masked=False), [raw.masked(raw.TEXT, b"x")])[3] == (1002, "wrong masking")


def test_binary_messages_are_marked():
    one = parser()
    text, binary = one.feed(raw.masked(raw.TEXT, b"t") + raw.masked(raw.BINARY, b"\xff"))
    assert (type(text), text) == (bytes, b"t")
    assert (type(binary), binary) == (Binary, b"\xff")


def test_fragments_become_one_message_and_control_frames_may_stand_between():
    data = (
        raw.masked(raw.TEXT, "h\u00e9".encode()[:2], final=False)
        + raw.masked(raw.PING, b"p1")
        + raw.masked(raw.CONTINUATION, "h\u00e9".encode()[2:], final=False)
        + raw.masked(raw.PONG, b"p2")
        + raw.masked(raw.CONTINUATION, b"!")
    )
    messages, controls, close, violation = outcome(parser(), [data])
    assert messages == [(bytes, "h\u00e9!".encode())]
    assert controls == [(raw.PING, b"p1"), (raw.PONG, b"p2")]
    assert close is violation is None


def test_fragmented_binary_is_not_checked_for_utf8():
    data = raw.masked(raw.BINARY, b"\xff", final=False) + raw.masked(raw.CONTINUATION, b"\xfe")
    assert outcome(parser(), [data])[0] == [(Binary, b"\xff\xfe")]


def test_any_number_of_empty_fragments_cost_no_memory():
    one = parser()
    one.feed(raw.masked(raw.TEXT, b"a", final=False))
    for _ in range(20):
        one.feed(raw.masked(raw.CONTINUATION, final=False) * 10_000)
    assert one.violation is None
    assert len(one._message) == 1
    assert len(one._buffer) == 0


def test_an_empty_message_is_a_message():
    assert parser().feed(raw.masked(raw.TEXT) + raw.masked(raw.BINARY)) == [b"", b""]


def test_a_large_frame_in_many_pieces_tells_how_much_is_missing():
    data = raw.masked(raw.TEXT, b"x" * 70_000)
    one = parser(max_message=70_000)
    assert one.feed(data[:5]) == []
    assert one.missing == 0  # the size itself is not there yet
    assert one.feed(data[5:1000]) == []
    assert one.missing == len(data) - 1000
    assert one.feed(data[1000:-1]) == []
    assert one.missing == 1
    assert one.feed(data[-1:] + raw.masked(raw.TEXT, b"y")) == [b"x" * 70_000, b"y"]
    assert one.missing == 0


@pytest.mark.parametrize(
    ("payload", "close"),
    [
        (b"", (1005, "")),
        (b"\x03\xe8", (1000, "")),
        (b"\x0f\xa1why \xc3\xa9", (4001, "why é")),
        (b"\x03\xf6", (1014, "")),
    ],
)
def test_a_close_frame_is_told_with_code_and_reason(payload, close):
    one = parser()
    data = raw.masked(raw.TEXT, b"last") + raw.masked(raw.CLOSE, payload) + raw.masked(raw.TEXT, b"late")
    assert one.feed(data) == [b"last"]
    assert one.close == close
    assert one.feed(raw.masked(raw.TEXT, b"later")) == []


@pytest.mark.parametrize("code", [999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 0, 65535])
def test_codes_that_may_not_stand_in_a_close_frame(code):
    assert not frames.may_be_sent(code)


def test_our_close_payload_says_code_and_reason():
    assert frames.close_payload(4001, "replaced") == b"\x0f\xa1replaced"
    assert frames.close_payload(1005, "") == b""


def test_a_long_close_reason_is_cut_between_characters():
    payload = frames.close_payload(1000, "é" * 100)
    assert len(payload) == 124
    assert frames.parse_close(payload) == (1000, "é" * 61)


def test_a_close_reason_that_is_no_text_still_closes():
    assert frames.parse_close(frames.close_payload(1000, "a\ud800b")) == (1000, "a?b")
