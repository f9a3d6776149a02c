"""Envelopes to frames: UTF-8 JSON, members in the order that the protocol's examples have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from maim_trio._wire.envelope import CUSTOM_PREFIX, MAX_ERROR_TEXT, SYS_ACK, SYS_ERROR, SYS_STD, VERSION
from maim_trio._wire.ids import COUNTER_MASK
from maim_trio.errors import InvalidMessage
from maim_trio.message import APIMessageBase
from maim_trio.message._decode import prepare
from maim_trio.message._json import is_json, json_value, kind_of, parse_error

if TYPE_CHECKING:
    from maim_trio._wire.ids import AckIds

__all__ = ["AckWriter", "Meta", "custom_type", "encode_ack", "encode_custom", "encode_error", "encode_standard"]


class _Outgoing(msgspec.Struct, gc=False):
    """Any envelope on its way out; the order of the fields is the order on the wire."""

    ver: int
    msg_id: str | UnsetType
    type: str
    meta: Any
    payload: Any


class Meta(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """The meta of an ordinary message of ours: who sends it, for whom, when (Unix seconds). The strings are exactly
    `str`, so that nothing needs to be checked."""

    sender_user: str
    target_user: str | None = None
    platform: str | None = None
    timestamp: float


_encode: Final = msgspec.json.Encoder().encode


def encode_standard(message: APIMessageBase, *, msg_id: str, meta: Mapping[str, Any] | Meta) -> bytes:
    """The frame of a standard message. Raises `InvalidMessage`, naming the place, for what JSON or the schema has not.

    The message is not changed.
    """
    if not isinstance(message, APIMessageBase):
        raise InvalidMessage(f"Expected `APIMessageBase`, got `{kind_of(message)}` - at `$`")
    known = meta if type(meta) is Meta else _sendable(meta, "$.meta")  # type: ignore[arg-type]
    try:
        return _encode(_Outgoing(VERSION, msg_id, SYS_STD, known, prepare(message)))
    except (ValueError, RecursionError) as error:
        message.to_json()  # raises the same, with the place, unless the message is innocent
        raise _unencodable(error, meta=msgspec.to_builtins(known)) from None


def encode_custom(type: str, payload: Mapping[str, Any], *, msg_id: str | None, meta: Mapping[str, Any]) -> bytes:
    """The frame of a custom message; ``custom_`` is added to a type that lacks it.

    Raises `InvalidMessage`, naming the place, for a payload that would not come out of JSON as it went in.
    """
    try:
        type = custom_type(type)
    except ValueError as error:
        raise InvalidMessage(str(error)) from None
    payload, meta = _sendable(payload, "$.payload"), _sendable(meta, "$.meta")
    try:
        return _encode(_Outgoing(VERSION, UNSET if msg_id is None else msg_id, type, meta, payload))
    except (ValueError, RecursionError) as error:
        raise _unencodable(error, type=type, meta=meta, payload=payload) from None


def encode_ack(*, msg_id: str, connection_uuid: str, acked_msg_id: str, now: float, by_client: bool = False) -> bytes:
    """The frame that acknowledges `acked_msg_id`. `now` is the Unix time in seconds."""
    form = _ack_form(b"%b", connection_uuid, by_client)
    time = _encode(now)
    return form % (_encoded(msg_id)[1:-1], _encoded(acked_msg_id), time, time)


class AckWriter:
    """Writes the acks of one connection. Their form is fixed, so only what changes is encoded: a third of the cost."""

    __slots__ = ("_counter", "_form")

    def __init__(self, ids: AckIds, connection_uuid: str, *, by_client: bool = False) -> None:
        self._counter = ids.counter
        self._form = _ack_form(b"%b%%012x" % ids.prefix.encode(), connection_uuid, by_client)

    def write(self, acked_msg_id: str, now: float) -> bytes:
        """One frame, with an id of its own. `now` is the Unix time in seconds."""
        time = _encode(now)
        try:
            return self._form % (next(self._counter) & COUNTER_MASK, _encode(acked_msg_id), time, time)
        except UnicodeEncodeError as error:
            raise parse_error(error, "$.meta") from None

    def write_all(self, acked_msg_ids: list[str], now: float) -> list[bytes]:
        """A frame for each of them."""
        form, counter, time = self._form, self._counter, _encode(now)
        try:
            return [form % (next(counter) & COUNTER_MASK, _encode(acked), time, time) for acked in acked_msg_ids]
        except UnicodeEncodeError as error:
            raise parse_error(error, "$.meta") from None


def _ack_form(msg_id: bytes, connection_uuid: str, by_client: bool) -> bytes:
    uuid, side = _encoded(connection_uuid).replace(b"%", b"%%"), b"client" if by_client else b"server"
    return (
        b'{"ver":%d,"msg_id":"%b","type":"%b","meta":{"uuid":%b,"acked_msg_id":%%b,"timestamp":%%b},'
        b'"payload":{"status":"received","%b_timestamp":%%b}}'
    ) % (VERSION, msg_id, SYS_ACK.encode(), uuid, side)


def _encoded(text: str) -> bytes:
    try:
        return _encode(text)
    except UnicodeEncodeError as error:
        raise parse_error(error, "$.meta") from None


def encode_error(*, code: str, message: str, connection_uuid: str, failed_msg_id: str | None, now: float) -> bytes:
    """The frame that says why a frame was not taken. It has no id, so nobody acks it; never fails over its texts."""
    meta: dict[str, Any] = {"uuid": _without_surrogates(connection_uuid)}
    if failed_msg_id is not None:
        meta["failed_msg_id"] = _without_surrogates(failed_msg_id)
    meta["timestamp"] = now
    payload = {"code": _without_surrogates(code), "message": _without_surrogates(message)[:MAX_ERROR_TEXT]}
    return _encode(_Outgoing(VERSION, UNSET, SYS_ERROR, meta, payload))


def custom_type(name: str) -> str:
    """The type on the wire of a custom message called `name`, with or without ``custom_``; ValueError for no name."""
    if not isinstance(name, str) or not name.removeprefix(CUSTOM_PREFIX):
        raise ValueError("the type of a custom message must be a non-empty string")
    return name if name.startswith(CUSTOM_PREFIX) else CUSTOM_PREFIX + name


def _sendable(value: Mapping[str, Any], path: str) -> dict[str, Any]:
    """`value` itself when it is plain JSON, a plain copy of it, or InvalidMessage with the place of what is not."""
    plain = value if type(value) is dict else dict(value) if isinstance(value, Mapping) else value
    if type(plain) is not dict:
        raise InvalidMessage(f"Expected `object`, got `{kind_of(plain)}` - at `{path}`")
    if is_json(plain):
        return plain
    copy: dict[str, Any] = json_value(plain, path)
    return copy


def _unencodable(error: Exception, **members: str | dict[str, Any]) -> InvalidMessage:
    """What `is_json` leaves to the encoder: lone surrogates, integers of thousands of digits, depth."""
    for name, value in members.items():
        try:
            json_value(value, f"$.{name}")
        except InvalidMessage as found:
            return found
    return parse_error(error, "$")


def _without_surrogates(text: str) -> str:
    return text.encode(errors="replace").decode()
