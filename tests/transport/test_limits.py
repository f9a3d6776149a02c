"""How the end of a link is told."""

from __future__ import annotations

import pytest

from maim_trio._transport.limits import Closed, LinkClosed


@pytest.mark.parametrize(("reason", "text"), [("bye", "4001 bye"), ("", "4001")])
def test_the_end_of_a_link_reads_as_code_and_reason(reason, text):
    ended = LinkClosed(*Closed(4001, reason, True))
    assert str(ended) == text
    assert (ended.code, ended.reason, ended.by_peer) == (4001, reason, True)
