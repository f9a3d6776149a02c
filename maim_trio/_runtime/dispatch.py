"""Which handler runs next: inboxes, slots and their fair distribution. Every invocation runs in a child task.

Nothing here waits for its turn in a task of its own: having the next invocation begun is a synchronous step of whoever
brings a message or gives a slot back. A task that has run one goes on with the next, so that handlers that do not wait
cost no task each; one that waits keeps its task, and another task comes for the next.
"""

from __future__ import annotations

from collections import deque
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import trio

from maim_trio._delivery.inbox import Inbox, Put
from maim_trio._runtime.stepping import watched
from maim_trio._transport.flusher import Flusher
from maim_trio._transport.parking import ParkingSpot
from maim_trio._transport.poller import Poller

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


class Delivery(Protocol):
    """A received message on its way to a handler."""

    @property
    def size(self) -> int:
        """Bytes of the frame it came in."""

    @property
    def name(self) -> str:
        """What the task that handles it is called."""

    def waits(self) -> None:
        """Called when the message has to wait, unacked, for a place in the inbox."""

    def accepted(self) -> None:
        """Called once, when the message has entered the inbox: from here on it will be handled, so it is acked."""


D = TypeVar("D", bound=Delivery)

BURST = 64
"""Invocations that a task runs in a row, while others wait for their turn."""


class Lane(Generic[D]):
    """The inbox of one identity, and how many of its messages are being handled."""

    __slots__ = ("_room", "inbox", "on_idle", "passes", "queued", "ready", "running")

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self.inbox: Inbox[D] = Inbox(max_messages, max_bytes)
        self.passes = True
        """Whether a message that can be handled now needs no place in the inbox."""
        self.running = 0
        self.ready = 0  # of those that run: have their slot, and are about to be begun
        self.queued = False  # it stands in the dispatcher's line
        self.on_idle: Callable[[], None] | None = None
        """Called once, as soon as nothing of it runs or waits for a slot any more."""
        self._room: trio.Event | None = None

    def put(self, delivery: D) -> bool:
        """Takes a message, or lets it wait unacked. False: there is no room, the caller keeps it and stops reading."""
        placed = self.inbox.put(delivery, delivery.size)
        if placed is Put.TAKEN:
            delivery.accepted()
        elif placed is Put.WAITING:
            delivery.waits()
        return placed is not Put.FULL

    @property
    def idle(self) -> bool:
        """Whether nothing of it runs or waits for a slot."""
        return not self.running and not self.inbox

    def take(self, *, promote: bool = True) -> D:
        """The oldest message; with `promote`, what waited for its place moves up and is acked."""
        inbox = self.inbox
        delivery = inbox.take()
        if promote and inbox.waiting:
            for promoted in inbox.promote():
                promoted.accepted()
        if self._room is not None:
            self.release()
        return delivery

    def release(self) -> None:
        """Has whoever waits for room look again."""
        if self._room is not None:
            self._room.set()
            self._room = None

    async def wait_room(self) -> None:
        """Returns when a message has been taken since. Cancelling loses nothing."""
        if self._room is None:
            self._room = trio.Event()
        await self._room.wait()


