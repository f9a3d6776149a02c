"""The inbox whose newest messages are held back until they are on disk."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from maim_trio._delivery.held import HeldInbox
from maim_trio._delivery.inbox import Put


def test_what_is_held_has_its_place_and_cannot_be_taken():
    inbox = HeldInbox[int](2, 100)
    assert inbox.put(1, 10) is Put.TAKEN
    inbox.hold()
    assert not inbox
    assert inbox.put(2, 10) is Put.TAKEN
    inbox.hold()
    assert inbox.put(3, 10) is Put.WAITING
    inbox.let_go()
    assert (len(inbox), inbox.take()) == (1, 1)
    assert inbox.promote() == [3]
    inbox.hold()
    assert len(inbox) == 0


def test_what_is_not_held_is_there_at_once():
    inbox = HeldInbox[int](2, 100)
    inbox.put(1, 10)
    assert (len(inbox), inbox.take()) == (1, 1)


def test_what_is_restored_has_no_bound_and_what_is_cleared_is_gone():
    inbox = HeldInbox[int](1, 10)
    for number in range(5):
        inbox.restore(number, 10)
    assert inbox.put(9, 10) is Put.WAITING
    assert [inbox.take() for _ in range(2)] == [0, 1]
    inbox.clear()
    assert (len(inbox), inbox.held, inbox.waiting, inbox.bytes) == (0, 0, 0, 0)
    assert inbox.put(9, 10) is Put.TAKEN


class AgainstAModel(RuleBasedStateMachine):
    """Everything is held until it is let go, and comes out once, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.inbox = HeldInbox[int](3, 1000)
        self.put, self.taken, self.let = 0, [], 0

    @rule(size=st.integers(1, 400))
    def puts(self, size: int) -> None:
        placed = self.inbox.put(self.put, size)
        if placed is not Put.FULL:
            self.put += 1
        if placed is Put.TAKEN:
            self.inbox.hold()

    @precondition(lambda self: self.inbox.held)
    @rule()
    def lets_go(self) -> None:
        self.inbox.let_go()
        self.let += 1

    @precondition(lambda self: self.inbox)
    @rule()
    def takes(self) -> None:
        self.taken.append(self.inbox.take())
        for _ in self.inbox.promote():
            self.inbox.hold()

    @invariant()
    def all_is_in_order_and_accounted_for(self) -> None:
        assert self.taken == list(range(len(self.taken)))
        assert len(self.inbox) == self.let - len(self.taken)
        assert len(self.taken) + len(self.inbox) + self.inbox.held + self.inbox.waiting == self.put


TestAgainstAModel = AgainstAModel.TestCase
