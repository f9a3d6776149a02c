"""A message on its way to the courier, and whoever waits for what becomes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import trio

from maim_trio._transport.parking import ParkingSpot

if TYPE_CHECKING:
    from maim_trio._delivery.outbox import Entry
    from maim_trio._runtime.courier import Courier
    from maim_trio._runtime.session import Session


class Letter(msgspec.Struct, frozen=True, gc=False):
    """An encoded message and its id."""

    msg_id: str
    payload: bytes


class Confirmation:
    """Waits for the acknowledgement of one message by one peer."""

    def __init__(self, courier: Courier, session: Session) -> None:
        self.acknowledged = False
        self._courier = courier
        self._session = session
        self._entry: Entry | None = None
        self._settled = trio.Event()

    def posted(self, entry: Entry | None) -> None:
        self._entry = entry

    def settle(self, acknowledged: bool) -> None:
        self.acknowledged = acknowledged
        self._settled.set()

    async def wait(self) -> None:
        """Until the outcome is known; at once for a message that was refused."""
        if self._entry is not None:
            await self._settled.wait()

    def withdraw(self) -> None:
        """Nobody waits any more: what was not written is taken back, what was may still arrive."""
        if self._entry is not None and not self._settled.is_set():
            self._courier.withdraw(self._session, self._entry)


class Storing(ParkingSpot):
    """Where somebody waits until a number of messages are stored."""

    __slots__ = ("_left",)

    def __init__(self, messages: int) -> None:
        super().__init__()
        self._left = messages

    def stored(self) -> None:
        self._left -= 1
        if not self._left:
            self.wake()
