"""Frames to envelopes.

One typed decode from bytes for what nearly all traffic is: standard messages and acks. What that refuses is looked at
again, custom messages first, then untyped: to be lenient where the protocol is, and to say what is wrong.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal, TypeVar

import msgspec

from maim_trio._wire.envelope import (
    CUSTOM_PREFIX,
    INVALID_ENVELOPE,
    INVALID_JSON,
    INVALID_PAYLOAD,
    MAX_ERROR_TEXT,
    MAX_MSG_ID,
    SYS_ACK,
    SYS_ERROR,
    SYS_PREFIX,
    SYS_STD,
    TOO_DEEP,
    UNKNOWN_TYPE,
    UNSUPPORTED_VERSION,
    VERSION,
    Ack,
    Bare,
    Custom,
    Envelope,
    FrameError,
    Ignored,
    MsgId,
    PeerError,
    Standard,
)
from maim_trio._wire.text import one_line
from maim_trio.errors import InvalidMessage
from maim_trio.message._decode import finish, from_builtins
from maim_trio.message._json import PARSE_ERRORS, kind_of

__all__ = ["decode"]

T = TypeVar("T")

_KIND_NAMES: Final = {dict: "object", str: "str", int: "int"}
# An id that stands first, or right after the version, is found even when the rest of the frame is beyond reading.
_LEADING_MSG_ID: Final = (
    rb'\s*\{\s*(?:"ver"\s*:\s*1\s*,\s*)?"msg_id"\s*:\s*("(?:[^"\\\x00-\x1f]|\\.){0,%d}")' % MAX_MSG_ID
)
_ESCAPED_SURROGATE: Final = rb"\\u[dD][89a-fA-F]"


class _AckMeta(msgspec.Struct, gc=False):
    acked_msg_id: str


class _AckEnvelope(msgspec.Struct, tag_field="type", tag=SYS_ACK, gc=False):
    meta: _AckMeta
    msg_id: MsgId | None = None
    ver: Literal[1] = VERSION


_decode_system: Final = msgspec.json.Decoder(Standard | _AckEnvelope).decode
_decode_custom: Final = msgspec.json.Decoder(Custom).decode
_decode_any: Final = msgspec.json.Decoder().decode


def decode(frame: bytes) -> Envelope:
    """The envelope in one data frame. Raises `FrameError` and nothing else, whatever the bytes are.

    Members that the protocol does not know are skipped, their strings unread.
    """
    try:
        try:
            envelope = _decode_system(frame)
        except msgspec.ValidationError as error:
            return _decode_other(frame, str(error))
    except PARSE_ERRORS as error:
        raise _unreadable(frame, error) from None
    if type(envelope) is not Standard:
        return Ack(envelope.meta.acked_msg_id)
    try:
        finish(envelope.message, "$.payload")
    except InvalidMessage as error:
        raise FrameError(error.code, str(error), envelope.msg_id) from None
    return envelope


def _decode_other(frame: bytes, problem: str) -> Envelope:
    """What is no well-typed standard message or ack. `problem` is what the typed decode said about it."""
    problems = [problem]
    try:
        envelope = _decode_custom(frame)
    except msgspec.ValidationError as error:
        problems.append(str(error))
    else:
        if _is_custom(envelope.type):
            return envelope
        if envelope.type == SYS_STD:
            return _standard(envelope.payload, envelope.msg_id, envelope.meta)
    try:
        value = _decode_any(frame)
    except msgspec.ValidationError as error:
        problems.append(str(error))
        raise _out_of_range(frame, problems) from None
    if type(value) is not dict:
        raise FrameError(INVALID_ENVELOPE, f"Expected `object`, got `{kind_of(value)}` - at `$`")
    return _read(value)


def _read(envelope: dict[str, Any]) -> Envelope:
    """An envelope out of untyped JSON: each rule of the protocol by itself, null being as good as absent."""
    kind = envelope.get("type")
    if kind is None and "message_info" in envelope and "message_segment" in envelope:
        return _bare(envelope)
    if kind == SYS_ERROR:
        return _peer_error(envelope)
    msg_id = _readable_id(envelope.get("msg_id"))
    if _field(envelope, "ver", int, INVALID_ENVELOPE, msg_id) not in (None, VERSION):
        raise FrameError(UNSUPPORTED_VERSION, f"Only version {VERSION} is spoken here - at `$.ver`", msg_id)
    kind = _required(_field(envelope, "type", str, INVALID_ENVELOPE, msg_id), "type", INVALID_ENVELOPE, msg_id)
    if kind not in (SYS_STD, SYS_ACK) and not _is_custom(kind):
        if kind.startswith(SYS_PREFIX):
            return Ignored(kind)
        raise FrameError(UNKNOWN_TYPE, f"Unknown type {kind!r:.80} - at `$.type`", msg_id)
    if msg_id is None:
        _refuse_msg_id(envelope)
    meta = _field(envelope, "meta", dict, INVALID_ENVELOPE, msg_id) or {}
    if kind == SYS_ACK:
        return _ack(meta, msg_id)
    payload = _field(envelope, "payload", dict, INVALID_PAYLOAD, msg_id)
    payload = _required(payload, "payload", INVALID_PAYLOAD, msg_id)
    if kind == SYS_STD:
        return _standard(payload, msg_id, meta)
    return Custom(type=kind, payload=payload, msg_id=msg_id, meta=meta)


def _is_custom(kind: str) -> bool:
    return kind.startswith(CUSTOM_PREFIX) and kind != CUSTOM_PREFIX


def _standard(payload: dict[str, Any], msg_id: str | None, meta: dict[str, Any]) -> Standard:
    try:
        message = from_builtins(payload, "$.payload")
    except InvalidMessage as error:
        raise FrameError(error.code, str(error), msg_id) from None
    return Standard(message=message, msg_id=msg_id, meta=meta)


def _bare(payload: dict[str, Any]) -> Bare:
    try:
        return Bare(message=from_builtins(payload))
    except InvalidMessage as error:
        raise FrameError(error.code, str(error)) from None


def _ack(meta: dict[str, Any], msg_id: str | None) -> Ack:
    acked = meta.get("acked_msg_id")
    if acked is None:
        raise FrameError(INVALID_ENVELOPE, "Object missing required field `acked_msg_id` - at `$.meta`", msg_id)
    if type(acked) is not str:
        problem = f"Expected `str`, got `{kind_of(acked)}` - at `$.meta.acked_msg_id`"
        raise FrameError(INVALID_ENVELOPE, problem, msg_id)
    return Ack(acked)


def _peer_error(envelope: dict[str, Any]) -> PeerError:
    meta, payload = envelope.get("meta"), envelope.get("payload")
    texts = payload if type(payload) is dict else {}
    code, message = texts.get("code"), texts.get("message")
    return PeerError(
        code=one_line(code, MAX_ERROR_TEXT) if type(code) is str else "",
        message=one_line(message, MAX_ERROR_TEXT) if type(message) is str else "",
        failed_msg_id=_readable_id(meta.get("failed_msg_id")) if type(meta) is dict else None,
    )


def _field(envelope: dict[str, Any], name: str, kind: type[T], code: str, msg_id: str | None) -> T | None:
    """A member of exactly this type, or None when it is absent or null."""
    value = envelope.get(name)
    if value is not None and type(value) is not kind:
        problem = f"Expected `{_KIND_NAMES[kind]}`, got `{kind_of(value)}` - at `$.{name}`"
        raise FrameError(code, problem, msg_id)
    return value


def _required(value: T | None, name: str, code: str, msg_id: str | None) -> T:
    if value is None:
        raise FrameError(code, f"Object missing required field `{name}` - at `$`", msg_id)
    return value


def _readable_id(value: object) -> str | None:
    return value if type(value) is str and len(value) <= MAX_MSG_ID else None


def _refuse_msg_id(envelope: dict[str, Any]) -> None:
    """Raises for a `msg_id` that is there and is not readable."""
    if _field(envelope, "msg_id", str, INVALID_ENVELOPE, None) is not None:
        raise FrameError(INVALID_ENVELOPE, f"Expected `str` of length <= {MAX_MSG_ID} - at `$.msg_id`")


def _out_of_range(frame: bytes, problems: list[str]) -> FrameError:
    """The error for a number beyond Python's; the earlier a decoder met it, the better it names the place."""
    problem = next(text for text in problems if "out of range" in text)
    for place, code in (("`$.payload", INVALID_PAYLOAD), ("`$.", INVALID_ENVELOPE)):
        if place in problem:
            return FrameError(code, problem, _leading_msg_id(frame))
    return FrameError(INVALID_JSON, problem, _leading_msg_id(frame))


def _unreadable(frame: bytes, error: Exception) -> FrameError:
    """The error for a frame that is no JSON, or is nested deeper than the interpreter goes."""
    msg_id = _leading_msg_id(frame)
    if isinstance(error, RecursionError):
        return FrameError(TOO_DEEP, "Nested too deep - at `$`", msg_id)
    if isinstance(error, UnicodeError):
        return FrameError(INVALID_JSON, "Text is not valid UTF-8", msg_id)
    problem = str(error)
    if re.search(_ESCAPED_SURROGATE, frame):
        # msgspec takes a surrogate at the end of a string for the end of the input.
        problem += " (or a lone surrogate)"
    return FrameError(INVALID_JSON, problem, msg_id)


def _leading_msg_id(frame: bytes) -> str | None:
    found = re.match(_LEADING_MSG_ID, frame)
    if found is None:
        return None
    try:
        msg_id: str = _decode_any(found[1])
    except PARSE_ERRORS:
        return None
    return msg_id
