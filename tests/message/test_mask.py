from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maim_trio.message._mask import mask


def test_a_key_shows_four_characters_and_a_short_hash():
    assert mask("test_key_123") == "test…#1f8e8c"


def test_keys_that_begin_alike_are_told_apart():
    assert mask("demo_key_456") != mask("demo_key_457")


@pytest.mark.parametrize("key", ["a", "abcdefg", "密钥"])
def test_nothing_of_a_key_under_eight_characters_is_shown(key: str):
    assert mask(key) == "…"


def test_an_empty_key_is_seen_to_be_empty():
    assert mask("") == ""


@given(st.text(min_size=5, alphabet=st.characters()))
def test_no_key_is_shown_beyond_its_fourth_character(key: str):
    shown = mask(key)
    assert shown == "…" or (shown[:4] == key[:4] and shown[4:6] == "…#" and len(shown) == 12)
