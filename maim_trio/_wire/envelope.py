"""What a data frame holds once it is decoded, and the names that the wire protocol gives to kinds and errors."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias

import msgspec

from maim_trio.message import APIMessageBase  # noqa: TC001  msgspec evaluates the annotations of structs

__all__ = [
    "CUSTOM_PREFIX",
    "INVALID_ENVELOPE",
    "INVALID_JSON",
    "INVALID_PAYLOAD",
    "MAX_ERROR_TEXT",
    "MAX_MSG_ID",
    "NO_HANDLER",
    "RATE_LIMITED",
    "SYS_ACK",
    "SYS_ERROR",
    "SYS_PREFIX",
    "SYS_STD",
    "TOO_DEEP",
    "UNKNOWN_TYPE",
    "UNSUPPORTED_VERSION",
    "VERSION",
    "Ack",
    "Bare",
    "Custom",
    "Envelope",
    "FrameError",
    "Ignored",
    "MsgId",
    "PeerError",
    "Standard",
]

VERSION: Final = 1

SYS_PREFIX: Final = "sys_"
SYS_STD: Final = "sys_std"
SYS_ACK: Final = "sys_ack"
SYS_ERROR: Final = "sys_error"
CUSTOM_PREFIX: Final = "custom_"

INVALID_JSON: Final = "invalid_json"
INVALID_ENVELOPE: Final = "invalid_envelope"
UNSUPPORTED_VERSION: Final = "unsupported_version"
UNKNOWN_TYPE: Final = "unknown_type"
INVALID_PAYLOAD: Final = "invalid_payload"
NO_HANDLER: Final = "no_handler"
TOO_DEEP: Final = "too_deep"
RATE_LIMITED: Final = "rate_limited"

MAX_MSG_ID: Final = 256
"""Characters. Ids are kept for the whole dedupe window, 65,536 of them: they must not be as large as messages."""
MAX_ERROR_TEXT: Final = 300
"""Characters of an error's text, whoever wrote it: it goes to the other side and into logs."""

MsgId: TypeAlias = Annotated[str, msgspec.Meta(max_length=MAX_MSG_ID)]


class Standard(msgspec.Struct, kw_only=True, tag_field="type", tag=SYS_STD, rename={"message": "payload"}):
    """A standard message in its envelope. `msg_id` None: no ack, no duplicate check. `meta` is what the peer claims."""

    message: APIMessageBase
    msg_id: MsgId | None = None
    meta: dict[str, Any] = msgspec.field(default_factory=dict)
    ver: Literal[1] = VERSION
    bare: ClassVar[bool] = False
    """Whether the message came without an envelope."""

    def __repr__(self) -> str:
        # Without meta: a maim_message client puts its API key there.
        return f"{type(self).__name__}(msg_id={self.msg_id!r}, message={self.message!r})"


class Bare(Standard, tag="bare"):
    """A message that came without an envelope; it has no `msg_id` and no `meta`."""

    bare: ClassVar[bool] = True


class Custom(msgspec.Struct, kw_only=True):
    """A custom message in its envelope. `type` begins with ``custom_``, `payload` is any JSON object."""

    type: str
    payload: dict[str, Any]
    msg_id: MsgId | None = None
    meta: dict[str, Any] = msgspec.field(default_factory=dict)
    ver: Literal[1] = VERSION

    def __repr__(self) -> str:
        return f"Custom(type={self.type!r}, msg_id={self.msg_id!r}, {len(self.payload)} keys)"


class Ack(msgspec.Struct, frozen=True, gc=False):
    """The peer has taken responsibility for the message `acked_msg_id`."""

    acked_msg_id: str


class PeerError(msgspec.Struct, frozen=True):
    """The peer could not take a frame. What it left out or got wrong is empty: an error is not answered by an error."""

    code: str = ""
    message: str = ""
    failed_msg_id: str | None = None


class Ignored(msgspec.Struct, frozen=True):
    """A ``sys_`` type of a later protocol: no answer, no complaint."""

    type: str


Envelope: TypeAlias = Standard | Custom | Ack | PeerError | Ignored


class FrameError(Exception):
    """A frame that cannot be taken; it is answered with a ``sys_error``.

    `code` is one of the wire protocol's, `message` names the place (bounded in length, without any value of the frame
    but an unknown type's name), `msg_id` is the frame's own where it could be read.
    """

    def __init__(self, code: str, message: str, msg_id: str | None = None) -> None:
        if len(message) > MAX_ERROR_TEXT:
            message = message[: MAX_ERROR_TEXT - 1] + "…"
        super().__init__(code, message, msg_id)
        self.code = code
        self.message = message
        self.msg_id = msg_id

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"
