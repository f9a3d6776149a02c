"""What hypothesis makes legacy messages of: objects of the package, and dicts as other programs write them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from maim_trio import (
    BaseMessageInfo,
    FormatInfo,
    GroupInfo,
    InfoBase,
    MessageBase,
    ReceiverInfo,
    SenderInfo,
    TemplateInfo,
    UserInfo,
)
from tests.message.strategies import (
    finite,
    identifiers,
    json_objects,
    segments,
    text,
    unknown_fields,
    wire_formats,
    wire_object,
    wire_segments,
)

maybe_text = st.none() | text
maybe_identifier = st.none() | identifiers
maybe_object = st.none() | json_objects
times = st.integers(0, 2**40) | finite

# Objects of the package. Everything may be absent.

maybe_texts = st.none() | st.lists(text, max_size=3)
groups = st.builds(GroupInfo, maybe_text, maybe_identifier, maybe_identifier)
users = st.builds(UserInfo, maybe_text, maybe_identifier, maybe_identifier, maybe_identifier)
sides = (st.none() | groups, st.none() | users)
senders, receivers = st.builds(SenderInfo, *sides), st.builds(ReceiverInfo, *sides)
formats = st.builds(FormatInfo, maybe_texts, maybe_texts)
templates = st.builds(TemplateInfo, maybe_object, maybe_object, st.booleans())
infos = st.builds(
    BaseMessageInfo,
    platform=maybe_text,
    message_id=maybe_identifier,
    time=st.none() | times,
    group_info=st.none() | groups,
    user_info=st.none() | users,
    format_info=st.none() | formats,
    template_info=st.none() | templates,
    additional_config=maybe_object,
    sender_info=st.none() | senders,
    receiver_info=st.none() | receivers,
)
messages = st.builds(MessageBase, infos, segments, maybe_text)
objects: st.SearchStrategy[Any] = st.one_of(
    messages, infos, groups, users, st.builds(InfoBase, *sides), senders, receivers, formats, templates, segments
)

# Dicts as adapters write them: each field present, null or absent, integers as ids, fields that nobody knows.

wire_groups = wire_object({}, {"platform": text, "group_id": identifiers, "group_name": identifiers})
wire_users = wire_object(
    {}, {"platform": text, **dict.fromkeys(("user_id", "user_nickname", "user_cardname"), identifiers)}
)
wire_sides = wire_object({}, {"group_info": wire_groups, "user_info": wire_users})
wire_templates = st.builds(
    lambda default, rest: {**rest, **default},
    st.fixed_dictionaries({}, optional={"template_default": st.booleans()}),
    wire_object({}, {"template_items": json_objects, "template_name": json_objects}),
)
wire_infos = wire_object(
    {},
    {
        "platform": text,
        "message_id": identifiers,
        "time": times,
        "group_info": wire_groups,
        "user_info": wire_users,
        "format_info": wire_formats,
        "template_info": wire_templates,
        "additional_config": json_objects,
        "sender_info": wire_sides,
        "receiver_info": wire_sides,
    },
)
wire_messages = st.builds(
    lambda info, rest: {**rest, **info},
    st.fixed_dictionaries({}, optional={"message_info": wire_infos}),
    wire_object({"message_segment": wire_segments}, {"raw_message": text}),
)
wire_parts = st.one_of(
    st.tuples(st.just("MessageBase"), wire_messages),
    st.tuples(st.just("BaseMessageInfo"), wire_infos),
    st.tuples(st.just("GroupInfo"), wire_groups),
    st.tuples(st.just("UserInfo"), wire_users),
    st.tuples(st.sampled_from(["InfoBase", "SenderInfo", "ReceiverInfo"]), wire_sides),
    st.tuples(st.just("FormatInfo"), wire_formats),
    st.tuples(st.just("TemplateInfo"), wire_templates),
    st.tuples(st.just("Seg"), wire_segments),
)

__all__ = ["messages", "objects", "unknown_fields", "wire_messages", "wire_parts"]
