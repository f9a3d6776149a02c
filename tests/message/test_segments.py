from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from maim_trio.errors import InvalidMessage
from maim_trio.message import Seg
from maim_trio.message._segments import MAX_DEPTH
from tests.message.strategies import json_values, plain_types, segments

DEEPER = r"More than 64 seglists"


def nested(depth: int) -> Seg:
    segment = Seg("text", "the bottom")
    for _ in range(depth):
        segment = Seg("seglist", [segment])
    return segment


def nested_dict(depth: int) -> dict[str, Any]:
    segment: dict[str, Any] = {"type": "text", "data": "the bottom"}
    for _ in range(depth):
        segment = {"type": "seglist", "data": [segment]}
    return segment


def test_type_and_data_may_be_given_by_position_or_by_name():
    assert Seg("text", "hello") == Seg(data="hello", type="text")


def test_a_seglist_holds_segments_on_every_level():
    segment = Seg.from_json(
        b'{"type":"seglist","data":[{"type":"text","data":"a"},{"type":"seglist","data":[{"type":"image","data":"b"}]}]}'
    )

    assert segment == Seg("seglist", [Seg("text", "a"), Seg("seglist", [Seg("image", "b")])])


def test_only_the_type_seglist_holds_segments():
    data = [{"type": "text", "data": "quoted"}]

    assert Seg.from_dict({"type": "forward", "data": data}).data == data


@given(plain_types, json_values)
def test_data_of_any_other_type_survives_unchanged(name: str, data: Any):
    segment = Seg.from_json(json.dumps({"type": name, "data": data}))

    assert repr(segment.data) == repr(data)
    assert repr(json.loads(segment.to_json())["data"]) == repr(data)


@given(segments)
def test_segments_come_back_as_they_were(segment: Seg):
    assert repr(Seg.from_json(segment.to_json())) == repr(segment)
    assert repr(Seg.from_dict(segment.to_dict())) == repr(segment)


def test_data_that_is_null_is_not_data_that_is_absent():
    assert Seg.from_json(b'{"type":"poke","data":null}').to_json() == b'{"type":"poke","data":null}'
    with pytest.raises(InvalidMessage, match=r"missing required field `data` - at `\$`"):
        Seg.from_json(b'{"type":"poke"}')


def test_sixty_four_seglists_may_stand_inside_one_another():
    segment = nested(MAX_DEPTH)

    assert Seg.from_json(json.dumps(nested_dict(MAX_DEPTH))) == segment
    assert Seg.from_dict(nested_dict(MAX_DEPTH)) == segment
    assert segment.to_dict() == nested_dict(MAX_DEPTH)


def test_a_sixty_fifth_seglist_is_too_deep_in_every_direction():
    data = nested_dict(MAX_DEPTH + 1)

    for attempt in (
        lambda: Seg.from_json(json.dumps(data)),
        lambda: Seg.from_dict(data),
        nested(MAX_DEPTH + 1).to_json,
        nested(MAX_DEPTH + 1).to_dict,
    ):
        with pytest.raises(InvalidMessage, match=DEEPER) as caught:
            attempt()
        assert caught.value.code == "too_deep"


def test_a_seglist_that_contains_itself_is_too_deep():
    segment = Seg("seglist", [])
    segment.data += [segment, segment]

    with pytest.raises(InvalidMessage, match=DEEPER):
        segment.to_json()


@pytest.mark.parametrize("data", ["text", None, 5, {"type": "text", "data": "x"}])
def test_the_data_of_a_seglist_is_a_list(data: Any):
    for attempt in (
        lambda: Seg.from_json(json.dumps({"type": "seglist", "data": data})),
        lambda: Seg.from_dict({"type": "seglist", "data": data}),
        Seg("seglist", data).to_json,
    ):
        with pytest.raises(InvalidMessage, match=r"^Expected `array`, got `\w+` - at `\$\.data`$"):
            attempt()


@pytest.mark.parametrize(
    ("element", "place"),
    [
        ("text", r"\$\.data\[1\]\.data\[0\]`$"),
        ({"data": "x"}, r"field `type` - at `\$\.data\[1\]\.data\[0\]`$"),
        ({"type": 5, "data": "x"}, r"\$\.data\[1\]\.data\[0\]\.type`$"),
        ({"type": "seglist", "data": 5}, r"\$\.data\[1\]\.data\[0\]\.data`$"),
    ],
)
def test_a_broken_segment_is_named_by_its_place_in_the_lists(element: Any, place: str):
    data = {
        "type": "seglist",
        "data": [{"type": "text", "data": "fine"}, {"type": "seglist", "data": [element]}],
    }

    for attempt in (lambda: Seg.from_json(json.dumps(data)), lambda: Seg.from_dict(data)):
        with pytest.raises(InvalidMessage, match=place):
            attempt()


def test_a_dict_in_place_of_a_segment_is_found_on_encoding():
    segment = Seg("seglist", [Seg("text", "a"), {"type": "text", "data": "b"}])

    with pytest.raises(InvalidMessage, match=r"^Expected `Seg`, got `object` - at `\$\.data\[1\]`$"):
        segment.to_json()


def test_a_segment_as_data_of_another_type_would_not_come_back_and_is_refused():
    with pytest.raises(InvalidMessage, match=r"got `Seg` - at `\$\.data\[0\]`$"):
        Seg("forward", [Seg("text", "x")]).to_json()


def test_a_type_that_is_no_string_is_found_on_encoding():
    with pytest.raises(InvalidMessage, match=r"^Expected `str`, got `int` - at `\$\.type`$"):
        Seg(5, "x").to_json()  # type: ignore[arg-type]


def test_a_tuple_is_as_good_as_a_list():
    assert Seg("seglist", (Seg("text", (1, 2)),)).to_dict() == {
        "type": "seglist",
        "data": [{"type": "text", "data": [1, 2]}],
    }


def test_an_integer_as_type_is_not_taken_for_an_identifier():
    with pytest.raises(InvalidMessage, match=r"Expected `str`, got `int` - at `\$\.type`$"):
        Seg.from_json(b'{"type":1,"data":"x"}')
