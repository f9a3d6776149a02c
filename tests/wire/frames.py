"""Frames and hypothesis strategies that several test modules of the wire protocol share."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

MSG_ID = "msg_3f0c1a2b4d5e_1703123456"


def payload(**changes: Any) -> dict[str, Any]:
    """The payload of a standard message with everything in it."""
    message = {
        "message_info": {
            "platform": "qq",
            "message_id": "m-1",
            "time": 1703123456.789,
            "sender_info": {
                "user_info": {"platform": "qq", "user_id": "u1", "user_nickname": "小明"},
                "group_info": {"platform": "qq", "group_id": "g1"},
            },
            "format_info": {"content_format": ["text"], "accept_format": ["text", "image"]},
            "additional_config": {"maimcore_reply_probability_gain": 0.5},
        },
        "message_segment": {
            "type": "seglist",
            "data": [
                {"type": "text", "data": "你好"},
                {"type": "seglist", "data": [{"type": "image", "data": "aGk="}]},
            ],
        },
        "message_dim": {"api_key": "key", "platform": "qq"},
    }
    return {**message, **changes}


def envelope(**changes: Any) -> dict[str, Any]:
    """A standard message in its envelope. A change to `...` removes the member."""
    whole = {"ver": 1, "msg_id": MSG_ID, "type": "sys_std", "meta": {"platform": "qq"}, "payload": payload(), **changes}
    return {name: value for name, value in whole.items() if value is not ...}


def dump(value: Any) -> bytes:
    """JSON as strict senders write it."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


def frame(**changes: Any) -> bytes:
    return dump(envelope(**changes))


ACK = dump(
    {
        "ver": 1,
        "msg_id": "6e8bc430-9c3a-41d9-9669-0800200c9a66",
        "type": "sys_ack",
        "meta": {"uuid": "c-1", "acked_msg_id": MSG_ID, "timestamp": 1703123456.0},
        "payload": {"status": "received", "server_timestamp": 1703123456.0},
    }
)
ERROR = dump(
    {
        "ver": 1,
        "type": "sys_error",
        "meta": {"uuid": "c-1", "failed_msg_id": MSG_ID, "timestamp": 1.0},
        "payload": {"code": "invalid_payload", "message": "no"},
    }
)
CUSTOM = frame(type="custom_ping", payload={"n": 1, "deep": [[{"a": None}]]})
BARE = dump(payload())
VALID_FRAMES = [frame(), ACK, ERROR, CUSTOM, BARE, frame(type="sys_future"), frame(msg_id=..., ver=..., meta=...)]

texts = st.text(max_size=8)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
json_objects = st.dictionaries(texts, json_values, max_size=4)
"""What is as good as anything where something definite belongs."""


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The place of every value inside of a JSON value."""
    found = [path]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += paths(inner, (*path, key))
    return found


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy of `value` with something else at `path`; `...` removes what is there."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    inner = replaced(copy[path[0]], path[1:], new)
    if inner is ...:
        del copy[path[0]]
    else:
        copy[path[0]] = inner
    return copy


@st.composite
def damaged_envelopes(draw: st.DrawFn) -> Any:
    """Envelopes that were right until one or two members were replaced, removed or added."""
    value: Any = json.loads(draw(st.sampled_from(VALID_FRAMES)))
    for _ in range(draw(st.integers(0, 2))):
        path = draw(st.sampled_from(paths(value)[1:] or [()]))
        value = replaced(value, path, draw(st.just(...) | json_values)) if path else value
    if draw(st.booleans()):
        value[draw(texts)] = draw(json_values)
    return value


SNIPPETS = [
    b"null",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"1" * 5000,
    b'"\\ud800"',
    b'"\\udc00\\ud800"',
    b"\xff",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\x00",
    b"[" * 2000,
    b'{"a":' * 2000,
    b"{}",
    b'"',
    b"\\",
    b",",
    b":",
    b"}",
    b'"type":"sys_ack",',
    b'"msg_id":7,',
    b'"ver":2,',
]


@st.composite
def damaged_frames(draw: st.DrawFn) -> bytes:
    """Frames that were right until bytes were flipped, cut out, doubled, or put in."""
    data = bytearray(draw(st.sampled_from(VALID_FRAMES)))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + draw(st.sampled_from([1, 4, 1000])))))
        match draw(st.sampled_from(["flip", "cut", "double", "insert", "overwrite"])):
            case "flip" if start < len(data):
                data[start] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del data[start:end]
            case "double":
                data[start:start] = data[start:end]
            case "insert":
                data[start:start] = draw(st.sampled_from(SNIPPETS))
            case _:
                data[start:end] = draw(st.sampled_from(SNIPPETS))
    return bytes(data)
