"""A link in an `async with` block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from types import TracebackType

    from .link import Link

__all__ = ["running"]


class running:
    """`async with running(link):` runs the link's writer for the body, then closes the link.

    Leaving is `link.aclose()` (with 1000, unless the link is closed already); when cancelled, the stream is closed at
    once. What the body raises passes through as it is, not wrapped in a group.
    """

    __slots__ = ("_link", "_manager", "_nursery")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._manager = trio.open_nursery()

    async def __aenter__(self) -> Link:
        self._nursery = await self._manager.__aenter__()
        self._nursery.start_soon(self._link.run_writer)
        return self._link

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._link.aclose()
        finally:
            self._nursery.cancel_scope.cancel()
            await self._manager.__aexit__(None, None, None)
