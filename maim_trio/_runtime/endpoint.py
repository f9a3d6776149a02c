"""What a server and a client have in common beside their life cycle: callbacks, inboxes, counters, the log."""

from __future__ import annotations

import math
import random
import secrets
import time
from types import CoroutineType
from typing import TYPE_CHECKING, Any

import trio

from maim_trio._runtime.config import HandlerTable
from maim_trio._runtime.courier import Courier
from maim_trio._runtime.dispatch import BURST, Dispatcher, Lane, task_tree
from maim_trio._runtime.durable_inbox import conclude, forget
from maim_trio._runtime.hooks import NOTHING, Handler, Outcome, call, result_of, split_errors, waits
from maim_trio._runtime.keepalive import Keepalive
from maim_trio._runtime.keeping import Keeping
from maim_trio._runtime.log import Log
from maim_trio._runtime.requests import REPLY_TO, REQUEST_ID, STATUS, Question, Requests, reply, request_id
from maim_trio._runtime.slow import watching_slow_steps
from maim_trio._runtime.stats import Counters, network_of
from maim_trio._transport.interrupts import interruptible
from maim_trio._wire.codec import Custom, Standard, encode_custom
from maim_trio._wire.ids import AckIds, new_msg_id
from maim_trio.errors import InvalidMessage, RequestTimeout

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from maim_trio._runtime.config import CommonConfig
    from maim_trio._runtime.connection import Connection
    from maim_trio._runtime.delivery import Delivery, Source
    from maim_trio._runtime.session import Session
    from maim_trio._transport.flusher import Flusher
    from maim_trio._transport.link import Link
    from maim_trio._transport.poller import Poller

CHECKPOINT_EVERY = 32
"""A full checkpoint costs more than queueing a message; one in so many keeps a sending loop from starving others. Each
handler begins to count anew: how many of them run in a row is bounded anyway."""


