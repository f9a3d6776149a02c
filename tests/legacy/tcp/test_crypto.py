"""The encryption against another implementation of the protocol, and whatever must not be accepted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maim_trio._legacy._tcp.crypto import Cipher, KeyPair
from maim_trio._transport.frames import PROTOCOL_ERROR, Violation

from . import raw


def ciphers() -> tuple[Cipher, Cipher]:
    """Both ends of a connection."""
    ours, theirs = KeyPair(), KeyPair()
    return ours.agree(theirs.public), theirs.agree(ours.public)


def with_a_peer() -> tuple[Cipher, raw.Keys]:
    ours, theirs = KeyPair(), raw.Keys()
    theirs.agree(ours.public)
    return ours.agree(theirs.public), theirs


def sealed(cipher: Cipher, message: bytes) -> bytes:
    return b"".join(cipher.seal(message))


def refused(cipher: Cipher, payload: bytes) -> str:
    with pytest.raises(Violation) as raised:
        cipher.open(payload)
    assert raised.value.code == PROTOCOL_ERROR
    return raised.value.reason


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_what_one_end_seals_the_other_opens(messages):
    ours, theirs = ciphers()
    for message in messages:
        assert theirs.open(sealed(ours, message)) == message
        assert ours.open(sealed(theirs, message)) == message


def test_another_implementation_opens_what_we_seal():
    ours, peer = with_a_peer()
    assert peer.open(sealed(ours, b"first")) == (0, b"first")
    assert peer.open(sealed(ours, b"second")) == (1, b"second")


def test_we_open_what_another_implementation_seals():
    ours, peer = with_a_peer()
    assert [ours.open(peer.seal(message)[5:]) for message in (b"first", b"", b"x" * 100_000)] == [
        b"first",
        b"",
        b"x" * 100_000,
    ]


def test_a_connection_may_begin_with_any_number_and_leave_some_out():
    ours, peer = with_a_peer()
    numbers = [7, 8, 100, 2**63, 2**64 - 1]
    assert [ours.open(peer.seal(b"%d" % number, number)[5:]) for number in numbers] == [b"%d" % n for n in numbers]


def test_a_replayed_message_is_refused():
    ours, peer = with_a_peer()
    payload = peer.seal(b"pay", 5)[5:]
    assert ours.open(payload) == b"pay"
    assert refused(ours, payload) == "message 5 after message 5: replayed or reordered"


def test_a_reordered_message_is_refused():
    ours, peer = with_a_peer()
    first, second = peer.seal(b"1")[5:], peer.seal(b"2")[5:]
    assert ours.open(second) == b"2"
    assert refused(ours, first) == "message 0 after message 1: replayed or reordered"


def test_the_number_cannot_be_changed_on_the_way():
    ours, peer = with_a_peer()
    payload = bytearray(peer.seal(b"pay", 5)[5:])
    payload[19] += 1
    assert "does not decrypt" in refused(ours, bytes(payload))


@given(st.data())
def test_no_changed_byte_goes_unnoticed(data):
    ours, peer = with_a_peer()
    payload = bytearray(peer.seal(b"some message", 1)[5:])
    position = data.draw(st.integers(0, len(payload) - 1))
    payload[position] ^= data.draw(st.integers(1, 255))
    assert refused(ours, bytes(payload))


def test_what_was_refused_does_not_count():
    ours, peer = with_a_peer()
    forged = bytearray(peer.seal(b"x", 1000)[5:])
    forged[-1] ^= 1
    refused(ours, bytes(forged))
    assert ours.open(peer.seal(b"the real one", 0)[5:]) == b"the real one"


def test_our_own_messages_are_not_taken_as_the_peers():
    ours, _ = ciphers()
    assert refused(ours, sealed(ours, b"to the peer")) == "a message of ours has come back as the peer's"


def test_a_message_of_another_connection_does_not_decrypt():
    ours, _ = ciphers()
    _, stranger = with_a_peer()
    assert "does not decrypt" in refused(ours, stranger.seal(b"x")[5:])


def test_the_nonces_never_repeat_and_differ_between_connections():
    ours, theirs = ciphers()
    nonces = {ours.seal(b"")[0][:12] for _ in range(500)} | {theirs.seal(b"")[0][:12] for _ in range(500)}
    assert len(nonces) == 1000


@pytest.mark.parametrize("key", raw.LOW_ORDER_KEYS, ids=lambda key: key.hex()[:8])
def test_a_key_with_which_everybody_could_read_is_refused(key):
    with pytest.raises(Violation, match="unusable: all zero, or of low order"):
        KeyPair().agree(key)


def test_our_own_key_sent_back_is_refused():
    keys = KeyPair()
    with pytest.raises(Violation, match="sends back what we send"):
        keys.agree(keys.public)


def test_each_connection_has_keys_of_its_own():
    assert len({KeyPair().public for _ in range(10)}) == 10


def test_nothing_secret_is_in_a_repr():
    ours, _ = ciphers()
    assert repr(ours).startswith("<maim_trio")
    assert repr(KeyPair()).startswith("<maim_trio")
