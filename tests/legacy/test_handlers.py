"""Which handlers a message is for."""

from __future__ import annotations

import pytest

from maim_trio._legacy.handlers import HandlerTable


def one(_message):
    """A handler."""


def other(_message):
    """Another one."""


@pytest.fixture
def table():
    table = HandlerTable()
    table.add(one)
    table.add_custom("poke", other)
    return table


def test_standard_messages_and_custom_ones_have_handlers_of_their_own(table):
    assert table.find({"message_info": {}}) == (None, [one])
    assert table.find({"is_custom_message": True, "message_type_name": "poke"}) == ("poke", [other])
    assert table.find({"is_custom_message": True, "message_type_name": "else"}) == ("else", [])


def test_they_keep_the_order_and_are_there_once(table):
    for handler in (other, one, other):
        table.add(handler)
    assert table.find({})[1] == [one, other]
    table.add_custom("poke", other)
    table.add_custom("poke", one)
    assert table.find({"message_type_name": "poke"})[1] == [other, one]


def test_what_was_found_does_not_change_with_the_table(table):
    found = table.find({})[1]
    table.add(other)
    assert found == [one]


def test_a_handler_of_a_type_is_removed(table):
    table.remove_custom("poke", one)
    table.remove_custom("nobody", other)
    assert table.custom == {"poke": [other]}
    table.remove_custom("poke", other)
    assert table.custom == {}


def test_what_is_no_handler_or_no_type_is_refused(table):
    with pytest.raises(TypeError, match="must be callable, not int"):
        table.add(5)
    with pytest.raises(TypeError, match="must be callable, not str"):
        table.add_custom("poke", "handler")
    for name in ("", None, 5):
        with pytest.raises(TypeError, match="non-empty string"):
            table.add_custom(name, one)
