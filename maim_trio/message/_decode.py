"""The steps around msgspec's own encoding and decoding, for code that handles a message as part of something larger.

`path` is where the message stands in what was parsed, for the texts of errors.
"""

from __future__ import annotations

from maim_trio.message._api import APIMessageBase

__all__ = ["finish", "from_builtins", "prepare"]


def finish(message: APIMessageBase, path: str = "$") -> APIMessageBase:
    """The same object, after what a typed decode leaves undone: nested segments, and fields required on the wire.

    Raises InvalidMessage.
    """
    message._finish(path)
    return message


def from_builtins(value: object, path: str = "$") -> APIMessageBase:
    """A message made of what an untyped JSON decode returned, which is used up and must not be read afterwards.

    Lenient where the typed decode is not: integers as identifiers, null for every optional field. Raises
    InvalidMessage.
    """
    return APIMessageBase._from_builtins(value, path)


def prepare(message: APIMessageBase) -> APIMessageBase:
    """The message as msgspec may encode it: itself when all is in order, otherwise a copy. Raises InvalidMessage.

    Encoding can still fail on lone surrogates, depth and integers of thousands of digits (`UnicodeEncodeError`,
    `RecursionError`, `ValueError`). `APIMessageBase.to_json` handles these too, with the place in the text.
    """
    return message if message._in_order() else message._checked()  # asked here, too: a call less
