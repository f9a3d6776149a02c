"""JSON means the same here and in maim_message 0.6.8, whose own code is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maim_trio.message import APIMessageBase
from tests.conftest import needs
from tests.line_process import LineProcess, line_process
from tests.message.strategies import unknown_fields, wire_dims, wire_infos, wire_segments
from tests.peers import peer_python

if TYPE_CHECKING:
    from collections.abc import Iterator

# Each example is every combination of 4 infos with 4 segments: 2,560 messages, much faster than as many drawn whole.
EXAMPLES = 160
PARTS = 4
DRIVER = Path(__file__).with_name("peer_messages.py")
IDENTIFIERS = {"message_id", "user_id", "group_id", "user_nickname", "user_cardname", "group_name"}

Message = dict[str, Any]


class Peer:
    """The peer's own classes in a process of their own."""

    def __init__(self, process: LineProcess) -> None:
        self._process = process

    def read_and_write(self, messages: list[Message]) -> list[Message]:
        """What each message is after the peer's `from_dict` and `to_dict`."""
        answers = self._process.ask(*messages)
        assert not [answer for answer in answers if "error" in answer]
        return [answer["message"] for answer in answers]


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    with line_process(needs(peer_python, "0.6.8"), DRIVER) as process:
        yield Peer(process)


def ours(message: Message) -> Message:
    return APIMessageBase.from_dict(message).to_dict()


def meaning(message: Message) -> str:
    """A text that is equal for messages that mean the same; 1 and 1.0 as data do not."""
    info = with_text_ids(message["message_info"])
    info["time"] = float(info["time"])
    if "template_info" in info:
        info["template_info"] = {"template_default": True, **info["template_info"]}
    for side in ("sender_info", "receiver_info"):
        if side in info:
            info[side] = {name: with_text_ids(part) for name, part in info[side].items()}
    return json.dumps({**message, "message_info": info}, sort_keys=True)


def with_text_ids(part: Message) -> Message:
    return {name: str(value) if name in IDENTIFIERS else value for name, value in part.items()}


def meanings(messages: list[Message]) -> list[str]:
    return [meaning(message) for message in messages]


def some(parts: st.SearchStrategy[Message]) -> st.SearchStrategy[list[Message]]:
    return st.lists(parts, min_size=PARTS, max_size=PARTS)


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(some(wire_infos), some(wire_segments), some(wire_dims), unknown_fields)
def test_what_an_adapter_writes_means_the_same_here_and_there(
    peer: Peer, infos: list[Message], segments: list[Message], dims: list[Message], unknown: Message
) -> None:
    messages = [
        {**unknown, "message_info": info, "message_segment": segment, "message_dim": dim}
        for info, dim in zip(infos, dims, strict=True)
        for segment in segments
    ]
    theirs = peer.read_and_write(messages)
    mine = [ours(message) for message in messages]

    assert meanings(mine) == meanings(theirs)
    assert [APIMessageBase.from_json(json.dumps(message)).to_dict() for message in theirs] == mine
    assert peer.read_and_write(mine) == mine


def test_sixty_four_seglists_inside_one_another_mean_the_same_here_and_there(peer: Peer) -> None:
    segment: Message = {"type": "text", "data": "the bottom"}
    for _ in range(64):
        segment = {"type": "seglist", "data": [segment]}
    message = {
        "message_info": {"platform": "qq", "message_id": 1, "time": 1},
        "message_segment": segment,
        "message_dim": {"api_key": "demo_key_456", "platform": "qq"},
    }

    assert meanings([ours(message)]) == meanings(peer.read_and_write([message]))
