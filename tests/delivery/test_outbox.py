"""What is kept until it is acknowledged."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from maim_trio._delivery.outbox import MAX_SENDS, NON_ACKING_AFTER, NON_ACKING_TIME, POISON_SIZE, Entry, Outbox

FOR_EVER = 1e9


def entry(number: int, size: int = 10, *, expires: float = FOR_EVER, **options: Any) -> Entry:
    return Entry(f"m{number}", b"x" * size, expires=expires, **options)


def outbox(max_messages: int = 100, max_bytes: int = 10_000, window: int = 100) -> Outbox:
    return Outbox(max_messages, max_bytes, window)


def fill(box: Outbox, count: int) -> list[Entry]:
    entries = [entry(number) for number in range(count)]
    for one in entries:
        box.add(one)
    return entries


def send_all(box: Outbox, now: float = 0.0) -> list[Entry]:
    """Sends what may be sent; returns it."""
    sent = []
    while (following := box.next_to_send()) is not None:
        box.sent(following, now)
        sent.append(following)
    return sent


class TestBounds:
    def test_it_takes_so_many_messages_and_no_more(self) -> None:
        box = outbox(max_messages=3)
        fill(box, 3)
        assert not box.has_room(1)

    def test_it_takes_so_many_bytes_and_no_more(self) -> None:
        box = outbox(max_bytes=25)
        fill(box, 2)
        assert box.has_room(5)
        assert not box.has_room(6)

    def test_one_larger_message_may_stand_alone(self) -> None:
        box = outbox(max_bytes=25)
        assert box.has_room(1000)
        box.add(entry(0, 1000))
        assert not box.has_room(1)

    def test_what_is_on_the_wire_counts_until_its_ack(self) -> None:
        box = outbox(max_messages=2)
        fill(box, 2)
        send_all(box)
        assert not box.has_room(1)
        box.acknowledged("m0")
        assert box.has_room(1)
        assert (len(box), box.bytes) == (1, 10)

    def test_at_most_a_window_is_on_the_wire(self) -> None:
        box = outbox(window=2)
        entries = fill(box, 4)
        assert send_all(box) == entries[:2]
        box.acknowledged("m1")
        assert send_all(box) == [entries[2]]
        assert box.on_wire == 2

    def test_messages_taken_back_while_nobody_is_connected_do_not_pile_up(self) -> None:
        box = outbox(max_messages=10)
        kept = entry(0)
        box.add(kept)
        for number in range(1, 1000):
            one = entry(number)
            box.add(one)
            box.withdraw(one)
        assert len(box) == 1
        assert len(box.waiting) < 50
        assert send_all(box) == [kept]


class TestAtOnce:
    @staticmethod
    def proven(**bounds: int) -> Outbox:
        """An outbox whose other side has acknowledged something."""
        box = outbox(**bounds)
        box.acknowledged("something")
        return box

    def test_a_message_that_is_written_already_needs_only_its_ack(self) -> None:
        box = self.proven()
        assert box.takes_at_once(10)
        box.add_sent(one := entry(0, sends=1))
        assert (len(box), box.on_wire, box.bytes, [*box]) == (1, 1, 10, [one])
        assert box.acknowledged("m0") is one
        assert (len(box), box.on_wire, box.bytes) == (0, 0, 0)

    def test_not_before_the_first_ack(self) -> None:
        assert not outbox().takes_at_once(10)

    def test_not_past_what_waits(self) -> None:
        box = self.proven()
        fill(box, 1)
        assert not box.takes_at_once(10)

    @pytest.mark.parametrize("bounds", [{"max_messages": 2}, {"window": 2}, {"max_bytes": 25}])
    def test_within_every_bound(self, bounds: dict[str, int]) -> None:
        box = self.proven(**bounds)
        for number in range(2):
            assert box.takes_at_once(10)
            box.add_sent(entry(number, sends=1))
        assert not box.takes_at_once(10)

    def test_one_larger_message_may_stand_alone(self) -> None:
        assert self.proven(max_bytes=25).takes_at_once(1000)

    def test_when_the_connection_is_lost_it_waits_like_any_other(self) -> None:
        box = self.proven()
        box.add_sent(one := entry(0, sends=1))
        assert box.lost() == []
        assert not box.takes_at_once(10)
        assert send_all(box) == [one]


class TestShared:
    """One entry in the outboxes of many."""

    def setup_method(self) -> None:
        self.boxes = [TestAtOnce.proven(), TestAtOnce.proven()]
        self.one = entry(0, sends=1, written_at=1.0, shared=True)
        for box in self.boxes:
            box.add_sent(self.one)

    def test_an_ack_is_of_one_alone(self) -> None:
        first, second = self.boxes
        assert first.acknowledged("m0") is self.one
        assert (len(first), len(second), second.bytes) == (0, 1, 10)
        second.lost()
        assert [again.msg_id for again in send_all(second)] == ["m0"]

    def test_each_counts_for_itself_how_often_it_was_sent(self) -> None:
        first, second = self.boxes
        for _ in range(MAX_SENDS - 1):
            assert first.lost() == []
            send_all(first, 2.0)
        assert [hopeless.msg_id for hopeless in first.lost()] == ["m0"]
        assert second.lost() == []
        (again,) = send_all(second, 3.0)
        assert (again.sends, again.written_at, again.payload) == (2, 3.0, self.one.payload)
        assert (self.one.sends, self.one.written_at) == (1, 1.0)

    @pytest.mark.parametrize("end", [Outbox.clear, lambda box: box.expired(2 * FOR_EVER)], ids=["clear", "expire"])
    def test_one_that_gives_up_takes_nothing_from_the_other(self, end: Any) -> None:
        first, second = self.boxes
        assert end(first) == [self.one]
        assert (len(first), first.bytes) == (0, 0)
        assert not first.withdraw(self.one)
        second.lost()
        assert [again.msg_id for again in send_all(second)] == ["m0"]

    def test_one_that_gives_up_what_waits_again_takes_nothing_from_the_other(self) -> None:
        first, second = self.boxes
        first.lost()
        second.lost()
        assert first.refused("m0") is not None
        assert send_all(first) == []
        assert [again.msg_id for again in send_all(second)] == ["m0"]

    def test_whose_ack_comes_when_it_waits_again_does_not_send_it_again(self) -> None:
        first, second = self.boxes
        first.lost()
        second.lost()
        assert first.acknowledged("m0") is not None
        assert (send_all(first), len(send_all(second))) == ([], 1)


class TestOrder:
    def test_first_in_first_out(self) -> None:
        box = outbox()
        entries = fill(box, 5)
        assert send_all(box) == entries == list(box)

    def test_what_was_not_acknowledged_is_sent_again_before_newer_ones(self) -> None:
        box = outbox(window=3)
        entries = fill(box, 5)
        send_all(box)
        box.acknowledged("m1")
        box.lost()
        newer = entry(9)
        box.add(newer)
        box._window = 100
        assert send_all(box) == [entries[0], entries[2], entries[3], entries[4], newer]

    def test_also_when_the_next_connection_is_lost_before_all_was_sent_again(self) -> None:
        box = outbox(window=2)
        entries = fill(box, 4)
        send_all(box)
        box.lost()
        send_all(box)
        box.acknowledged("m0")
        box.lost()
        box._window = 100
        assert send_all(box) == entries[1:]

    def test_the_bytes_are_the_same_every_time(self) -> None:
        box = outbox()
        one = entry(0)
        before = one.payload
        box.add(one)
        send_all(box)
        box.lost()
        assert send_all(box)[0].payload is before

    def test_what_the_disk_does_not_have_yet_holds_up_what_is_behind_it(self) -> None:
        box = outbox()
        first, second = fill(box, 2)
        first.held = True
        assert send_all(box) == []
        first.held = False
        assert send_all(box) == [first, second]


class TestAcks:
    def test_an_ack_removes_its_message_and_no_other(self) -> None:
        box = outbox()
        fill(box, 3)
        send_all(box)
        removed = box.acknowledged("m1")
        assert removed is not None
        assert removed.msg_id == "m1"
        assert [one.msg_id for one in box] == ["m0", "m2"]

    @pytest.mark.parametrize("msg_id", ["m0", "foreign", ""])
    def test_an_ack_for_what_was_never_written_removes_nothing(self, msg_id: str) -> None:
        box = outbox()
        fill(box, 1)
        assert box.acknowledged(msg_id) is None
        assert len(box) == 1

    def test_an_ack_that_comes_after_the_connection_was_lost_saves_the_retransmission(self) -> None:
        box = outbox()
        fill(box, 2)
        send_all(box)
        box.lost()
        assert box.acknowledged("m0") is not None
        assert box.acknowledged("m0") is None
        assert [one.msg_id for one in send_all(box)] == ["m1"]
        assert (len(box), box.bytes) == (1, 10)

    def test_a_refusal_removes_its_message_and_is_no_ack(self) -> None:
        box = outbox()
        fill(box, 1)
        send_all(box)
        assert box.refused("m0") is not None
        assert (len(box), box.acks) == (0, 0)


class TestGivingUp:
    def test_nothing_is_sent_more_than_three_times(self) -> None:
        box = outbox()
        (one,) = fill(box, 1)
        for _ in range(MAX_SENDS - 1):
            send_all(box)
            assert box.lost() == []
        send_all(box)
        assert box.lost() == [one]
        assert (len(box), box.bytes, send_all(box)) == (0, 0, [])

    def test_poison_is_the_oldest_written_one_over_a_mebibyte(self) -> None:
        box = outbox(max_bytes=100 * POISON_SIZE)
        for number, size in enumerate([10, POISON_SIZE + 1, 3 * POISON_SIZE]):
            box.add(entry(number, size))
        send_all(box)
        suspect = box.poison()
        assert suspect is not None
        assert suspect.msg_id == "m1"

    def test_else_it_is_the_largest_written_one(self) -> None:
        box = outbox(window=2)
        for number, size in enumerate([10, 30, 50]):
            box.add(entry(number, size))
        send_all(box)
        suspect = box.poison()
        assert suspect is not None
        assert suspect.msg_id == "m1"

    def test_without_anything_written_nobody_is_suspected(self) -> None:
        box = outbox()
        fill(box, 2)
        assert box.poison() is None

    def test_what_has_outlived_its_time_goes_written_or_not(self) -> None:
        box = outbox(window=1)
        for number, expires in enumerate([5.0, 5.0, 9.0]):
            box.add(entry(number, expires=expires))
        send_all(box)
        assert box.expired(4.9) == []
        assert [one.msg_id for one in box.expired(5.0)] == ["m0", "m1"]
        assert [one.msg_id for one in send_all(box)] == ["m2"]
        assert (len(box), box.bytes) == (1, 10)

    def test_clearing_leaves_nothing(self) -> None:
        box = outbox(window=2)
        entries = fill(box, 4)
        send_all(box)
        assert box.clear() == entries
        assert (len(box), box.bytes, box.on_wire, send_all(box)) == (0, 0, 0, [])
        assert all(one.gone for one in entries)


class TestWithdrawing:
    def test_what_was_not_written_can_be_taken_back(self) -> None:
        box = outbox(window=1)
        fill(box, 2)
        send_all(box)
        (_, second) = list(box)
        assert box.withdraw(second)
        assert not box.withdraw(second)
        assert len(box) == 1

    def test_what_was_written_cannot_even_when_its_connection_is_lost(self) -> None:
        box = outbox()
        (one,) = fill(box, 1)
        send_all(box)
        assert not box.withdraw(one)
        box.lost()
        assert not box.withdraw(one)
        assert len(box) == 1


class TestPeersThatDoNotAck:
    def written(self, count: int, now: float = 0.0) -> Outbox:
        box = outbox()
        fill(box, count)
        send_all(box, now)
        return box

    def test_after_32_messages_and_30_seconds_written_means_done(self) -> None:
        box = self.written(NON_ACKING_AFTER)
        assert box.check_acking(NON_ACKING_TIME - 0.1) == []
        assert len(box.check_acking(NON_ACKING_TIME)) == NON_ACKING_AFTER
        assert (len(box), box.bytes, box.non_acking) == (0, 0, True)
        box.add(entry(99))
        following = box.next_to_send()
        assert following is not None
        assert not box.sent(following, 100.0)
        assert (len(box), box.bytes) == (0, 0)

    def test_31_messages_are_not_enough(self) -> None:
        assert self.written(NON_ACKING_AFTER - 1).check_acking(1e6) == []

    def test_the_first_ack_takes_it_back(self) -> None:
        box = self.written(NON_ACKING_AFTER)
        box.check_acking(NON_ACKING_TIME)
        box.acknowledged("m0")
        assert not box.non_acking
        box.add(entry(99))
        send_all(box)
        assert len(box) == 1

    def test_one_that_has_ever_acknowledged_is_never_suspected(self) -> None:
        box = self.written(NON_ACKING_AFTER + 1)
        box.acknowledged("m0")
        assert box.check_acking(1e6) == []
        assert len(box) == NON_ACKING_AFTER

    def test_a_new_connection_begins_the_time_anew(self) -> None:
        box = self.written(NON_ACKING_AFTER)
        box.lost()
        send_all(box, 1000.0)
        assert box.check_acking(1000.0 + NON_ACKING_TIME - 0.1) == []


class TestTheOutcome:
    def test_it_is_told_once(self) -> None:
        told: list[bool] = []
        one = entry(0, settled=told.append)
        one.settle(True)
        one.settle(False)
        assert told == [True]


class Conversation(RuleBasedStateMachine):
    """Whatever happens in whatever order: what the receiver gets is what was accepted, in order, except what was given
    up; and the books are right."""

    def __init__(self) -> None:
        super().__init__()
        self.box = Outbox(8, 500, window=3)
        self.count = 0
        self.given_up: set[str] = set()
        self.acked: set[str] = set()
        self.accepted: list[str] = []
        self.seen: set[str] = set()
        self.received: list[str] = []
        self.wire: list[Entry] = []  # written on this connection, not read by the receiver yet
        self.acks: list[str] = []
        self.now = 0.0

    @rule(size=st.integers(1, 200), lifetime=st.sampled_from([5.0, FOR_EVER]))
    def accept(self, size: int, lifetime: float) -> None:
        if not self.box.has_room(size):
            assert len(self.box) == 8 or self.box.bytes + size > 500
            return
        self.count += 1
        one = entry(self.count, size, expires=self.now + lifetime)
        self.box.add(one)
        self.accepted.append(one.msg_id)

    @rule(size=st.integers(1, 200))
    def send_at_once(self, size: int) -> None:
        if self.box.takes_at_once(size):
            assert self.box.has_room(size)
            assert not self.box.waiting
            self.count += 1
            one = entry(self.count, size, sends=1, written_at=self.now)
            self.box.add_sent(one)
            self.accepted.append(one.msg_id)
            self.wire.append(one)

    @rule()
    def write(self) -> None:
        self.wire += send_all(self.box, self.now)

    @precondition(lambda self: self.wire)
    @rule()
    def read(self) -> None:
        one = self.wire.pop(0)
        if one.msg_id not in self.seen:
            self.seen.add(one.msg_id)
            self.received.append(one.msg_id)
        self.acks.append(one.msg_id)

    @precondition(lambda self: self.acks)
    @rule(late=st.booleans())
    def ack(self, late: bool) -> None:
        msg_id = self.acks.pop(0)
        self.acked.add(msg_id)
        if late:
            self.lose()
        self.box.acknowledged(msg_id)

    @rule()
    def lose(self) -> None:
        self.wire, self.acks = [], []
        self.given_up |= {one.msg_id for one in self.box.lost()}

    @rule(seconds=st.floats(0, 4))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.given_up |= {one.msg_id for one in self.box.expired(self.now)}

    @precondition(lambda self: len(self.box))
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(list(self.box)))
        if self.box.withdraw(one):
            assert one.msg_id not in self.seen
            self.accepted.remove(one.msg_id)

    @invariant()
    def the_books_are_right(self) -> None:
        entries = list(self.box)
        assert len(self.box) == len(entries) <= 8
        assert self.box.bytes == sum(one.size for one in entries)
        assert self.box.on_wire <= 3
        assert all(one.sends <= MAX_SENDS for one in entries)

    @invariant()
    def nothing_is_forgotten(self) -> None:
        kept = {one.msg_id for one in self.box}
        assert {*self.accepted} == kept | self.acked.intersection(self.accepted) | self.given_up

    @invariant()
    def order_is_kept(self) -> None:
        numbers = [int(msg_id[1:]) for msg_id in self.received]
        assert numbers == sorted(numbers)


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
