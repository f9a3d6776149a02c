"""What hypothesis makes messages of: JSON values, objects of the package, and messages as other programs write them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from maim_trio.message import (
    APIMessageBase,
    BaseMessageInfo,
    FormatInfo,
    GroupInfo,
    MessageDim,
    ReceiverInfo,
    Seg,
    SenderInfo,
    TemplateInfo,
    UserInfo,
)

# 2**64 and beyond included: platforms have such ids, and JSON parsers that go through doubles lose them.
integers = st.integers(-(2**70), 2**70)
finite = st.floats(allow_nan=False, allow_infinity=False)
text = st.text(max_size=12)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | integers | finite | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
json_objects = st.dictionaries(text, json_values, max_size=3)
segment_types = st.sampled_from(["text", "image", "emoji", "voice", "forward", ""]) | text
plain_types = segment_types.filter(lambda name: name != "seglist")

# Objects of the package, complete and of the right types.

users = st.builds(UserInfo, text, text, st.none() | text, st.none() | text)
groups = st.builds(GroupInfo, text, text, st.none() | text)
sides = (st.none() | groups, st.none() | users)
formats = st.builds(FormatInfo, st.none() | st.lists(text, max_size=3), st.none() | st.lists(text, max_size=3))
templates = st.builds(TemplateInfo, st.none() | json_objects, st.none() | json_objects, st.booleans())
segments: st.SearchStrategy[Seg] = st.recursive(
    st.builds(Seg, plain_types, json_values),
    lambda inner: st.builds(Seg, st.just("seglist"), st.lists(inner, max_size=3)),
    max_leaves=6,
)
infos = st.builds(
    BaseMessageInfo,
    platform=text,
    message_id=text,
    time=finite,
    format_info=st.none() | formats,
    template_info=st.none() | templates,
    additional_config=st.none() | json_objects,
    sender_info=st.none() | st.builds(SenderInfo, *sides),
    receiver_info=st.none() | st.builds(ReceiverInfo, *sides),
)
dims = st.builds(MessageDim, text, text)
messages = st.builds(APIMessageBase, infos, segments, dims)

# Messages as adapters write them: integers as ids, nulls for what is absent, fields that nobody knows.

identifiers = text | integers
unknown_fields = st.dictionaries(st.text("xyz", min_size=1, max_size=4), json_values, max_size=1)


def wire_object(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object with all required fields; each optional one is present, null or absent."""
    maybe = {name: st.none() | values for name, values in optional.items()}
    known = st.fixed_dictionaries(required, optional=maybe)
    return st.builds(lambda unknown, fields: {**unknown, **fields}, unknown_fields, known)


wire_users = wire_object(
    {"platform": text, "user_id": identifiers}, {"user_nickname": identifiers, "user_cardname": identifiers}
)
wire_groups = wire_object({"platform": text, "group_id": identifiers}, {"group_name": identifiers})
wire_sides = wire_object({}, {"user_info": wire_users, "group_info": wire_groups})
wire_formats = wire_object({}, dict.fromkeys(("content_format", "accept_format"), st.lists(text, max_size=2)))
wire_templates = wire_object(
    {}, {"template_items": json_objects, "template_name": json_objects, "template_default": st.booleans()}
)
wire_segments: st.SearchStrategy[dict[str, Any]] = st.recursive(
    wire_object({"type": plain_types, "data": json_values}, {}),
    lambda inner: wire_object({"type": st.just("seglist"), "data": st.lists(inner, max_size=3)}, {}),
    max_leaves=5,
)
wire_infos = wire_object(
    {"platform": text, "message_id": identifiers, "time": finite | st.integers(0, 2**40)},
    {
        "format_info": wire_formats,
        "template_info": wire_templates,
        "additional_config": json_objects,
        "sender_info": wire_sides,
        "receiver_info": wire_sides,
    },
)
wire_dims = wire_object({"api_key": text, "platform": text}, {})
wire_messages = wire_object(
    {"message_info": wire_infos, "message_segment": wire_segments, "message_dim": wire_dims}, {}
)
