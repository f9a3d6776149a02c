from __future__ import annotations

import sys
from collections import OrderedDict, UserDict, namedtuple
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given

from maim_trio.errors import InvalidMessage
from maim_trio.message import Seg
from maim_trio.message._json import invalid, is_json, json_value, kind_of, parse_error
from tests.message.strategies import json_values


class Colour(Enum):
    RED = "red"


class Name(StrEnum):
    QQ = "qq"


class Number(IntEnum):
    ONE = 1


class Text(str):
    __slots__ = ()


@dataclass
class Point:
    x: int = 0


NOT_JSON: list[Any] = [
    {1, 2},
    frozenset(),
    b"bytes",
    bytearray(b"bytes"),
    datetime(2026, 11, 21, tzinfo=UTC),
    UUID(int=1),
    Decimal("1.5"),
    Colour.RED,
    Name.QQ,
    Number.ONE,
    Text("text"),
    Point(),
    UserDict(a=1),
    Seg("text", "x"),
    msgspec.Raw(b"1"),
    msgspec.UNSET,
    object(),
    float("nan"),
    float("inf"),
    float("-inf"),
]
names = [type(value).__name__ if not isinstance(value, float) else str(value) for value in NOT_JSON]


def endless() -> list[Any]:
    value: list[Any] = []
    value += [value, value]
    return value


def nested(depth: int) -> Any:
    value: Any = "the bottom"
    for level in range(depth):
        value = [value] if level % 2 else {"in": value}
    return value


@given(json_values)
def test_every_json_value_is_one_and_its_copy_is_equal(value: Any):
    assert is_json(value)
    assert repr(json_value(value, "$")) == repr(value)


@pytest.mark.parametrize("value", NOT_JSON, ids=names)
def test_what_is_no_json_is_found_at_any_place(value: Any):
    for holder, place in (
        (value, "$"),
        ([1, value], "$[1]"),
        ({"a": {"b": value}}, "$.a.b"),
        (["x", [], {"k": [0.5, [value]]}], "$[2].k[1][0]"),
    ):
        assert not is_json(holder)
        with pytest.raises(InvalidMessage) as caught:
            json_value(holder, "$")
        assert str(caught.value).endswith(f" - at `{place}`")
        assert caught.value.code == "invalid_payload"


@pytest.mark.parametrize("key", [1, 1.5, None, True, ("a",), b"a", Name.QQ, Text("a")])
def test_keys_that_are_no_strings_are_found(key: Any):
    holder = {"a": [{"fine": 1, key: 2}]}

    assert not is_json(holder)
    with pytest.raises(InvalidMessage, match=r"as key, got `\w+` - at `\$\.a\[0\]`$"):
        json_value(holder, "$")


def test_a_copy_shares_no_container_with_the_original():
    value = {"list": [1, {"inner": []}]}

    copy = json_value(value, "$")
    copy["list"][1]["inner"].append("new")

    assert value == {"list": [1, {"inner": []}]}


def test_tuples_and_subclasses_become_plain_lists_and_dicts():
    pair = namedtuple("pair", "a b")
    value = {"tuple": (1, (2,)), "pair": pair(3, 4), "ordered": OrderedDict(z=1)}

    assert not is_json(value)
    assert repr(json_value(value, "$")) == repr({"tuple": [1, [2]], "pair": [3, 4], "ordered": {"z": 1}})


@pytest.mark.parametrize("text", ["\ud800", "a\udfff", "\ude00\ud83d"], ids=["high", "low", "swapped"])
def test_lone_surrogates_are_found_in_values_and_in_keys(text: str):
    with pytest.raises(InvalidMessage, match=r"surrogate.* - at `\$\.a\[0\]`$"):
        json_value({"a": [text]}, "$")
    with pytest.raises(InvalidMessage, match=r"surrogate.* - at `\$\.a`$"):
        json_value({"a": {text: 1}}, "$")


def test_integers_may_have_as_many_digits_as_python_writes():
    limit = sys.get_int_max_str_digits()

    assert json_value(10 ** (limit - 1), "$") == 10 ** (limit - 1)
    with pytest.raises(InvalidMessage, match=r"Integer value out of range - at `\$\.n`$"):
        json_value({"n": 10**limit}, "$")


def test_what_contains_itself_is_too_deep_and_not_an_endless_loop():
    value = endless()

    assert not is_json(value)
    with pytest.raises(InvalidMessage, match=r"Nested too deep - at `\$\.data`$") as caught:
        json_value(value, "$.data")
    assert caught.value.code == "too_deep"


def test_deep_nesting_is_json_until_it_is_deeper_than_the_stack():
    assert is_json(nested(900))
    assert not is_json(nested(5000))


def test_a_long_path_is_shortened_in_the_text():
    assert len(str(invalid("Expected `str`", "$." + "k" * 10_000))) < 300


@pytest.mark.parametrize(
    ("value", "name"), [(None, "null"), ({}, "object"), ([], "array"), ((), "array"), (1, "int"), (b"", "bytes")]
)
def test_types_are_named_as_in_the_parsers_own_texts(value: Any, name: str):
    assert kind_of(value) == name


def test_a_parsers_error_is_placed_where_the_parsed_object_stands():
    where = "$.payload"

    assert str(parse_error(msgspec.ValidationError("Expected `str` - at `$.a.b`"), where)).endswith("`$.payload.a.b`")
    assert str(parse_error(msgspec.ValidationError("Expected `object`"), where)).endswith(" - at `$.payload`")
    assert parse_error(RecursionError(), where).code == "too_deep"
    assert str(parse_error(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "why"), where)).startswith("Text is not valid")
