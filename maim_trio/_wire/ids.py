"""Ids of envelopes. Randomness is passed in."""

from __future__ import annotations

from itertools import count
from typing import Final

__all__ = ["COUNTER_MASK", "AckIds", "new_msg_id"]

_COUNTER_BITS: Final = 48
COUNTER_MASK: Final = (1 << _COUNTER_BITS) - 1
"""The bits of the counter that an id has room for."""


def new_msg_id(prefix: str, random_hex12: str, unix_seconds: float) -> str:
    """An id as the peers write it, ``msg_3f0c1a2b4d5e_1703123456``; `prefix` is ``msg`` or ``custom``."""
    return f"{prefix}_{random_hex12}_{int(unix_seconds)}"


class AckIds:
    """The ids of acks: distinct, and each a valid UUID4 to a peer that checks; ten times cheaper than drawing one.

    `random` is an integer of 122 random bits: 74 are the same in all ids of this object, the counter begins at the
    other 48. Nobody acks an ack or compares its id, so that they can be guessed does no harm.
    """

    __slots__ = ("counter", "prefix")

    def __init__(self, random: int) -> None:
        self.counter = count(random & COUNTER_MASK)
        head = f"{(random >> _COUNTER_BITS) & ((1 << 74) - 1):019x}"
        # 74 bits are 18 and a half digits: the half one, 0 to 3, becomes the variant, 8 to b.
        variant = "89ab"[int(head[0], 16)]
        self.prefix = f"{head[1:9]}-{head[9:13]}-4{head[13:16]}-{variant}{head[16:19]}-"

    def next(self) -> str:
        """The next id: `prefix` and the next 12 digits of `counter`."""
        return f"{self.prefix}{next(self.counter) & COUNTER_MASK:012x}"
