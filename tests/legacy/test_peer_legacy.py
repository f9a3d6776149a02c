"""Legacy messages are the same here and in maim_message 0.6.8, whose own code is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import maim_trio
from maim_trio import MessageBase, MessageConverter
from maim_trio.message._model import Model
from tests.conftest import needs
from tests.legacy.strategies import messages, objects, wire_messages, wire_parts
from tests.line_process import LineProcess, line_process
from tests.message.strategies import messages as api_messages
from tests.message.strategies import text
from tests.message.test_peer_messages import meaning
from tests.peers import peer_python

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maim_trio.message import APIMessageBase

DRIVER = Path(__file__).with_name("peer_legacy.py")
EXAMPLES = settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

directions = st.sampled_from(["receive", "send"])


@pytest.fixture(scope="module")
def peer() -> Iterator[LineProcess]:
    with line_process(needs(peer_python, "0.6.8"), DRIVER) as process:
        yield process


def exactly(said: Any) -> str:
    """A text that tells 1 from 1.0, and one order of fields from another."""
    return json.dumps(said)


def tree(value: Any) -> tuple[str, Any]:
    """An object as the constructor calls that make it."""
    if isinstance(value, Model):
        fields = value.__struct_fields__
        return type(value).__name__, {name: tree(getattr(value, name)) for name in fields}
    if isinstance(value, list) and any(isinstance(item, Model) for item in value):
        return "list", [tree(item) for item in value]
    return "value", value


@EXAMPLES
@given(wire_parts)
def test_what_an_adapter_writes_is_read_and_written_as_there(peer: LineProcess, part: tuple[str, Any]) -> None:
    name, data = part
    (theirs,) = peer.ask({"read": name, "data": data})

    kind = getattr(maim_trio, name)
    for mine in (kind.from_dict(data), kind.from_json(json.dumps(data))):
        assert exactly(mine and mine.to_dict()) == exactly(theirs)


@EXAMPLES
@given(objects)
def test_an_object_is_written_as_there(peer: LineProcess, made: Any) -> None:
    (theirs,) = peer.ask({"make": tree(made)})

    assert exactly(made.to_dict()) == exactly(theirs)
    assert exactly(json.loads(made.to_json())) == exactly(theirs)


@EXAMPLES
@given(messages)
def test_what_one_side_writes_the_other_reads(peer: LineProcess, message: MessageBase) -> None:
    mine = message.to_dict()
    (theirs,) = peer.ask({"read": "MessageBase", "data": mine})

    assert exactly(MessageBase.from_dict(theirs).to_dict()) == exactly(MessageBase.from_dict(mine).to_dict())


@EXAMPLES
@given(wire_messages, directions, text, st.lists(st.none() | text, max_size=1))
def test_a_legacy_message_becomes_the_same_message_of_the_api_server(
    peer: LineProcess, data: dict[str, Any], direction: str, api_key: str, platform: list[str | None]
) -> None:
    method, arguments = f"to_api_{direction}", [api_key, *platform]
    (theirs,) = peer.ask({"convert": method, "data": data, "arguments": arguments})

    mine = getattr(MessageConverter, method)(MessageBase.from_dict(data), *arguments).to_dict()

    for field in ("message_id", "time"):
        if not (data.get("message_info") or {}).get(field):
            theirs["message_info"][field] = mine["message_info"][field]  # both took them from a clock
    assert meaning(mine) == meaning(theirs)


@EXAMPLES
@given(api_messages, directions)
def test_a_message_of_the_api_server_becomes_the_same_legacy_message(
    peer: LineProcess, message: APIMessageBase, direction: str
) -> None:
    method = f"from_api_{direction}"
    (theirs,) = peer.ask({"convert": method, "data": message.to_dict(), "arguments": []})

    assert exactly(getattr(MessageConverter, method)(message).to_dict()) == exactly(theirs)
