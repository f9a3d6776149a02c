"""The first message of a client."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maim_trio._legacy._tcp.registration import Registration, decode_registration, encode_registration
from maim_trio._transport.frames import Violation

TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=50)


@given(TEXT, st.none() | TEXT)
def test_what_a_client_writes_a_server_reads(platform, token):
    assert decode_registration(encode_registration(platform, token)) == Registration(platform, token)


def test_it_is_what_the_peer_writes():
    assert json.loads(encode_registration("qq", "secret")) == {"platform": "qq", "token": "secret"}
    assert json.loads(encode_registration("qq", None)) == {"platform": "qq"}


def test_more_than_that_is_no_harm():
    assert decode_registration(b'{"version": 2, "platform": "qq", "token": null}') == Registration("qq")


def test_it_knows_where_the_client_is():
    registration = decode_registration(b'{"platform": "qq"}', ("1.2.3.4:5", "1.2.3.4"))
    assert (registration.remote, registration.remote_ip) == ("1.2.3.4:5", "1.2.3.4")


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "is no JSON"),
        (b"{", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b'{"platform": "\xff"}', "is no JSON"),
        (b'"qq"', "names no platform"),
        (b"[]", "names no platform"),
        (b"{}", "names no platform"),
        (b'{"platform": ""}', "names no platform"),
        (b'{"platform": 5}', "names no platform"),
        (b'{"platform": ["qq"]}', "names no platform"),
        (b'{"platform": "qq", "token": 123456}', "the token in the registration is no text"),
        (b'{"platform": "q\\nq"}', "the platform contains a control character, in the registration"),
        (b'{"platform": "qq", "token": "a\\u0000"}', "the token contains a control character, in the registration"),
        (b'{"platform": "%b"}' % (b"q" * 257), "the platform is longer than 256 characters, in the registration"),
        (b'{"platform": "\\ud800"}', "is no JSON"),
    ],
)
def test_anything_else_is_refused(payload, reason):
    with pytest.raises(Violation, match=reason):
        decode_registration(payload)


@given(st.binary(max_size=100))
def test_no_bytes_make_it_raise_anything_else(payload):
    try:
        registration = decode_registration(payload)
    except Violation:
        return
    assert registration.platform


def test_the_token_is_in_no_repr_and_no_error():
    assert "hunter2" not in repr(Registration("qq", "hunter2"))
    with pytest.raises(Violation) as raised:
        decode_registration(b'{"token": "hunter2"}')
    assert "hunter2" not in f"{raised.value!r}"
