"""The checklist: every row of the table holds, and every public name of the library has a row."""

from __future__ import annotations

import pytest

from tests.checklist import library, observations
from tests.checklist.behaviour import all_behaviours, show
from tests.checklist.forms import FORMS, WITHOUT_BEHAVIOUR
from tests.checklist.rows import DOCUMENTS, Row, all_rows, names_of, rows_of

pytest_plugins = ["tests.checklist.summary"]

METHODS = ("method", "internal")
ATTRIBUTES = ("attribute", "internal")
FIELDS = ("field", "struct field")


@pytest.mark.parametrize("row", all_rows(), ids=str)
def test_row(row: Row):
    assert row.kind in FORMS, f"no check is known for a row of kind {row.kind!r}"
    assert row.checks or row.kind in WITHOUT_BEHAVIOUR, "a row without a check"
    FORMS[row.kind](row)
    for name in row.checks:
        show(name, row)


def test_no_row_stands_there_twice():
    keys = [(row.kind, row.of, row.name) for row in all_rows()]
    assert sorted(key for key in set(keys) if keys.count(key) > 1) == []


def test_every_row_says_which_document_and_section_it_came_from():
    for row in all_rows():
        document, _, section = row.source.partition(": ")
        assert document in DOCUMENTS, row
        assert section, row


def test_every_check_that_a_row_names_exists_and_none_is_left_over():
    named = {name for row in all_rows() for name in row.checks}
    assert named == set(all_behaviours())


# -- the other direction: nothing public without a row


@pytest.mark.parametrize("module", library.MODULES)
def test_every_exported_name_has_a_row(module):
    assert names_of(("export",), module) == set(library.exports(module))


def test_every_class_has_a_row():
    rows = {library.label(row.of, row.name) for row in rows_of("class") if row.of != "maim_trio.errors"}
    assert rows == set(library.public_classes())


@pytest.mark.parametrize("name", sorted(library.public_classes()))
def test_every_public_method_attribute_and_field_has_a_row(name):
    kind = library.public_classes()[name]
    internal = names_of(("internal",), name)
    assert names_of(("method",), name) == library.methods_of(kind) - internal
    assert names_of(("attribute",), name) == library.attributes_of(name) - internal
    assert names_of(FIELDS, name) == library.fields_of(kind)
    assert internal <= library.methods_of(kind) | library.attributes_of(name)


@pytest.mark.parametrize("module", library.MODULES)
def test_every_function_has_a_row(module):
    assert library.functions_of(module) <= {row.name for row in rows_of("function")}


@pytest.mark.parametrize("name", sorted(library.public_classes()))
def test_every_constructor_but_those_that_take_fields_has_a_row(name):
    takes_fields = library.is_message(library.public_classes()[name]) or name.endswith("Config")
    assert names_of(("constructor",), name) == (set() if takes_fields else {name})


@pytest.mark.parametrize("what", observations.all_names())
def test_every_key_that_was_seen_has_a_row(what):
    rows = names_of(("key",), what)
    if what == "metadata of a server's handlers" or what.endswith("on_disconnect"):
        rows |= names_of(("key",), "metadata of a server's callbacks")
    if what == "metadata of a server's callbacks":  # handlers and on_disconnect are told more
        rows |= {row.name for row in rows_of("key") if row.of.startswith("metadata of a server")}
    assert set().union(*observations.of(what).values()) == rows
