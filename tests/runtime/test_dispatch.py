"""Which handler runs next."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from maim_trio._runtime.dispatch import Dispatcher, Lane, task_tree

if TYPE_CHECKING:
    from collections.abc import Callable


class Letter:
    """A delivery that remembers when it was acked, and whether it was told to wait."""

    def __init__(self, name: str, size: int = 1) -> None:
        self.name = name
        self.size = size
        self.acked = False
        self.waited = False

    def waits(self) -> None:
        assert not self.acked
        assert not self.waited
        self.waited = True

    def accepted(self) -> None:
        assert not self.acked
        self.acked = True


class Office:
    """A dispatcher whose handlers note their beginning and end, and wait to be let go."""

    def __init__(self, nursery: trio.Nursery, *, slots: int = 100, slots_per_lane: int = 100) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.gate = trio.Semaphore(0)
        self.dispatcher: Dispatcher[Letter] = Dispatcher(
            nursery, self._handle, slots=slots, slots_per_lane=slots_per_lane
        )

    async def _handle(self, letter: Letter) -> None:
        self.begun.append(letter.name)
        await self.gate.acquire()
        self.ended.append(letter.name)

    def post(self, lane: Lane[Letter], *names: str) -> list[Letter]:
        letters = [Letter(name) for name in names]
        for letter in letters:
            assert lane.put(letter)
            self.dispatcher.offer(lane)
        return letters

    async def let_go(self, count: int = 1) -> None:
        for _ in range(count):
            self.gate.release()
        await trio.testing.wait_all_tasks_blocked()


def lane(max_messages: int = 100, max_bytes: int = 1000) -> Lane[Letter]:
    return Lane(max_messages, max_bytes)


class TestTheLane:
    def test_what_enters_the_inbox_is_acked_and_what_waits_is_not(self) -> None:
        box = lane(max_messages=1)
        first, second, third = Letter("1"), Letter("2"), Letter("3")
        assert [box.put(letter) for letter in (first, second, third)] == [True, True, False]
        assert [letter.acked for letter in (first, second, third)] == [True, False, False]
        assert [letter.waited for letter in (first, second, third)] == [False, True, False]

    def test_what_waited_is_acked_when_it_moves_up(self) -> None:
        box = lane(max_messages=1)
        first, second, third = Letter("1"), Letter("2"), Letter("3")
        box.put(first)
        box.put(second)
        assert box.take() is first
        assert second.acked
        assert box.put(third)
        assert not third.acked
        assert box.take() is second
        assert third.acked
        assert not box.idle
        assert box.take() is third
        assert box.idle

    def test_without_promoting_what_waits_stays_its_senders(self) -> None:
        box = lane(max_messages=1)
        first, second = Letter("1"), Letter("2")
        box.put(first)
        box.put(second)
        assert box.take(promote=False) is first
        assert not second.acked
        assert box.idle

    def test_one_message_larger_than_all_bytes_stands_alone(self) -> None:
        box = lane(max_bytes=10)
        huge, small, more = Letter("huge", 1000), Letter("small", 1), Letter("more", 10)
        assert [box.put(letter) for letter in (huge, small, more)] == [True, True, False]
        assert (huge.acked, small.acked) == (True, False)

    async def test_room_is_told_to_everybody_who_waits_for_it(self, nursery: trio.Nursery) -> None:
        box = lane(max_messages=1)
        box.put(Letter("1"))
        for _ in range(2):
            nursery.start_soon(box.wait_room)
        await trio.testing.wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 2
        box.take()
        await trio.testing.wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 0


class TestSlots:
    async def test_a_handler_is_a_child_task_that_bears_the_name(self, nursery: trio.Nursery) -> None:
        office = Office(nursery)
        office.post(lane(), "a", "b")
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(task.name for task in nursery.child_tasks) == ["a", "b"]
        assert office.dispatcher.active == 2
        await office.let_go(2)
        assert nursery.child_tasks == frozenset()
        assert office.dispatcher.active == 0

    async def test_never_more_than_there_are_slots(self, nursery: trio.Nursery) -> None:
        office = Office(nursery, slots=3)
        office.post(lane(), *"abcde")
        office.post(lane(), *"fghij")
        for done in range(10):
            await trio.testing.wait_all_tasks_blocked()
            assert office.dispatcher.active == min(3, 10 - done)
            assert office.dispatcher.pending() == max(0, 7 - done)
            await office.let_go()
        assert sorted(office.ended) == [*"abcdefghij"]

    async def test_never_more_of_one_lane_than_its_share(self, nursery: trio.Nursery) -> None:
        office = Office(nursery, slots_per_lane=2)
        office.post(lane(), *"abcde")
        office.post(lane(), *"fghij")
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(office.begun) == [*"abfg"]

    async def test_free_slots_go_round_so_that_one_flood_starves_nobody(self, nursery: trio.Nursery) -> None:
        office = Office(nursery, slots=1)
        office.post(lane(), *(f"flood {number}" for number in range(50)))
        for name in ("alice", "bob"):
            office.post(lane(), name)
        await office.let_go(5)
        assert office.begun[:5] == ["flood 0", "flood 1", "alice", "bob", "flood 2"]

    async def test_one_at_a_time_keeps_the_order(self, nursery: trio.Nursery) -> None:
        office = Office(nursery, slots_per_lane=1)
        office.post(lane(), *"abc")
        for count in range(1, 4):
            await trio.testing.wait_all_tasks_blocked()
            assert office.begun == [*"abc"][:count]
            await office.let_go()
        assert office.ended == [*"abc"]

    async def test_messages_that_come_late_find_the_freed_slots(self, nursery: trio.Nursery) -> None:
        office, box = Office(nursery, slots=1, slots_per_lane=1), lane()
        for name in "abc":
            office.post(box, name)
            await office.let_go()
        assert office.ended == [*"abc"]

    async def test_the_end_of_a_lane_is_told_once(self, nursery: trio.Nursery) -> None:
        office, box, told = Office(nursery), lane(), []
        office.post(box, "a", "b")
        box.on_idle = lambda: told.append(office.ended[:])
        await office.let_go(2)
        assert [sorted(ended) for ended in told] == [["a", "b"]]
        office.post(box, "c")
        await office.let_go()
        assert len(told) == 1


class TestTasks:
    """Invocations that do not wait share a task, and do not notice."""

    async def test_handlers_that_do_not_wait_cost_one_task_together(self, nursery: trio.Nursery) -> None:
        tasks: list[Any] = []

        async def handle(letter: Letter) -> None:
            tasks.append((trio.lowlevel.current_task(), trio.lowlevel.current_task().name))

        dispatcher: Dispatcher[Letter] = Dispatcher(nursery, handle, slots=100, slots_per_lane=100)
        box = lane()
        for number in range(50):
            box.put(Letter(str(number)))
            dispatcher.offer(box)
        await dispatcher.wait_idle()
        assert [name for _, name in tasks] == [str(number) for number in range(50)]
        assert len({task for task, _ in tasks}) == 1

    async def test_one_that_waits_holds_nobody_up(self, nursery: trio.Nursery) -> None:
        office = Office(nursery)
        office.post(lane(), *(str(number) for number in range(100)))
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(office.begun, key=int) == [str(number) for number in range(100)]
        assert len(nursery.child_tasks) == 100

    async def test_many_that_wait_are_begun_within_a_few_ticks(self, nursery: trio.Nursery) -> None:
        office = Office(nursery, slots=1000)
        for number in range(500):
            office.post(lane(), str(number))
        ticks = 0
        while len(office.begun) < 500:
            await trio.lowlevel.checkpoint()
            ticks += 1
        assert ticks < 40  # 500, if each were begun by the one before

    async def test_context_variables_that_one_sets_are_not_seen_by_the_next(self, nursery: trio.Nursery) -> None:
        outer, inner = ContextVar("outer", default="unset"), ContextVar("inner", default="unset")
        outer.set("of the server")
        seen: list[tuple[str, str]] = []

        async def handle(letter: Letter) -> None:
            seen.append((outer.get(), inner.get()))
            if int(letter.name) % 2:
                outer.set(letter.name)
            else:
                inner.set(letter.name)

        dispatcher: Dispatcher[Letter] = Dispatcher(nursery, handle, slots=3, slots_per_lane=3)
        outer.set("of whoever brings a message")
        box = lane()
        for number in range(20):
            box.put(Letter(str(number)))
            dispatcher.offer(box)
        await dispatcher.wait_idle()
        assert seen == [("of the server", "unset")] * 20

    async def test_others_get_their_turn_between_bursts(self, nursery: trio.Nursery) -> None:
        turns: list[str] = []

        async def handle(letter: Letter) -> None:
            turns.append("handler")

        async def other() -> None:
            while True:
                turns.append("other")
                await trio.lowlevel.checkpoint()

        dispatcher: Dispatcher[Letter] = Dispatcher(nursery, handle, slots=100, slots_per_lane=100, burst=5)
        box = lane()
        nursery.start_soon(other)
        for number in range(50):
            box.put(Letter(str(number)))
            dispatcher.offer(box)
        await dispatcher.wait_idle()
        runs = "".join(turn[0] for turn in turns).split("o")
        assert max(map(len, runs)) <= 2 * 5  # last in one tick and first in the next

    async def test_the_spare_task_runs_what_comes_later(self, nursery: trio.Nursery) -> None:
        tasks: list[trio.lowlevel.Task] = []

        async def handle(letter: Letter) -> None:
            tasks.append(trio.lowlevel.current_task())
            if letter.name == "waits":
                await trio.lowlevel.checkpoint()

        dispatcher: Dispatcher[Letter] = Dispatcher(nursery, handle, slots=9, slots_per_lane=9, spare=True)
        for name in ("1", "2", "waits", "3"):
            assert dispatcher.begin(lane(), Letter(name))
            await dispatcher.wait_idle()
            await trio.testing.wait_all_tasks_blocked()
            assert [task.name for task in nursery.child_tasks] == ["spare"]
        assert len(set(tasks)) == 1
        nursery.cancel_scope.cancel()

    async def test_there_is_one_spare_task_however_many_have_waited(self, nursery: trio.Nursery) -> None:
        async def handle(letter: Letter) -> None:
            await trio.lowlevel.checkpoint()

        dispatcher: Dispatcher[Letter] = Dispatcher(nursery, handle, slots=99, slots_per_lane=99, spare=True)
        for number in range(50):
            assert dispatcher.begin(lane(), Letter(str(number)))
        await dispatcher.wait_idle()
        await trio.testing.wait_all_tasks_blocked()
        assert [task.name for task in nursery.child_tasks] == ["spare"]
        nursery.cancel_scope.cancel()

    async def test_a_slot_is_kept_without_a_task_until_the_end_of_its_handler_is_concluded(
        self, nursery: trio.Nursery
    ) -> None:
        handled: list[str] = []
        conclusions: list[Callable[[], None]] = []

        async def handle(letter: Letter) -> None:
            handled.append(letter.name)

        dispatcher: Dispatcher[Letter] = Dispatcher(
            nursery, handle, slots=9, slots_per_lane=2, conclude=lambda _, concluded: conclusions.append(concluded)
        )
        box = lane()
        for name in "abc":
            assert box.put(Letter(name))
        dispatcher.offer(box)
        await trio.testing.wait_all_tasks_blocked()
        assert (handled, dispatcher.active, box.running, len(box.inbox)) == (["a", "b"], 2, 2, 1)
        assert nursery.child_tasks == frozenset()
        conclusions.pop(0)()
        await trio.testing.wait_all_tasks_blocked()
        assert (handled, dispatcher.active) == (["a", "b", "c"], 2)
        while conclusions:
            conclusions.pop()()
        await dispatcher.wait_idle()
        assert box.idle

    async def test_while_it_is_held_tasks_that_go_on_take_what_is_ready(self, nursery: trio.Nursery) -> None:
        office, box = Office(nursery), lane()
        office.post(box, "1", "2")
        await trio.testing.wait_all_tasks_blocked()
        before = nursery.child_tasks
        office.dispatcher.hold(True)
        office.post(box, "3", "4", "5")
        await trio.testing.wait_all_tasks_blocked()
        assert office.begun == ["1", "2"]
        await office.let_go(2)
        assert (office.begun, sorted(office.ended)) == (["1", "2", "3", "4"], ["1", "2"])
        assert nursery.child_tasks == before
        office.dispatcher.hold(False)
        await trio.testing.wait_all_tasks_blocked()
        assert office.begun == ["1", "2", "3", "4", "5"]
        await office.let_go(3)
        await office.dispatcher.wait_idle()

    async def test_what_has_its_slot_is_begun_when_it_closes_while_held(self, nursery: trio.Nursery) -> None:
        office, box = Office(nursery, slots=1), lane()
        office.dispatcher.hold(True)
        office.post(box, "1", "2")
        office.dispatcher.close()
        office.dispatcher.hold(True)
        await office.let_go()
        assert (office.begun, office.ended) == (["1"], ["1"])
        office.dispatcher.hold(False)
        await office.dispatcher.wait_idle()
        assert (len(box.inbox), box.running) == (1, 0)

    async def test_one_that_has_set_a_context_variable_is_no_spare(self, nursery: trio.Nursery) -> None:
        variable = ContextVar("variable", default="unset")

        async def handle(letter: Letter) -> None:
            variable.set(letter.name)

        dispatcher: Dispatcher[Letter] = Dispatcher(nursery, handle, slots=9, slots_per_lane=9, spare=True)
        assert dispatcher.begin(lane(), Letter("1"))
        await dispatcher.wait_idle()
        await trio.testing.wait_all_tasks_blocked()
        assert nursery.child_tasks == frozenset()

    async def test_a_message_skips_the_inbox_only_when_nothing_is_before_it(self, nursery: trio.Nursery) -> None:
        office, box = Office(nursery, slots=2, slots_per_lane=2), lane()
        first, second, third = Letter("1"), Letter("2"), Letter("3")
        assert office.dispatcher.begin(box, first)
        assert office.dispatcher.begin(box, second)
        assert (first.acked, second.acked) == (True, True)
        assert not office.dispatcher.begin(box, third)
        assert not third.acked
        office.post(box, "4")
        await office.let_go()
        assert not office.dispatcher.begin(box, third)
        await office.let_go(2)
        assert office.begun == ["1", "2", "4"]
        office.dispatcher.close()
        assert not office.dispatcher.begin(box, third)


class TestEnding:
    async def test_idle_means_nothing_runs_and_nothing_waits(self, nursery: trio.Nursery) -> None:
        office = Office(nursery, slots=1)
        office.post(lane(), *"abc")
        idle = trio.Event()

        async def wait() -> None:
            await office.dispatcher.wait_idle()
            idle.set()

        nursery.start_soon(wait)
        await office.let_go(2)
        assert not idle.is_set()
        await office.let_go()
        assert idle.is_set()
        await office.dispatcher.wait_idle()

    async def test_a_closed_dispatcher_begins_nothing_and_loses_nothing(self, nursery: trio.Nursery) -> None:
        office, box = Office(nursery, slots=1), lane()
        office.post(box, *"abc")
        await trio.testing.wait_all_tasks_blocked()
        office.dispatcher.close()
        await office.let_go()
        await office.dispatcher.wait_idle()
        assert office.begun == ["a"]
        later = Office(nursery)
        later.dispatcher.offer(box)
        await later.let_go(2)
        assert sorted(later.ended) == ["b", "c"]

    async def test_a_sealed_dispatcher_takes_nothing_that_was_not_acked(self, nursery: trio.Nursery) -> None:
        office, box = Office(nursery, slots=1), lane(max_messages=1)
        first, second, third = office.post(box, *"abc")
        assert (first.acked, second.acked, third.acked) == (True, True, False)
        office.dispatcher.seal()
        await office.let_go(3)
        await office.dispatcher.wait_idle()
        assert office.ended == ["a", "b"]
        assert not third.acked

    @pytest.mark.parametrize("slots", [1, 5])
    async def test_cancelling_all_handlers_begins_no_other(self, slots: int) -> None:
        begun: list[str] = []

        async def handle(letter: Letter) -> None:
            begun.append(letter.name)
            await trio.sleep_forever()

        box = lane()
        async with trio.open_nursery() as nursery:
            dispatcher: Dispatcher[Letter] = Dispatcher(nursery, handle, slots=slots, slots_per_lane=100)
            for number in range(20):
                box.put(Letter(str(number)))
                dispatcher.offer(box)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert len(begun) == slots
        assert dispatcher.active == box.running == 0
        assert len(box.inbox) == 20 - slots

    async def test_what_no_fence_has_caught_comes_out_of_the_nursery(self) -> None:
        async def handle(_letter: Letter) -> None:
            raise SystemExit(3)

        with pytest.RaisesGroup(pytest.RaisesExc(SystemExit)):
            async with trio.open_nursery() as nursery:
                dispatcher: Dispatcher[Letter] = Dispatcher(nursery, handle, slots=1, slots_per_lane=1)
                box = lane()
                for name in "ab":
                    box.put(Letter(name))
                    dispatcher.offer(box)
        assert len(box.inbox) == 1


async def test_the_task_tree_names_what_runs(nursery: trio.Nursery) -> None:
    async def parent(*, task_status: Any) -> None:
        async with trio.open_nursery() as inner:
            inner.start_soon(trio.sleep_forever, name="b")
            inner.start_soon(trio.sleep_forever, name="a")
            task_status.started(trio.lowlevel.current_task())

    task = await nursery.start(parent, name="parent")
    leaves = [{"name": name, "children": []} for name in "ab"]
    assert task_tree(task) == {"name": "parent", "children": leaves}
    nursery.cancel_scope.cancel()
