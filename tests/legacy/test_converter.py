from __future__ import annotations

import time

from maim_trio import BaseMessageInfo, MessageBase, MessageConverter, Seg, UserInfo
from maim_trio import message as api


def bare() -> MessageBase:
    return MessageBase(BaseMessageInfo("qq", user_info=UserInfo(user_id="1")), Seg("text", "hello"))


def test_a_message_without_id_and_time_gets_a_new_id_and_the_time_of_the_call():
    before = time.time()
    first, second = (MessageConverter.to_api_receive(bare(), "demo_key_456") for _ in range(2))

    assert first.get_message_id() != second.get_message_id()
    assert before <= first.get_message_time() <= time.time()


def test_it_is_addressed_to_the_key_and_the_platform():
    own, other = (MessageConverter.to_api_send(bare(), "demo_key_456", platform) for platform in (None, "wechat"))

    assert own.message_dim == api.MessageDim("demo_key_456", "qq")
    assert other.message_dim == api.MessageDim("demo_key_456", "wechat")
    assert other.get_message_platform() == "wechat"


def test_the_four_methods_differ_in_direction_and_side():
    received, sent = MessageConverter.to_api_receive(bare(), "k"), MessageConverter.to_api_send(bare(), "k")

    assert received.has_sender_info()
    assert not received.has_receiver_info()
    assert sent.has_receiver_info()
    assert not sent.has_sender_info()
    assert MessageConverter.from_api_receive(received).message_info.user_info == UserInfo("qq", "1")
    assert MessageConverter.from_api_send(received).message_info.user_info is None
    assert MessageConverter.from_api_send(sent).message_info.user_info == UserInfo("qq", "1")
    assert MessageConverter.from_api_receive(sent).message_info.user_info is None
