from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from maim_trio._wire.ids import AckIds, new_msg_id


def test_an_id_is_written_as_the_peers_write_it():
    assert new_msg_id("msg", "3f0c1a2b4d5e", 1703123456.789) == "msg_3f0c1a2b4d5e_1703123456"
    assert new_msg_id("custom", "000000000000", 0.5) == "custom_000000000000_0"


@given(st.integers(0, 2**122 - 1))
def test_every_ack_id_is_a_valid_uuid4_in_canonical_form(random: int):
    ids = AckIds(random)
    for _ in range(3):
        text = ids.next()
        assert str(uuid.UUID(text)) == text
        assert uuid.UUID(text).version == 4
        assert uuid.UUID(text).variant == uuid.RFC_4122


def test_ack_ids_are_distinct():
    ids = AckIds(2**122 - 1)
    assert len({ids.next() for _ in range(5000)}) == 5000


def test_the_counter_wraps_within_its_digits():
    ids = AckIds(2**48 - 1)
    assert [ids.next()[-13:] for _ in range(2)] == ["-ffffffffffff", "-000000000000"]


def test_all_the_randomness_is_used():
    firsts = {AckIds(1 << bit).next() for bit in range(122)}
    assert len(firsts) == 122
