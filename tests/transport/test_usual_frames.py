"""The short way for what nearly all traffic is, against the general one: cut anywhere, both see the same."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maim_trio._transport import frames
from maim_trio._transport.frames import FrameParser, frame

MAX = 1000

texts = st.one_of(
    st.binary(max_size=300).map(lambda data: data.hex().encode()),
    st.sampled_from([b"x" * size for size in (0, 1, 125, 126, 127, MAX, MAX + 1)]),
    st.just("höflich ".encode() * 20),
    st.just(b"\xff" * 200),  # no UTF-8
)
pieces = st.one_of(
    texts.map(lambda payload: (frames.TEXT, payload)),
    st.sampled_from([(frames.BINARY, b"b" * 200), (frames.PING, b"p"), (frames.CLOSE, b""), (11, b"reserved")]),
)


def seen(data: list[bytes], *, masked: bool) -> object:
    parser, messages = FrameParser(masked=masked, max_message=MAX), []
    for part in data:
        messages += parser.feed(part)
    violation = parser.violation and (parser.violation.code, parser.violation.reason)
    kinds = [(type(message), bytes(message)) for message in messages]
    return kinds, parser.controls, parser.close, violation


@pytest.mark.parametrize("masked", [True, False])
@given(what=st.lists(pieces, max_size=6), cuts=st.lists(st.integers(0, 3000), max_size=4), wrong=st.booleans())
def test_at_one_go_or_byte_by_byte(masked, what, cuts, wrong):
    data = b"".join(frame(opcode, payload, mask=masked) for opcode, payload in what)
    if wrong:
        data += frame(frames.TEXT, b"w" * 130, mask=not masked)
    single = seen([data[index : index + 1] for index in range(len(data))], masked=masked)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    parts = [data[begin:end] for begin, end in pairwise(places)]
    assert seen([data], masked=masked) == single
    assert seen(parts, masked=masked) == single


def test_between_the_fragments_of_a_message_a_text_frame_is_a_violation():
    parser = FrameParser(masked=True, max_message=MAX)
    begun = bytearray(frame(frames.TEXT, b"x" * 200, mask=True))
    begun[0] &= 0x7F  # not the last fragment
    assert parser.feed(bytes(begun)) == []
    assert parser.feed(frame(frames.TEXT, b"y" * 200, mask=True)) == []
    assert parser.violation is not None
    assert parser.violation.code == frames.PROTOCOL_ERROR


def test_after_the_end_nothing_is_taken():
    parser = FrameParser(masked=True, max_message=MAX)
    message = frame(frames.TEXT, b"x" * 200, mask=True)
    assert parser.feed(message + frame(frames.CLOSE, b"", mask=True) + message) == [b"x" * 200]
    assert parser.feed(message) == []
