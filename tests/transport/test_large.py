"""Messages that come in more than one read: put together from pieces of any size, and read in as few as can be."""

from __future__ import annotations

import itertools
import os
import socket

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from maim_trio._transport import frames
from maim_trio._transport.frames import Binary, FrameParser
from maim_trio._transport.large import OWN, LargeFrame
from maim_trio._transport.limits import Limits
from maim_trio._transport.link import Link
from maim_trio._transport.memory import READ_MAX, WIDE_READS, ReadSizes
from maim_trio._transport.pipe import CHUNK, Pipe

from . import raw

MAX = 400_000
SIZE = 150_000
LARGE = os.urandom(64 * 1024).hex().encode()  # 128 KiB of text


@pytest.fixture(params=["C", "Python"], autouse=True)
def mask_function(request, monkeypatch):
    if request.param == "Python":
        monkeypatch.setattr(frames, "apply_mask", frames.xor_mask)


def pieces_of(data, cuts):
    edges = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def fed(chunks, *, masked=True):
    parser = FrameParser(masked=masked, max_message=MAX)
    messages = [message for chunk in chunks for message in parser.feed(chunk)]
    violation = parser.violation and (parser.violation.code, parser.violation.reason)
    assert parser.missing == 0 or violation is None
    return [(type(message), message) for message in messages], parser.controls, violation


def stream(mask):
    """Large messages of all kinds, with small frames before, between and behind them."""
    return b"".join(
        (
            raw.frame(raw.TEXT, b"first", mask=mask),
            raw.frame(raw.TEXT, LARGE, mask=mask),
            raw.frame(raw.PING, b"ping", mask=mask),
            raw.frame(raw.BINARY, b"\xff" * 70_001, mask=mask),
            raw.frame(raw.TEXT, LARGE[:-1], mask=mask, final=False),
            raw.frame(raw.PING, b"between", mask=mask),
            raw.frame(raw.CONTINUATION, LARGE, mask=mask),
            raw.frame(raw.TEXT, b"last", mask=mask),
        )
    )


@pytest.mark.parametrize("masked", [True, False])
@given(cuts=st.lists(st.integers(0, 1_000_000), max_size=4))
def test_what_comes_in_a_buffer_of_its_own_is_cut_into_the_same_messages(masked, cuts):
    data = stream(b"mask" if masked else None)
    expected = fed([data], masked=masked)
    assert fed([bytearray(piece) for piece in pieces_of(data, cuts)], masked=masked) == expected


@pytest.mark.parametrize("mask", [None, b"\x01\x80\x37\xff"])
@given(
    cuts=st.lists(st.integers(0, 1_000_000), max_size=30),
    heads=st.lists(st.sampled_from([11, 12, 13, 15, 17, 18, 21, 22, 24, 25, 26, 27, 28, 29]), max_size=4),
)
def test_large_frames_in_any_pieces_give_the_same_as_in_one(mask, cuts, heads):
    data, masked = stream(mask), mask is not None
    messages, controls, violation = fed(pieces_of(data, cuts + heads), masked=masked)
    assert [kind for kind, _ in messages] == [bytes, bytes, Binary, bytes, bytes]
    assert [message for _, message in messages] == [b"first", LARGE, b"\xff" * 70_001, LARGE[:-1] + LARGE, b"last"]
    assert controls == [(raw.PING, b"ping"), (raw.PING, b"between")]
    assert violation is None


@given(sizes=st.lists(st.integers(0, 3 * OWN), min_size=1, max_size=30), key=st.binary(min_size=4, max_size=4))
def test_each_piece_is_unmasked_where_it_stands_in_the_frame(sizes, key):
    data = os.urandom(sum(sizes))
    large = LargeFrame(0x81, len(data), key, frames.apply_mask)
    masked = memoryview(raw.apply(data, key))
    start = 0
    for size in sizes:
        assert large.missing == len(data) - start
        large.add(masked[start : start + size])
        start += size
    assert large.missing == 0
    assert large.payload() == data


def test_a_frame_that_comes_byte_by_byte_is_one_buffer():
    large = LargeFrame(0x81, 100_000, b"abcd", frames.apply_mask)
    for _ in range(20_000):
        large.add(b"x")
    assert len(large._pieces) == 1


@pytest.mark.parametrize("text", [LARGE + b"\xff", LARGE + "€".encode()[:2], b"\xed\xa0\x80" + LARGE])
def test_a_large_text_that_is_not_utf8_is_a_violation(text):
    data = raw.masked(raw.TEXT, text)
    for cuts in ([], [100], [len(data) - 1], [70_000, 100_000]):
        assert fed(pieces_of(data, cuts)) == ([], [], (1007, "text is not UTF-8"))


def test_a_large_text_with_other_characters_is_taken_whole():
    text = "图".encode() * 30_000
    data = raw.masked(raw.TEXT, text)
    assert fed(pieces_of(data, [1000, 70_001, 80_002])) == ([(bytes, text)], [], None)


def test_what_is_announced_and_does_not_come_costs_nothing():
    parser = FrameParser(masked=True, max_message=64 << 20)
    assert parser.feed(raw.masked(raw.TEXT, b"x" * 100_000)[:2] + (64 << 20).to_bytes(8, "big") + b"maskx") == []
    assert parser.missing == (64 << 20) - 1
    assert sum(map(len, parser._large._pieces)) == 1


# -- reading


@pytest.fixture
async def ends():
    """(the link of a server, the peer's socket): two sockets that hold all that is written here."""
    ours, theirs = socket.socketpair()
    for one in (ours, theirs):
        one.setblocking(False)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
    with theirs:
        async with stream:
            yield Link(Pipe(stream), client=False, limits=Limits(max_message=MAX)), theirs


unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="the buffers of other sockets are too small")


@unix
async def test_what_is_there_of_a_large_message_is_read_at_one_go(ends):
    link, theirs = ends
    message = raw.masked(raw.TEXT, b"x" * SIZE)
    for _ in range(3):
        assert theirs.send(message) == len(message)
        assert link.read_nowait() == [b"x" * SIZE]
    message = raw.masked(raw.TEXT, b"ack") + message
    assert theirs.send(message) == len(message)
    assert link.read_nowait() == [b"ack", b"x" * SIZE]


@unix
async def test_what_stands_before_a_large_frame_is_given_also_when_the_connection_ends_in_it(ends):
    link, theirs = ends
    data = raw.masked(raw.TEXT, b"ack") + raw.masked(raw.TEXT, b"x" * SIZE)[: CHUNK - 9]
    assert len(data) == CHUNK  # so there may be more
    assert theirs.send(data) == len(data)
    theirs.close()
    assert link.read_nowait() == [b"ack"]
    assert (link.closed.code, link.received_all) == (1006, True)


def test_small_reads_until_a_large_frame_comes_and_again_when_no_more_come():
    sizes = ReadSizes()
    assert [sizes.next(missing, 5_000_000) for missing in (0, 100, CHUNK)] == [CHUNK] * 3
    assert [sizes.next(missing, 5_000_000) for missing in (CHUNK + 1, 64 << 20)] == [READ_MAX] * 2
    assert [sizes.next(0, 5_000_000) for _ in range(WIDE_READS + 2)] == [READ_MAX] * WIDE_READS + [CHUNK] * 2


def test_reads_stay_large_while_they_bring_much():
    sizes, bytes_in = ReadSizes(), 0
    sizes.next(1_000_000, bytes_in)
    for _ in range(10):
        for came in (1_000_000, *[200] * (WIDE_READS - 1)):
            bytes_in += came
            assert sizes.next(0, bytes_in) == READ_MAX
