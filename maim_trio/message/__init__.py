"""The messages that servers and clients exchange, as mutable structs. Importing this imports nothing of the network.

Every class has `to_dict`, `from_dict`, `to_json` and `from_json`. Absent optional fields are absent, never null.
"""

from __future__ import annotations

from maim_trio.message._api import APIMessageBase
from maim_trio.message._info import (
    BaseMessageInfo,
    FormatInfo,
    GroupInfo,
    InfoBase,
    MessageDim,
    ReceiverInfo,
    SenderInfo,
    TemplateInfo,
    UserInfo,
)
from maim_trio.message._segments import Seg

__all__ = [
    "APIMessageBase",
    "BaseMessageInfo",
    "FormatInfo",
    "GroupInfo",
    "InfoBase",
    "MessageDim",
    "ReceiverInfo",
    "Seg",
    "SenderInfo",
    "TemplateInfo",
    "UserInfo",
]
