from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from maim_trio._wire.text import did_you_mean, nearest, one_line


def test_printable_text_stays_as_it_is():
    assert one_line("密钥 wrong, 😀", 100) == "密钥 wrong, 😀"


def test_no_log_line_can_be_forged():
    assert one_line("boom\r\nINFO all is well\x1b[2J\u2028x\n", 100) == "boom  INFO all is well [2J x"


def test_the_length_is_bounded():
    assert one_line("x" * 1000, 10) == "x" * 10
    assert one_line("x", 0) == ""


@given(st.text(), st.integers(0, 20))
def test_any_text_becomes_one_printable_line(text: str, limit: int):
    line = one_line(text, limit)
    assert line.isprintable()
    assert len(line) <= limit


def test_the_nearest_name_is_found_and_nothing_far_fetched():
    known = ["port", "path", "on_auth", "host"]
    assert [nearest(name, known) for name in ("prot", "onAuth", "hots")] == ["port", "on_auth", "host"]
    assert nearest("colour", known) is None


def test_several_names_get_one_question():
    assert did_you_mean(["prot", "onauth", "colour"], ["port", "on_auth"]) == "; did you mean port, on_auth?"
    assert did_you_mean(["colour"], ["port", "on_auth"]) == ""
