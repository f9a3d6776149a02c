"""The message itself."""

from __future__ import annotations

from typing import ClassVar, Self

import msgspec

from maim_trio.message._info import BaseMessageInfo, MessageDim
from maim_trio.message._model import Model
from maim_trio.message._segments import SEGLIST, Seg

__all__ = ["APIMessageBase"]


class APIMessageBase(Model):
    """A standard message: what is known about it, its content, and whom it is for. All three parts are required."""

    message_info: BaseMessageInfo
    message_segment: Seg
    message_dim: MessageDim

    _parts: ClassVar[dict[str, type[Model]]] = {
        "message_info": BaseMessageInfo,
        "message_segment": Seg,
        "message_dim": MessageDim,
    }

    def get_api_key(self) -> str:
        """The API key of the receiver (`message_dim.api_key`)."""
        return self.message_dim.api_key

    def get_platform(self) -> str:
        """The platform of the receiver (`message_dim.platform`), by which the message is routed."""
        return self.message_dim.platform

    def get_message_platform(self) -> str:
        """The platform that the message comes from (`message_info.platform`)."""
        return self.message_info.platform

    def get_message_id(self) -> str:
        """The id that the sender gave the message (`message_info.message_id`)."""
        return self.message_info.message_id

    def get_message_time(self) -> float:
        """When the message was made, in seconds since 1970, UTC (`message_info.time`)."""
        return self.message_info.time

    def set_message_dim(self, api_key: str, platform: str) -> None:
        """Readdresses the message. A `MessageDim` shared with other messages stays as it is."""
        self.message_dim = MessageDim(api_key, platform)

    def has_sender_info(self) -> bool:
        """Whether `message_info.sender_info` is present."""
        return self.message_info.sender_info is not None

    def has_receiver_info(self) -> bool:
        """Whether `message_info.receiver_info` is present."""
        return self.message_info.receiver_info is not None

    def _in_order(self) -> bool:
        info, segment, dim = self.message_info, self.message_segment, self.message_dim
        return (
            type(info) is BaseMessageInfo
            and type(segment) is Seg
            and type(dim) is MessageDim
            and info._in_order()
            and segment._in_order()
            and dim._in_order()
        )

    def _with_platforms(self) -> Self:
        info = self.message_info._with_platforms()
        return self if info is self.message_info else msgspec.structs.replace(self, message_info=info)

    def _finish(self, path: str) -> None:
        info = self.message_info
        sender, receiver = info.sender_info, info.receiver_info
        if (sender is not None and sender._missing() is not None) or (
            receiver is not None and receiver._missing() is not None
        ):
            info._finish(f"{path}.message_info")
        if self.message_segment.type == SEGLIST:
            self.message_segment._finish(f"{path}.message_segment")
