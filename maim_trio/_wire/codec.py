"""The codec of the wire protocol: frames to envelopes and back. This is the module that the other layers import."""

from __future__ import annotations

from maim_trio._wire.decoding import decode
from maim_trio._wire.encoding import (
    AckWriter,
    Meta,
    custom_type,
    encode_ack,
    encode_custom,
    encode_error,
    encode_standard,
)
from maim_trio._wire.envelope import Ack, Bare, Custom, Envelope, FrameError, Ignored, PeerError, Standard

__all__ = [
    "Ack",
    "AckWriter",
    "Bare",
    "Custom",
    "Envelope",
    "FrameError",
    "Ignored",
    "Meta",
    "PeerError",
    "Standard",
    "custom_type",
    "decode",
    "encode_ack",
    "encode_custom",
    "encode_error",
    "encode_standard",
]
