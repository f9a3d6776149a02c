"""The key file: what it may hold, and what is said about everything else. Never a key."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from maim_trio._cli.failure import UsageError
from maim_trio._cli.keys import EXAMPLE, KeyEntry, check_entries, parse_assignment, parse_keys, read_key_file

SECRET = "sk-live-Zx81"

typable = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)
entries = st.lists(
    st.builds(KeyEntry, typable, typable, st.none() | st.frozensets(typable, min_size=1, max_size=3)), min_size=1
)


def toml_of(entry: KeyEntry) -> str:
    """An entry as somebody may write it. JSON's strings, without what has to be escaped, are TOML's."""
    lines = ["[[key]]", f"key = {quoted(entry.key)}", f"user = {quoted(entry.user)}"]
    if entry.platforms is not None:
        lines.append(f"platforms = [{', '.join(map(quoted, entry.platforms))}]")
    return "\n".join(lines) + "\n\n"


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def complaint_or_nothing(text: str) -> str:
    try:
        check_entries(parse_keys(text, "keys.toml"))
    except UsageError as error:
        return str(error)
    return ""


def complaint(text: str) -> str:
    said = complaint_or_nothing(text)
    assert said, "nothing was wrong with it"
    return said


def test_the_example_of_the_help_text_is_a_key_file():
    alice, bob = parse_keys(EXAMPLE, "keys.toml")
    assert (alice.user, alice.platforms) == ("alice", None)
    assert (bob.user, bob.platforms) == ("bob", {"qq", "wechat"})


@given(entries)
def test_what_is_written_is_what_is_read(written):
    read = parse_keys("".join(map(toml_of, written)), "keys.toml")
    assert [(entry.key, entry.user, entry.platforms) for entry in read] == [
        (entry.key, entry.user, entry.platforms) for entry in written
    ]


def test_a_key_without_platforms_is_for_all_and_another_only_for_its_own():
    everywhere, somewhere = KeyEntry("a", "alice"), KeyEntry("b", "bob", frozenset({"qq"}))
    assert everywhere.allows("anything")
    assert somewhere.allows("qq")
    assert not somewhere.allows("wechat")


@given(st.text())
@example("key = " + "9" * 5000)
@example("key = " + "[" * 5000)
@example("[[key]]\nkey = 1979-99-99")
def test_whatever_the_file_holds_it_is_read_or_refused_in_one_sentence(text):
    said = complaint_or_nothing(text)
    assert not said or said.startswith("keys.toml")
    assert "\n" not in said


@given(st.data())
def test_no_complaint_repeats_a_key(data):
    text = data.draw(
        st.sampled_from(
            [
                f'[[key]]\nkey = "{SECRET}"\nuser = "alice"\n',
                f'[[key]]\n{SECRET} = "alice"\nuser = "alice"\n',
                f"{SECRET} = 1\n{SECRET} = 2\n",
                f'key = [{{{SECRET} = 1, {SECRET} = 2, key = "{SECRET}"}}]\n',
                f'[{SECRET}]\na = 1\n[{SECRET}]\n["{SECRET}"]\n',
            ]
        )
    )
    place = data.draw(st.integers(0, len(text)))
    noise = data.draw(st.text(alphabet="[]{}=\"'\n,.#a1", max_size=4))
    # Through the middle of the key it would be another key, and parts of a key are no secret worth the test.
    text = text[:place] + noise + text[place:]
    assert SECRET not in complaint_or_nothing(text)


def test_a_mistake_in_the_toml_is_told_with_its_place():
    assert complaint('[[key]]\nkey = "a"\nuser = \n') == "keys.toml: not valid TOML at line 3, column 8: Invalid value"


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ('user = "bob"', "key is missing"),
        ('key = "b"', "user is missing"),
        ('key = 5\nuser = "bob"', "key must be a string in quotes"),
        ('key = ""\nuser = "bob"', "key is empty"),
        ('key = " b"\nuser = "bob"', "key has white space around it or holds characters that cannot be typed"),
        ('key = "b\\u0000"\nuser = "bob"', "key has white space around it or holds characters that cannot be typed"),
        (f'key = "{"b" * 4097}"\nuser = "bob"', "key is longer than 4096 characters"),
        ('key = "b"\nuser = "bob"\nplatform = "qq"', "has a field that is not key, user or platforms"),
        ('key = "b"\nusr = "bob"', "has a field that is not key, user or platforms: usr; did you mean user?"),
        ('key = "b"\nuser = "bob"\nplatforms = "qq"', 'platforms must be a list such as ["qq", "wechat"]'),
        ('key = "b"\nuser = "bob"\nplatforms = []', "platforms is empty, so the key is of no use"),
        ('key = "b"\nuser = "bob"\nplatforms = [1]', "a platform must be a string in quotes"),
        ('key = "a"\nuser = "bob"', "the same key as in keys.toml, line 3 (key 1)"),
        ('key = "b"\nuser = "a"', "user must not be a key: users are shown in the log"),
    ],
)
def test_a_mistake_in_an_entry_is_told_with_its_line(entry, problem):
    first = '# keys\n\n[[key]]\nkey = "a"\nuser = "alice"\n\n'
    assert complaint(f"{first}[[key]]\n{entry}\n").startswith(f"keys.toml, line 7 (key 2): {problem}")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "there is no [[key]] entry in it"),
        ('[key]\nkey = "a"\nuser = "alice"', "an entry begins with [[key]], in two pairs of brackets"),
        ('"sk-a" = "alice"', "only [[key]] entries with key, user and platforms may stand in a key file"),
        ('[[keys]]\nkey = "a"', "may stand in a key file: keys; did you mean key?"),
        ("key = [5]", "(key 1): must be a table with key and user"),
    ],
)
def test_another_form_is_told_what_the_right_one_is(text, problem):
    assert problem in complaint(text)


def test_entries_in_one_line_have_no_line_but_a_number():
    assert complaint('key = [{key = "a", user = "alice"}, {key = "b"}]') == "keys.toml (key 2): user is missing"


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"cannot read the key file .*missing\.toml: No such file"):
        read_key_file(str(tmp_path / "missing.toml"))
    with pytest.raises(UsageError, match=r"cannot read the key file .*: Is a directory"):
        read_key_file(str(tmp_path))
    with pytest.raises(UsageError, match="not a file name"):
        read_key_file("keys\0.toml")


def test_a_file_that_is_not_utf_8_is_refused_and_a_byte_order_mark_is_not(tmp_path):
    file = tmp_path / "keys.toml"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"keys\.toml: not UTF-8 at byte 0"):
        read_key_file(str(file))
    file.write_text('\ufeff[[key]]\nkey = "a"\nuser = "alice"\n', encoding="utf-8")
    assert [entry.user for entry in read_key_file(str(file))] == ["alice"]


def test_an_assignment_may_have_equals_signs_in_its_key():
    entry = parse_assignment("c2VjcmV0==alice", 1)
    assert (entry.key, entry.user, entry.platforms) == ("c2VjcmV0=", "alice", None)


@pytest.mark.parametrize(
    ("text", "problem"),
    [(SECRET, "must look like KEY=USER"), (f"{SECRET}=", "user is empty"), ("=alice", "key is empty")],
)
def test_an_assignment_that_is_none_is_told_by_its_number(text, problem):
    with pytest.raises(UsageError, match=f"--key number 2.*{problem}") as caught:
        parse_assignment(text, 2)
    assert SECRET not in str(caught.value)


def test_an_entry_does_not_show_its_key():
    assert SECRET not in repr(KeyEntry(SECRET, "alice"))
