"""What is written to the file of a durable outbox, apart from the file: nobody needs SQLite to know of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

if TYPE_CHECKING:
    from maim_trio._runtime.outbox_file import Batch


class Change(msgspec.Struct, gc=False, eq=False):
    """Something to be written. What it refers to holds it only until it is settled, so the garbage collector need not
    look at it."""

    rank: ClassVar[int] = 0
    """After a failure, those of a lower rank are written first: they may make room."""

    def join(self, batch: Batch) -> None:
        raise NotImplementedError

    def settle(self, stored: bool) -> None:
        """It is on disk, or never will be."""
