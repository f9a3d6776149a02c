from __future__ import annotations

from collections import deque

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from maim_trio._delivery.inbox import Inbox, Put


def test_what_fits_is_taken_in_order():
    inbox: Inbox[str] = Inbox(3, 100)
    assert [inbox.put(item, 10) for item in "abc"] == [Put.TAKEN] * 3
    assert (len(inbox), inbox.bytes) == (3, 30)
    assert [inbox.take() for _ in range(3)] == ["a", "b", "c"]
    assert (len(inbox), inbox.bytes) == (0, 0)


def test_beyond_the_inbox_messages_wait_and_beyond_that_reading_stops():
    inbox: Inbox[int] = Inbox(2, 100)
    assert [inbox.put(n, 1) for n in range(5)] == [Put.TAKEN, Put.TAKEN, Put.WAITING, Put.WAITING, Put.FULL]
    assert (len(inbox), inbox.waiting, inbox.waiting_bytes, inbox.full) == (2, 2, 2, True)


def test_the_bound_in_bytes_holds_for_both_buffers():
    inbox: Inbox[int] = Inbox(100, 10)
    assert [inbox.put(n, 6) for n in range(3)] == [Put.TAKEN, Put.WAITING, Put.FULL]
    assert (inbox.bytes, inbox.waiting_bytes) == (6, 6)
    assert inbox.full is False, "four more bytes would fit"
    assert inbox.put(9, 4) is Put.WAITING
    assert inbox.full is True


def test_taking_makes_room_for_the_oldest_that_waits():
    inbox: Inbox[int] = Inbox(2, 100)
    for n in range(4):
        inbox.put(n, 1)
    assert inbox.take() == 0
    assert inbox.promote() == [2]
    assert (len(inbox), inbox.waiting) == (2, 1)
    assert inbox.promote() == []


def test_one_large_item_taken_may_promote_several_small_ones():
    inbox: Inbox[str] = Inbox(10, 10)
    assert inbox.put("large", 9) is Put.TAKEN
    assert [inbox.put(item, 3) for item in "abc"] == [Put.WAITING] * 3
    inbox.take()
    assert inbox.promote() == ["a", "b", "c"]


def test_nothing_overtakes_what_waits():
    inbox: Inbox[str] = Inbox(10, 10)
    inbox.put("first", 5)
    assert inbox.put("large", 8) is Put.WAITING
    assert inbox.put("small", 1) is Put.WAITING, "there is room in the inbox, but not before its elder"
    inbox.take()
    assert inbox.put("newest", 1) is Put.WAITING, "also while the promotion is still due"
    assert inbox.promote() == ["large", "small", "newest"]


def test_an_item_over_the_bound_in_bytes_may_stand_alone():
    inbox: Inbox[str] = Inbox(10, 10)
    assert inbox.put("huge", 11) is Put.TAKEN
    assert inbox.put("next", 1) is Put.WAITING
    inbox.take()
    assert inbox.promote() == ["next"]
    assert inbox.put("huge again", 11) is Put.WAITING
    assert inbox.full is True
    assert inbox.put("more", 1) is Put.FULL
    inbox.take()
    assert inbox.promote() == ["huge again"]


def test_an_empty_inbox_has_nothing_to_take():
    inbox: Inbox[str] = Inbox(1, 1)
    with pytest.raises(IndexError):
        inbox.take()
    assert inbox.promote() == []
    assert inbox.full is False


@pytest.mark.parametrize(("messages", "size"), [(0, 1), (1, 0), (-1, 10)])
def test_an_inbox_that_could_hold_nothing_is_refused(messages: int, size: int):
    with pytest.raises(ValueError, match="at least one"):
        Inbox(messages, size)


class InboxAgainstAModel(RuleBasedStateMachine):
    """Random puts, takes and promotions; the model is the plain list of what was put."""

    max_messages = 4
    max_bytes = 20

    def __init__(self) -> None:
        super().__init__()
        self.inbox: Inbox[int] = Inbox(self.max_messages, self.max_bytes)
        self.taken: deque[tuple[int, int]] = deque()
        self.waiting: deque[tuple[int, int]] = deque()
        self.next = 0

    def fits(self, buffer: deque[tuple[int, int]], size: int) -> bool:
        total = sum(other for _, other in buffer)
        return not buffer or (len(buffer) < self.max_messages and total + size <= self.max_bytes)

    @rule(size=st.integers(0, 30))
    def put(self, size: int) -> None:
        if not self.waiting and self.fits(self.taken, size):
            expected, buffer = Put.TAKEN, self.taken
        elif self.fits(self.waiting, size):
            expected, buffer = Put.WAITING, self.waiting
        else:
            expected, buffer = Put.FULL, deque()
        assert self.inbox.put(self.next, size) is expected
        buffer.append((self.next, size))
        self.next += expected is not Put.FULL

    @precondition(lambda self: self.taken)
    @rule()
    def take(self) -> None:
        assert self.inbox.take() == self.taken.popleft()[0]

    @rule()
    def promote(self) -> None:
        expected = []
        while self.waiting and self.fits(self.taken, self.waiting[0][1]):
            expected.append(self.waiting[0][0])
            self.taken.append(self.waiting.popleft())
        assert self.inbox.promote() == expected

    @invariant()
    def bounds_and_order_hold(self) -> None:
        inbox = self.inbox
        assert (len(inbox), inbox.waiting) == (len(self.taken), len(self.waiting))
        assert inbox.bytes == sum(size for _, size in self.taken)
        assert inbox.waiting_bytes == sum(size for _, size in self.waiting)
        assert inbox.bytes <= self.max_bytes or len(inbox) == 1
        assert inbox.waiting_bytes <= self.max_bytes or inbox.waiting == 1
        held = [item for item, _ in (*self.taken, *self.waiting)]
        assert held == list(range(self.next - len(held), self.next))
        assert inbox.full == (not self.fits(self.waiting, 1))


TestInboxAgainstAModel = InboxAgainstAModel.TestCase
