from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maim_trio import message as api
from maim_trio._legacy import message as legacy
from maim_trio._legacy.convert import from_api, platform_of, to_api
from tests.legacy.strategies import messages
from tests.message.strategies import dims

USER = legacy.UserInfo("qq", 10001, "nick", 5)
GROUP = legacy.GroupInfo("qq", "g1", None)
DIM = api.MessageDim("demo_key_456", "wechat")


def converted(*, outgoing: bool = False, **info: Any) -> api.BaseMessageInfo:
    message = legacy.MessageBase(legacy.BaseMessageInfo(**info), legacy.Seg("text", "hello"), "raw")
    return to_api(message, DIM, outgoing=outgoing, message_id="fresh", time=1.5).message_info


def test_the_other_end_is_the_sender_of_what_comes_in():
    info = converted(group_info=GROUP, user_info=USER)

    assert info.sender_info == api.SenderInfo(api.GroupInfo("qq", "g1"), api.UserInfo("qq", "10001", "nick", "5"))
    assert info.receiver_info is None


def test_the_other_end_is_the_receiver_of_what_goes_out():
    info = converted(group_info=GROUP, user_info=USER, outgoing=True)

    assert info.receiver_info == api.ReceiverInfo(api.GroupInfo("qq", "g1"), api.UserInfo("qq", "10001", "nick", "5"))
    assert info.sender_info is None


def test_each_part_of_the_other_end_comes_from_the_first_place_that_has_it():
    sender = legacy.SenderInfo(legacy.GroupInfo("qq", "of sender"), None)
    receiver = legacy.ReceiverInfo(legacy.GroupInfo("qq", "of receiver"), legacy.UserInfo("qq", "of receiver"))

    only_sides = converted(sender_info=sender, receiver_info=receiver).sender_info
    with_user = converted(user_info=USER, sender_info=sender, receiver_info=receiver).sender_info

    assert only_sides == api.SenderInfo(api.GroupInfo("qq", "of sender"), api.UserInfo("qq", "of receiver"))
    assert with_user == api.SenderInfo(api.GroupInfo("qq", "of sender"), api.UserInfo("qq", "10001", "nick", "5"))


def test_without_user_and_group_there_is_no_other_end():
    info = converted(sender_info=legacy.SenderInfo(), receiver_info=legacy.ReceiverInfo())

    assert (info.sender_info, info.receiver_info) == (None, None)


def test_what_a_user_or_group_lacks_is_filled_in():
    info = converted(user_info=legacy.UserInfo(), group_info=legacy.GroupInfo())

    assert info.sender_info == api.SenderInfo(api.GroupInfo("wechat", ""), api.UserInfo("wechat", ""))


def test_id_and_time_are_the_messages_own_or_the_given_ones():
    own, given_ones = converted(message_id=7, time=3), converted()

    assert (own.message_id, own.time) == ("7", 3)
    assert (given_ones.message_id, given_ones.time) == ("fresh", 1.5)


@pytest.mark.parametrize(
    ("asked", "own", "platform"),
    [("qq", "wechat", "qq"), (None, "wechat", "wechat"), ("", "", "unknown"), (None, None, "unknown")],
)
def test_the_platform_is_the_asked_one_or_the_messages_own(asked: str | None, own: str | None, platform: str):
    message = legacy.MessageBase(legacy.BaseMessageInfo(own), legacy.Seg("text", ""))
    assert platform_of(message, asked) == platform


@given(messages, dims, st.booleans())
def test_every_legacy_message_becomes_one_that_can_be_sent(
    message: legacy.MessageBase, dim: api.MessageDim, outgoing: bool
):
    made = to_api(message, dim, outgoing=outgoing, message_id="fresh", time=1.5)

    assert made.message_dim == dim
    assert api.APIMessageBase.from_json(made.to_json()).to_dict() == made.to_dict()


@given(messages, st.booleans())
def test_there_and_back_the_other_end_and_the_content_are_the_same(message: legacy.MessageBase, outgoing: bool):
    there = to_api(message, DIM, outgoing=outgoing, message_id="fresh", time=1.5)
    back = from_api(there, outgoing=outgoing)
    again = to_api(back, DIM, outgoing=outgoing, message_id="fresh", time=1.5)

    assert again.to_dict() == there.to_dict()
    assert back.message_segment.to_dict() == message.message_segment.to_dict()
