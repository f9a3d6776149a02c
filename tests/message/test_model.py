"""What holds for every class, whatever is read and whatever was assigned."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maim_trio import message as package
from maim_trio.errors import InvalidMessage
from maim_trio.message import APIMessageBase, Seg, UserInfo
from maim_trio.message._model import Model
from tests.message.strategies import json_values, messages, wire_messages

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

CLASSES: list[type[Model]] = [getattr(package, name) for name in package.__all__]


class Name(StrEnum):
    QQ = "qq"


class Number(IntEnum):
    ONE = 1


junk = (
    json_values
    | st.sampled_from(
        [
            float("nan"),
            float("inf"),
            b"bytes",
            {1, 2},
            {1: 2},
            ("tuple", 1),
            "\ud800",
            10**5000,
            10**300,
            Name.QQ,
            Number.ONE,
            datetime(2026, 11, 21, tzinfo=UTC),
            object(),
            msgspec.Raw(b"nonsense"),
            UserInfo(user_id="1"),
            Seg("seglist", [Seg("text", "x"), 5]),
            [Seg("text", "x")],
        ]
    )
    | st.lists(st.sampled_from([b"x", 1.5, "text", float("nan")]), max_size=2)
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value inside of plain JSON, the whole included."""
    inside: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inside = list(value.items())
    elif isinstance(value, list):
        inside = list(enumerate(value))
    return [path, *(way for key, item in inside for way in places(item, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


def result_of(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
    """What the call returns; None for InvalidMessage, which has to name a place. Anything else is an error."""
    try:
        return call(*args, **kwargs)
    except InvalidMessage as error:
        problem = str(error)
    assert " - at `$" in problem
    return None


@given(json_values, st.sampled_from(CLASSES))
def test_any_json_value_is_an_object_or_invalid(value: Any, model: type[Model]):
    for read, source in ((model.from_dict, value), (model.from_json, json.dumps(value))):
        made = result_of(read, source)
        if made is not None:
            assert model.from_json(made.to_json()) == made


@given(wire_messages, junk, st.data())
def test_a_message_with_one_value_replaced_is_a_message_or_invalid(original: Any, value: Any, data: st.DataObject):
    broken = replaced(original, data.draw(st.sampled_from(places(original))), value)

    made = result_of(APIMessageBase.from_dict, broken)
    if made is not None:
        assert APIMessageBase.from_json(made.to_json()) == made
        assert APIMessageBase.from_dict(made.to_dict()) == made


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_invalid(data: bytes):
    with pytest.raises(InvalidMessage):
        APIMessageBase.from_json(data)


@given(messages, st.data())
def test_a_message_with_bytes_replaced_is_a_message_or_invalid(original: APIMessageBase, data: st.DataObject):
    encoded = original.to_json()
    start = data.draw(st.integers(0, len(encoded)))
    end = data.draw(st.integers(start, min(len(encoded), start + 10)))

    made = result_of(APIMessageBase.from_json, encoded[:start] + data.draw(st.binary(max_size=6)) + encoded[end:])
    if made is not None:
        assert APIMessageBase.from_json(made.to_json()) == made


@given(wire_messages)
def test_both_ways_of_reading_agree(data: Any):
    assert repr(APIMessageBase.from_dict(data)) == repr(APIMessageBase.from_json(json.dumps(data)))


def parts_of(value: Any) -> list[Model]:
    """The object and all the objects in it."""
    if isinstance(value, list):
        return [part for item in value for part in parts_of(item)]
    if not isinstance(value, Model):
        return []
    return [value, *(part for name in value.__struct_fields__ for part in parts_of(getattr(value, name)))]


@given(messages, junk, st.data())
def test_whatever_was_assigned_is_written_so_that_it_can_be_read_or_refused(
    original: APIMessageBase, value: Any, data: st.DataObject
):
    part = data.draw(st.sampled_from(parts_of(original)))
    setattr(part, data.draw(st.sampled_from(part.__struct_fields__)), value)

    encoded = result_of(original.to_json)
    if encoded is None:
        with pytest.raises(InvalidMessage):
            original.to_dict()
    else:
        made = APIMessageBase.from_json(encoded)
        assert made.to_json() == encoded
        assert json.loads(encoded) == original.to_dict()


@pytest.mark.parametrize("model", CLASSES)
def test_every_class_is_documented_and_reads_what_it_writes(model: type[Model]):
    whole = APIMessageBase.from_dict(
        {
            "message_info": {
                "platform": "qq",
                "message_id": 1,
                "time": 1,
                "format_info": {"content_format": ["text"]},
                "template_info": {"template_items": {"a": "b"}},
                "additional_config": {"a": None},
                "sender_info": {"user_info": {"platform": "qq", "user_id": 1}},
                "receiver_info": {"group_info": {"platform": "qq", "group_id": 1}},
            },
            "message_segment": {"type": "seglist", "data": [{"type": "text", "data": "x"}]},
            "message_dim": {"api_key": "demo_key_456", "platform": "qq"},
        }
    )
    of_this_class = [part for part in parts_of(whole) if isinstance(part, model)]

    assert model.__doc__
    assert of_this_class
    for part in of_this_class:
        assert type(part).from_json(part.to_json()) == part
        assert type(part).from_dict(part.to_dict()) == part


class Note(Model):
    text: str
    priority: int = 0


def test_a_class_that_cannot_tell_whether_it_is_in_order_is_checked_by_copying():
    assert Note("x").to_json() == b'{"text":"x"}'
    with pytest.raises(InvalidMessage, match=r"^Expected `int`, got `str` - at `\$\.priority`$"):
        Note("x", "high").to_json()  # type: ignore[arg-type]
