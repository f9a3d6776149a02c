"""`MessageConverter`: the conversions with the names that maim_message gives them, and with a clock."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from maim_trio._legacy.convert import from_api, platform_of, to_api
from maim_trio._wire.ids import new_msg_id
from maim_trio.message import MessageDim

if TYPE_CHECKING:
    from maim_trio._legacy.message import MessageBase
    from maim_trio.message import APIMessageBase

__all__ = ["MessageConverter"]


class MessageConverter:
    """Makes messages of the API-Server of legacy ones, and legacy ones of those.

    A legacy message has the other end of the conversation in `message_info.group_info` and `user_info`. ``…_receive``
    is for what comes from a platform, where that end is the sender; ``…_send`` for what goes there, where it is the
    receiver. Nothing is checked and nothing large is copied: `data`, `additional_config` and the lists and dicts of
    formats and templates are shared by both messages.
    """

    @staticmethod
    def to_api_receive(message: MessageBase, api_key: str, platform: str | None = None) -> APIMessageBase:
        """A message that came from a platform, for the API-Server: group and user are its `sender_info`.

        `api_key` and `platform` are whom it is for (`message_dim`). `platform` is also written as the message's own;
        None means the one the message has, or ``unknown``. A message without id or time gets a new id, or the time of
        the call. Group and user are taken from `sender_info`, then `receiver_info`, where the message has none beside
        them. `raw_message` is dropped.
        """
        return _to_api(message, api_key, platform, outgoing=False)

    @staticmethod
    def to_api_send(message: MessageBase, api_key: str, platform: str | None = None) -> APIMessageBase:
        """A message that goes to a platform, for the API-Server: group and user are its `receiver_info`.

        All else is as in `to_api_receive`.
        """
        return _to_api(message, api_key, platform, outgoing=True)

    @staticmethod
    def from_api_receive(api_message: APIMessageBase) -> MessageBase:
        """A message that came from a platform, as a legacy one: its group and user are those of `sender_info`.

        `sender_info` and `receiver_info` are kept, `message_dim` is dropped.
        """
        return from_api(api_message, outgoing=False)

    @staticmethod
    def from_api_send(api_message: APIMessageBase) -> MessageBase:
        """A message that goes to a platform, as a legacy one: its group and user are those of `receiver_info`.

        `sender_info` and `receiver_info` are kept, `message_dim` is dropped.
        """
        return from_api(api_message, outgoing=True)


def _to_api(message: MessageBase, api_key: str, platform: str | None, *, outgoing: bool) -> APIMessageBase:
    now = time.time()
    dim = MessageDim(api_key, platform_of(message, platform))
    message_id = new_msg_id("msg", os.urandom(6).hex(), now)
    return to_api(message, dim, outgoing=outgoing, message_id=message_id, time=now)