class Endpoint(Keeping):
    """The runtime under `WebSocketServer` and `WebSocketClient`."""

    config: CommonConfig
    max_invalid_frames = 100
    ping_timeout: float

    def __init__(self, config: CommonConfig, logger_name: str) -> None:
        super().__init__()
        self.lifts_sender = False  # metadata tells who the envelope claims to be from
        self.config = config
        self.log = Log(logger_name, config, self._own_secrets)
        self.stats = Counters()
        self.handlers = HandlerTable(config)
        self.ack_ids = AckIds(secrets.randbits(122))
        self._random = random.Random()  # noqa: S311 - ids have to differ, not to be secret
        self.now: Callable[[], float] = trio.current_time
        """Trio's clock; while it runs, without the way through trio that is as long as reading it."""
        self._dispatcher: Dispatcher[Delivery] | None = None
        self._started_at: float | None = None
        self._flusher: Flusher | None = None
        self._poller: Poller | None = None
        self._sends = 0
        self._replies_once = False  # the handler before did, and no other is ready: the next message is likely the last
        self.links: set[Link] = set()
        self.keepalive = Keepalive(lambda: self.config.ping_interval, lambda: self.ping_timeout)
        self.requests = Requests()
        self.courier = Courier(self)
        self._unhandled_said: set[str] = set()

    # -- public, of servers and clients alike

    def register_custom_handler(self, message_type: str, handler: Handler) -> None:
        """Has `handler` called for custom messages of this type, with or without the prefix ``custom_``.

        It may take ``(payload, metadata)`` or just ``(payload)``; TypeError when it fits neither. An earlier handler
        of the type is replaced.
        """
        self.config.register_custom_handler(message_type, handler)

    def unregister_custom_handler(self, message_type: str) -> None:
        """Messages of this type are no longer handled; invocations that run now end by themselves."""
        self.config.unregister_custom_handler(message_type)

    def _own_secrets(self) -> tuple[str, ...]:
        """What no line of the log may show; other sides' secrets are masked where they are known."""
        return ()

    # -- for connections

    @property
    def out_of_time(self) -> bool:
        """A stop has used up its time, or the surroundings were cancelled."""
        return self._abandoned or trio.current_time() >= self._shutdown_deadline

    def link_ended(self, link: Link) -> None:
        self.links.discard(link)
        self.stats.bytes_received += link.bytes_in
        self.stats.bytes_sent += link.bytes_out

    def lane_for(self, delivery: Delivery) -> Lane[Delivery]:
        """The inbox a message goes to."""
        return delivery.connection.session.lane

    def deliver(self, delivery: Delivery, lane: Lane[Delivery] | None = None) -> bool:
        """Has a message handled, now or when its turn comes. False: there is no room for it."""
        assert self._dispatcher is not None
        lane = lane or delivery.connection.session.lane
        if not self._dispatcher.begin(lane, delivery):
            if not lane.put(delivery):
                return False
            self.offer(lane)
        return True

    def offer(self, lane: Lane[Delivery]) -> None:
        assert self._dispatcher is not None
        self._dispatcher.offer(lane)

    def hold(self, held: bool) -> None:
        assert self._dispatcher is not None
        self._dispatcher.hold(held)

    # -- handlers and hooks

    @interruptible
    async def _handle(self, delivery: Delivery) -> None:
        """One handler invocation, in a child task."""
        assert self._dispatcher is not None
        self._replies_once, self._sends = self._sends == 1 and self._dispatcher.last, 0
        envelope = delivery.envelope
        if (handler := self._handler_of(envelope)) is None:
            self._unhandled(envelope)
            self._reply(delivery, Outcome(failure="no_handler"))
            return
        outcome, argument = NOTHING, envelope.message if isinstance(envelope, Standard) else envelope.payload
        metadata = self._metadata(delivery.connection, envelope)
        try:
            if self.config.handler_timeout is not None:
                outcome = await self._handle_in_time(delivery, handler, argument, metadata)
            else:
                value = handler(argument, metadata)
                if type(value) is CoroutineType:
                    value = await value
                if value is not None:
                    outcome = Outcome(await result_of(value))
        except (Exception, BaseExceptionGroup) as error:  # the fence: one handler
            self._callback_raised(delivery.name, error, delivery.secrets)
            outcome = Outcome(failure=type(error).__name__)
        if not isinstance(envelope, Standard):
            self.stats.custom_messages_processed += outcome.failure is None
            self._reply(delivery, outcome)
        elif outcome is NOTHING or outcome.failure is None:
            self.stats.messages_processed += 1

    async def _handle_to_the_end(self, delivery: Delivery) -> None:
        """The same, and its task waits for the disk: where its lane has but one slot, it goes on with the next."""
        await self._handle(delivery)
        await forget(delivery)

    @interruptible
    async def _handle_in_time(self, delivery: Delivery, handler: Handler, *args: Any) -> Outcome:
        """Calls a handler under `handler_timeout`."""
        timeout = self.config.handler_timeout
        assert timeout is not None
        with trio.move_on_after(timeout):
            return Outcome(await call(handler, *args))
        self.stats.handler_timeouts += 1
        self.stats.failed(f"{delivery.name} ran into handler_timeout")
        self.log.error("%s took longer than handler_timeout (%g s) and was cancelled", delivery.name, timeout)
        return Outcome(failure="HandlerTimeout")

    def _reply(self, delivery: Delivery, outcome: Outcome) -> None:
        """Answers a request; anything else needs no answer."""
        envelope, session = delivery.envelope, delivery.connection.session
        reply_to = request_id(envelope) if isinstance(envelope, Custom) else None
        if reply_to is None or not isinstance(envelope, Custom):
            return
        payload, status = reply(outcome.value, outcome.failure)
        if status == "error" and outcome.failure is None:
            self.stats.handler_errors += 1
            self.log.error("%s answered a request with no dict but %s", envelope.type, type(outcome.value).__name__)
        meta, msg_id = {**self._sender_meta(session), REPLY_TO: reply_to, STATUS: status}, self._new_msg_id("custom")
        try:
            frame = encode_custom(envelope.type, payload, msg_id=msg_id, meta=meta)
        except InvalidMessage as error:
            self.stats.handler_errors += 1
            self.log.error("%s answered a request with what is no JSON: %s", envelope.type, error)
            meta[STATUS], payload = "error", {"error": "InvalidMessage"}
            frame = encode_custom(envelope.type, payload, msg_id=msg_id, meta=meta)
        if self.courier.post(session, msg_id, frame) is None:
            self.log.warning("the answer to a request of %s could not be kept: its outbox is full", session.uuid)

    async def _ask(
        self,
        question: Question,
        send: Callable[[str, bytes], Awaitable[None]],
        payload: Mapping[str, Any],
        timeout: float,
    ) -> dict[str, Any]:
        """Sends a request and waits for its answer."""
        meta = {**self._sender_meta(question.session), REQUEST_ID: question.id}
        try:
            msg_id = self._new_msg_id("custom")
            with trio.move_on_after(timeout):
                await send(msg_id, encode_custom(question.type, payload, msg_id=msg_id, meta=meta))
                return await question.wait()
        finally:
            self.requests.close(question)
        raise RequestTimeout(f"no answer to {question.type} within {timeout:g} s")

    def _sender_meta(self, session: Session) -> dict[str, Any]:
        """The meta of an envelope that goes to this identity."""
        raise NotImplementedError

    def answered(self, connection: Connection, envelope: Custom, key: int) -> None:
        """An answer to a request of ours has come: no slot is needed, it is given at once to whoever waits."""
        if envelope.msg_id is not None:
            connection.session.take(envelope.msg_id, key)
        if not self.requests.answered(connection.session, envelope):
            self.stats.late_answers += 1

    @interruptible
    async def run_hook(
        self,
        name: str,
        hook: Handler,
        *args: Any,
        deadline: float = math.inf,
        secrets: Iterable[str] = (),
        last_words: bool = False,
        until_stop: bool = False,
    ) -> Outcome:
        """Calls a hook in a task of the links: bounded, fenced, and ended with the surroundings. None of `secrets`
        appears in the log, whatever it raises. `last_words`: also when a stop has used up its time; `until_stop`: not
        beyond the beginning of one."""
        try:
            value = hook(*args)
        except (Exception, BaseExceptionGroup) as error:  # the fence: one hook
            self._callback_raised(name, error, secrets)
            return Outcome(failure="raised")
        if not waits(value):  # nothing could have been cancelled in it
            return Outcome(value)
        if last_words:
            deadline = min(deadline, max(self._shutdown_deadline, trio.current_time() + self.config.close_timeout))
        else:
            deadline = min(deadline, self._shutdown_deadline)
        with self._user_scope(deadline, until_stop=until_stop):
            try:
                return Outcome(await result_of(value))
            except (Exception, BaseExceptionGroup) as error:
                self._callback_raised(name, error, secrets)
                return Outcome(failure="raised")
        if self._abandoned or (until_stop and self.stopping):  # not its fault: everything was cancelled
            return Outcome(failure="cancelled")
        self.stats.handler_timeouts += 1
        self.stats.failed(f"{name} took too long")
        self.log.error("%s took too long and was cancelled", name)
        return Outcome(failure="too slow")

    def _callback_raised(self, name: str, raised: Exception | BaseExceptionGroup, secrets: Iterable[str]) -> None:
        """Counts and logs errors of user code; what else is in a group goes on."""
        error, rest = (raised, None) if isinstance(raised, Exception) else split_errors(raised)
        if error is not None:
            self.stats.handler_errors += 1
            self.stats.failed(f"{name} raised {type(error).__name__}")
            self.log.exception("%s raised %s", name, type(error).__name__, error=error, secrets=secrets)
        if rest is not None:
            raise rest from None

    def _handler_of(self, envelope: Standard | Custom) -> Handler | None:
        if isinstance(envelope, Standard):
            return self.config.on_message
        return self.handlers.find(envelope.type)

    def _unhandled(self, envelope: Standard | Custom) -> None:
        """Acked and counted; one WARNING per kind, since a missing handler is nearly always a mistake."""
        self.stats.unhandled_messages += 1
        kind = "standard messages" if isinstance(envelope, Standard) else f"messages of type {envelope.type:.80}"
        if kind not in self._unhandled_said and len(self._unhandled_said) < 100:
            self._unhandled_said.add(kind)
            self.log.warning("%s arrive but nothing handles them: they are acked and dropped", kind)

    def _metadata(self, connection: Source, envelope: Standard | Custom) -> dict[str, Any]:
        meta, metadata = envelope.meta, connection.metadata.copy()
        metadata["msg_id"] = envelope.msg_id
        metadata["message_type"] = "sys_std" if isinstance(envelope, Standard) else envelope.type
        metadata["timestamp"] = meta.get("timestamp")
        metadata["meta"] = meta
        if self.lifts_sender:
            metadata["sender_user"] = meta.get("sender_user", "unknown")
            metadata["target_user"] = meta.get("target_user", "")
        return metadata

    # -- for the life cycle

    def _handlers_opened(self, nursery: trio.Nursery) -> None:
        limit = 1 if self.config.handler_ordering == "per_connection" else None
        durable = self.config.outbox_path is not None
        self._dispatcher = Dispatcher(
            nursery,
            self._handle_to_the_end if durable and limit else self._handle,
            slots=self.config.max_concurrent_handlers,
            slots_per_lane=limit or self.config.max_concurrent_handlers_per_connection,
            burst=BURST if self.config.debug_slow_step is None else 1,  # so that a slow step is one handler's
            flusher=self._flusher,
            poller=self._poller,
            spare=self.config.debug_slow_step is None,
            conclude=conclude if durable and not limit else None,
        )
        for session in self._all_sessions():
            self._dispatcher.offer(session.lane)  # what an earlier run has left
        self._started_at = trio.current_time()

    async def _main(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self.now = trio.lowlevel.current_clock().current_time
        with watching_slow_steps(self.config.debug_slow_step, self._is_below, self.log):
            try:
                await super()._main(task_status=task_status)
            finally:
                if not self.courier.closed:  # cut short: nobody is called any more, but nothing is lost without a word
                    self._end_delivery("cancelled while it was stopping")
                    self.courier.undelivered.drop()
                self._leave_inboxes()

    def _links_opened(self, links: trio.Nursery) -> None:
        links.start_soon(self._tell_stats, name="stats")
        links.start_soon(self.courier.undelivered.run, name="undelivered")
        links.start_soon(self._keep_house, name="expiry")
        links.start_soon(self.keepalive.run, name="keepalive")

    async def _tell_stats(self) -> None:
        """Calls `stats_callback` every `stats_interval` seconds, while something has changed."""
        told: dict[str, Any] = {}
        while True:
            await trio.sleep(self.config.stats_interval)
            callback = self.config.stats_callback
            stats = self.get_stats()
            changed = {key: value for key, value in stats.items() if key != "uptime"}
            if callback is not None and self.config.enable_stats and changed != told:
                told = changed
                await self.run_hook("stats_callback", callback, stats, deadline=self.hook_deadline())

    def get_stats(self) -> dict[str, Any]:
        raise NotImplementedError

    def _begin_stop(self) -> None:
        super()._begin_stop()
        if self._dispatcher is not None:
            self._dispatcher.seal()

    async def _drain(self) -> None:
        assert self._dispatcher is not None
        await self._dispatcher.wait_idle()
        await self.courier.wait_flushed(self._all_sessions)

    def _close_handlers(self) -> None:
        if self._dispatcher is not None:
            self._dispatcher.close()

    # -- small things

    def _send_checkpoint(self) -> Awaitable[None]:
        """What every public send waits for first: cancellation is noticed always, others get a turn now and then."""
        self._sends += 1
        if self._sends % CHECKPOINT_EVERY:
            return trio.lowlevel.checkpoint_if_cancelled()  # noqa: ASYNC105 - awaited by the caller: a call less
        return trio.lowlevel.checkpoint()  # noqa: ASYNC105

    def _new_msg_id(self, prefix: str) -> str:
        return new_msg_id(prefix, f"{self._random.getrandbits(48):012x}", time.time())

    def _common_status(self) -> dict[str, Any]:
        dispatcher, task = self._dispatcher, self._main_task
        return {
            "active_handler_tasks": dispatcher.active if dispatcher is not None else 0,
            "custom_handlers": sorted(self.config.custom_handlers),
            "tasks": task_tree(task) if task is not None else None,
        }

    def _common_stats(self) -> dict[str, Any]:
        running = self.is_running() and self._started_at is not None
        counted = self.stats.snapshot()
        counted["bytes_received"] += sum(link.bytes_in for link in self.links)
        counted["bytes_sent"] += sum(link.bytes_out for link in self.links)
        return {
            **counted,
            "outbox_size": sum(len(session.outbox) for session in self._all_sessions() if session.outbox is not None),
            "network": network_of(counted, len(self.links)),
            "active_handler_tasks": self._dispatcher.active if self._dispatcher is not None else 0,
            "uptime": trio.current_time() - self._started_at if running and self._started_at is not None else 0.0,
        }

    def hook_deadline(self) -> float:
        timeout = self.config.handler_timeout
        return math.inf if timeout is None else trio.current_time() + timeout