class Dispatcher(Generic[D]):
    """Gives handler slots to lanes in turn, so that one busy peer cannot starve the others."""

    def __init__(
        self,
        nursery: trio.Nursery,
        handle: Callable[[D], Coroutine[Any, Any, None]],
        *,
        slots: int,
        slots_per_lane: int,
        burst: int = BURST,
        flusher: Flusher | None = None,
        poller: Poller | None = None,
        spare: bool = False,
        conclude: Callable[[D, Callable[[], None]], None] | None = None,
    ) -> None:
        """`conclude`: what there is to do when a handler has ended; it calls what it is given when that is done. Until
        then the slot is not given back, and no task waits for it."""
        self.active = 0
        self.last = False
        """No other handler was ready when the one that runs was begun."""
        self._nursery = nursery
        self._handle = handle
        self._conclude = conclude
        self._concluding = 0  # of those that are active: their handlers have ended
        self._slots = slots
        self._slots_per_lane = slots_per_lane
        self._burst = burst
        self._flusher = flusher if flusher is not None else Flusher()
        self._poller = poller if poller is not None else Poller()
        self._poller.relieved = self._relieves
        self._keeps_spare = spare
        self._spare = ParkingSpot()  # where a task waits for more to run
        self._line: deque[Lane[D]] = deque()
        self._ready: deque[D] = deque()  # have a slot, and wait for a task
        self._ready_lanes: deque[Lane[D]] = deque()  # of each of these
        self._coming = 0  # tasks that were called and have not begun
        self._stepping = False  # the current task runs handlers, and goes on with what is ready
        self._reading = False  # the spare task waits for sockets
        self._waited = True  # the last handler did
        self._held = False  # tasks that are about to go on take what gets ready
        self._context = copy_context()  # what each invocation sees, whatever the others have set
        self._variables = list(self._context.items())
        self._idle: trio.Event | None = None
        self._sealed = False
        self._closed = False

    def offer(self, lane: Lane[D]) -> None:
        """Says that `lane` may have something to handle."""
        if lane.inbox and not lane.queued and lane.running < self._slots_per_lane and not self._closed:
            lane.queued = True
            self._line.append(lane)
        if self._line:
            self._give_slots()

    def begin(self, lane: Lane[D], delivery: D) -> bool:
        """Handles a message at once, past the inbox, when nothing is before it and it has a slot. Else False, and
        nothing has happened."""
        running = lane.running
        if self._line or self._closed or not lane.passes:
            return False
        if self.active >= self._slots or running >= self._slots_per_lane:
            return False
        lane.running = running + 1
        lane.ready += 1
        self.active += 1
        self._ready.append(delivery)
        self._ready_lanes.append(lane)
        if not self._stepping and not self._coming:
            self._call()  # before the acknowledgement, which leaves with what the handler sends
        delivery.accepted()
        return True

    def replied(self) -> None:
        """The last handler has sent what it most likely has to send: that is written at once, its end is looked after
        later."""
        if self._stepping:
            self._flusher.flush_early()

    def seal(self) -> None:
        """What waits unacked is not taken any more: it stays its sender's."""
        self._sealed = True

    def hold(self, held: bool) -> None:
        """While held, no task is called for what gets ready: handlers are about to end, and their tasks take it."""
        self._held = held and not self._closed
        if not held and not self._closed:
            self._call()

    def close(self) -> None:
        """No further handler is started; what is queued stays where it is, for a later dispatcher."""
        if self._held:
            self.hold(False)  # what is ready has its slot
        self._closed = True
        for lane in self._line:
            lane.queued = False
        self._line.clear()

    def pending(self) -> int:
        """Messages that wait for a slot, of the lanes that stand in line."""
        return sum(len(lane.inbox) for lane in self._line)

    async def wait_idle(self) -> None:
        """Returns when nothing runs and nothing waits for a slot."""
        await trio.lowlevel.checkpoint()
        while self.active or self._line:
            if self._idle is None:
                self._idle = trio.Event()
            await self._idle.wait()

    def _give_slots(self) -> None:
        line, share = self._line, self._slots_per_lane
        while line and self.active < self._slots:
            lane = line.popleft()
            lane.queued = False
            if not lane.inbox:
                continue  # drawn from by somebody else meanwhile
            self._ready.append(lane.take(promote=not self._sealed))
            self._ready_lanes.append(lane)
            lane.running += 1
            lane.ready += 1
            self.active += 1
            if lane.inbox and lane.running < share and not self._closed:
                lane.queued = True
                line.append(lane)
        self._call()

    def _call(self) -> None:
        """Has a task come for what is ready; more than one at a time where those that are there wait for something."""
        if self._stepping or self._held:
            return
        ready = len(self._ready)
        wanted = min(ready, max(1, self.active - ready - self._concluding))
        while self._coming < wanted:
            self._coming += 1
            self._flusher.expect()
            if self._spare.taken:
                self._spare.wake()
            else:
                self._context.run(self._spawn)

    def _spawn(self) -> None:
        self._nursery.start_soon(self._work, name="handler")

    async def _work(self) -> None:
        """A task that runs handlers."""
        await watched(self._run(), self._leaves_off)

    def _leaves_off(self) -> None:
        """The current task waits for something. Where that is in a handler, for the first time, others have to know."""
        if self._stepping:
            self._waits()

    async def _run(self) -> None:
        """Runs what is ready, and waits for more when it is to be the spare task."""
        self._coming -= 1
        task = trio.lowlevel.current_task()
        try:
            while await self._run_ready(task) and self._keeps_spare and not (self._spare.taken or self._reading):
                await self._wait_for_more(task)
        finally:
            self._stepping = False
            if not self._coming and not self._reading:
                self._poller.resume()

    async def _wait_for_more(self, task: trio.lowlevel.Task) -> None:
        """Until somebody calls, or, where the poller leaves that to this task, until sockets can be read."""
        if not self._poller.relief.taken:
            task.name = "spare"
            await self._spare.wait()
            self._coming -= 1
            return
        task.name = "reader"
        self._reading = True
        try:
            await self._poller.wait()
        finally:
            self._reading = False
        self._stepping = True
        self._flusher.expect()
        self._poller.read()

    def _relieves(self) -> bool:
        """Whether a task is coming that may go on with reading, when it has run what is ready."""
        return self._coming > 0 and not self._waited

    async def _run_ready(self, task: trio.lowlevel.Task) -> bool:
        """Runs handlers, one after the other, until there is nothing left to do or others should have their turn.
        False: this task cannot run any other."""
        handle, ready, unchanged = self._handle, self._ready, True
        self._stepping = True
        for _ in range(self._burst):
            if not ready:
                break
            delivery, lane = ready.popleft(), self._ready_lanes.popleft()
            lane.ready -= 1
            self.last = not ready
            task.name = delivery.name
            try:
                await handle(delivery)
            except BaseException:  # a cancellation from outside, or what ends everything: nothing begins any more
                self.close()
                self._finished(lane)
                if self._stepping:
                    self._waits()
                raise
            if self._stepping:
                self._waited = False
            else:
                self._go_on()
            if self._conclude is None:
                self._finished(lane)
            else:
                self._concluding += 1
                self._conclude(delivery, partial(self._concluded, lane))
            if self._context_was_changed():
                unchanged = False  # what it has set is nobody else's: the next one begins in a fresh task
                break
        self._stepping = False
        if ready:
            self._call()
        self._flusher.flush()
        return unchanged

    def _waits(self) -> None:
        """The handler that the current task runs is about to wait: others are run by another task."""
        self._stepping, self._waited = False, True
        if not self._reading:
            self._poller.resume()
        self._call()
        self._flusher.wait()

    def _go_on(self) -> None:
        """A handler that has waited has ended: its task goes on with what is ready."""
        self._stepping = True
        self._flusher.expect()

    def _context_was_changed(self) -> bool:
        """Whether the handler that has just run in this task has left a context variable changed."""
        context = copy_context()
        if len(context) != len(self._variables):
            return True
        for variable, value in self._variables:  # noqa: SIM110 - a generator costs more than most contexts hold
            if context.get(variable, self) is not value:
                return True
        return False

    def _concluded(self, lane: Lane[D]) -> None:
        self._concluding -= 1
        self._finished(lane)

    def _finished(self, lane: Lane[D]) -> None:
        running = lane.running
        lane.running = running - 1
        self.active -= 1
        if running == self._slots_per_lane or self._line:  # else it has nothing that waits for a slot
            self.offer(lane)
        if lane.on_idle is not None and lane.idle:
            on_idle, lane.on_idle = lane.on_idle, None
            on_idle()
        if self._idle is not None and not self.active:
            self._idle.set()
            self._idle = None


def task_tree(task: trio.lowlevel.Task) -> dict[str, Any]:
    """The tasks below `task` by name: what runs right now."""
    children = [task_tree(child) for nursery in task.child_nurseries for child in sorted_tasks(nursery)]
    return {"name": task.name, "children": children}


def sorted_tasks(nursery: trio.Nursery) -> list[trio.lowlevel.Task]:
    return sorted(nursery.child_tasks, key=lambda task: task.name)
