"""Any bytes in any pieces: messages come out whole and in order, or one reason why not."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maim_trio._legacy._tcp.crypto import KeyPair
from maim_trio._legacy._tcp.parser import ENDED, TcpParser
from maim_trio._transport.frames import INVALID_DATA, NO_CODE, PING, PONG, PROTOCOL_ERROR, TOO_BIG

from . import raw

MAXIMUM = 1000


def connected(*, from_client: bool = True) -> tuple[TcpParser, raw.Keys]:
    ours, peer = KeyPair(), raw.Keys()
    peer.agree(ours.public)
    return TcpParser(ours.agree(peer.public), from_client=from_client, max_message=MAXIMUM), peer


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """`data` in pieces that end at these places."""
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def feed(parser: TcpParser, pieces: list[bytes]) -> list[bytes]:
    return [message for piece in pieces for message in parser.feed(piece)]


PLACES = st.lists(st.integers(0, 10_000), max_size=12)
ITEMS = st.lists(st.one_of(st.none(), st.text(max_size=250)), max_size=6)


@given(ITEMS, PLACES)
def test_messages_and_heartbeats_come_out_however_they_were_cut(items, places):
    parser, peer = connected()
    wire = b"".join(raw.frame(raw.HEARTBEAT) if item is None else peer.seal(item.encode()) for item in items)
    assert feed(parser, cut(wire, places)) == [item.encode() for item in items if item is not None]
    assert parser.controls == [(PING, b"")] * items.count(None)
    assert (parser.violation, parser.missing) == (None, 0)
    assert parser.feed_end()
    assert parser.close == (NO_CODE, ENDED)


@settings(max_examples=300)
@given(st.binary(max_size=200), PLACES)
def test_no_bytes_make_it_raise_or_give_a_message(data, places):
    parser, _ = connected()
    assert feed(parser, cut(data, places)) == []
    if parser.violation is not None:
        assert parser.violation.code in (PROTOCOL_ERROR, TOO_BIG)
        assert parser.violation.reason


@given(st.data(), PLACES)
def test_garbage_after_a_message_takes_nothing_away(data, places):
    parser, peer = connected()
    wire = peer.seal(b"good") + data.draw(st.binary(min_size=1, max_size=80))
    assert feed(parser, cut(wire, places)) == [b"good"]
    assert parser.violation is not None or parser.controls or not parser.feed_end()


def test_after_a_violation_everything_is_ignored():
    parser, peer = connected()
    assert parser.feed(peer.seal(b"1") + raw.frame(9) + peer.seal(b"2")) == [b"1"]
    assert parser.violation is not None
    assert parser.violation.reason == "unknown frame type 9"
    assert parser.feed(peer.seal(b"3")) == []
    assert not parser.feed_end()


def test_a_message_too_large_is_refused_by_its_head_alone():
    parser, _ = connected()
    assert parser.feed(raw.frame(raw.DATA, length=5 + 36 + MAXIMUM)) == []
    assert parser.violation is None
    parser, _ = connected()
    parser.feed(raw.frame(raw.DATA, length=5 + 36 + MAXIMUM + 1))
    assert parser.violation is not None
    assert parser.violation.code == TOO_BIG


def test_a_large_message_tells_what_it_still_lacks():
    parser, peer = connected()
    wire = peer.seal(b"x" * MAXIMUM)
    assert parser.feed(wire[:4]) == []
    assert parser.missing == 0
    assert parser.feed(wire[4:100]) == []
    assert parser.missing == len(wire) - 100
    assert parser.feed(wire[100:500]) == []
    assert parser.missing == len(wire) - 500
    assert parser.feed(wire[500:] + raw.frame(raw.HEARTBEAT)) == [b"x" * MAXIMUM]
    assert parser.missing == 0
    assert parser.controls == [(PING, b"")]


def test_a_heartbeat_of_a_server_is_an_answer():
    parser, _ = connected(from_client=False)
    parser.feed(raw.frame(raw.HEARTBEAT))
    assert parser.controls == [(PONG, b"")]


def test_a_message_that_is_no_text_is_refused():
    parser, peer = connected()
    assert parser.feed(peer.seal(b"\xff\xfe")) == []
    assert parser.violation is not None
    assert (parser.violation.code, parser.violation.reason) == (INVALID_DATA, "message is not UTF-8")


@pytest.mark.parametrize("rest", [b"\x00", raw.frame(raw.DATA, b"x" * 30, length=100)])
def test_an_end_in_the_middle_of_a_frame_is_no_close(rest):
    parser, _ = connected()
    parser.feed(rest)
    assert not parser.feed_end()
    assert parser.close is None


def test_after_the_end_everything_is_ignored():
    parser, peer = connected()
    assert parser.feed_end()
    assert parser.feed(peer.seal(b"late")) == []
