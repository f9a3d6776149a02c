"""The marks that say where Ctrl-C may land."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from maim_trio._transport.interrupts import interruptible, protected, uninterrupted

if TYPE_CHECKING:
    from collections.abc import Iterator


def lands_here() -> bool:
    return not trio.lowlevel.currently_ki_protected()


@uninterrupted
class Work:
    def of_ours(self) -> bool:
        return lands_here()

    @interruptible
    def of_users(self) -> bool:
        return lands_here()

    def of_users_through_ours(self) -> bool:
        return self.of_users()

    @contextmanager
    def with_a_decorator(self) -> Iterator[None]:
        yield


async def test_it_lands_in_what_users_have_written_and_not_in_what_is_ours() -> None:
    work = Work()
    assert lands_here()
    assert not work.of_ours()
    assert work.of_users()
    assert work.of_users_through_ours()


async def test_a_function_is_protected_with_all_that_it_calls() -> None:
    @protected
    async def task() -> bool:
        await trio.lowlevel.checkpoint()
        return lands_here()

    assert not await task()


async def test_the_code_of_a_decorator_is_left_alone_as_it_belongs_to_others_too() -> None:
    @contextmanager
    def of_users() -> Iterator[bool]:
        yield lands_here()

    with Work().with_a_decorator(), of_users() as landed:
        assert landed
