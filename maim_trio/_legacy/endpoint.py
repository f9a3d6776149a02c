"""What legacy servers and clients have in common: handlers and their fences, counters, the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from maim_trio._legacy.handlers import HandlerTable
from maim_trio._runtime.dispatch import Dispatcher
from maim_trio._runtime.hooks import Handler, call, split_errors
from maim_trio._runtime.log import Log
from maim_trio._runtime.service import Service
from maim_trio._runtime.stats import Counters
from maim_trio._transport.interrupts import interruptible

if TYPE_CHECKING:
    from collections.abc import Mapping

    from maim_trio._legacy.connection import Received
    from maim_trio._legacy.settings import Settings
    from maim_trio._runtime.dispatch import Lane
    from maim_trio._transport.link import Link

CHECKPOINT_EVERY = 32
"""A full checkpoint costs more than queueing a message; one in so many keeps a sending loop from starving others."""
KINDS_SAID = 100
"""Kinds of messages without a handler that are named in the log: the other side chooses the names."""
_STATS = (
    "total_connections", "successful_connects", "failed_connects", "connect_attempts", "reconnect_attempts",
    "total_auth_requests", "successful_auths", "failed_auths",
    "messages_received", "messages_sent", "messages_processed", "custom_messages_processed", "unhandled_messages",
    "messages_undelivered", "invalid_frames", "handler_errors", "handler_timeouts", "slow_consumers_closed",
    "bytes_received", "bytes_sent", "last_activity", "last_error", "error_count",
)  # fmt: skip


class LegacyEndpoint(Service):
    """The runtime under `MessageServer` and `MessageClient`."""

    def __init__(self, config: Settings, logger_name: str, table: HandlerTable | None = None) -> None:
        super().__init__()
        self.config: Settings = config
        self.log = Log(logger_name, config, self._own_secrets)
        self.stats = Counters()
        self.links: set[Link] = set()
        self.dropped = 0  # messages that came while it was stopping
        self._table = table if table is not None else HandlerTable()
        self._dispatcher: Dispatcher[Received] | None = None
        self._sends = 0
        self._unhandled_said: set[str] = set()

    # -- public, of servers and clients alike

    @property
    def message_handlers(self) -> list[Handler]:
        """The handlers of standard messages, in the order in which they were registered."""
        return self._table.standard

    @property
    def custom_message_handlers(self) -> dict[str, list[Handler]]:
        """The handlers of custom messages by type."""
        return self._table.custom

    def register_message_handler(self, handler: Handler) -> None:
        """Has `handler` called for every standard message, with the message as a plain dict.

        It may be a coroutine function or a plain one. All handlers of a message run at the same time. TypeError for
        what cannot be called; registering a handler twice changes nothing.
        """
        self._table.add(handler)

    def register_custom_message_handler(self, message_type_name: str, handler: Handler) -> None:
        """Has `handler` called for custom messages of this type, with the whole message as a plain dict.

        What was sent is under ``content``. TypeError for what cannot be called and for a type that is no name.
        """
        self._table.add_custom(message_type_name, handler)

    async def process_message(self, message: Mapping[str, Any]) -> None:
        """Calls the handlers of a message, as if it had just come in, and returns when they have ended.

        What they raise is logged and counted. Cancelling it cancels them.
        """
        kind, handlers = self._table.find(message)
        if not handlers:
            self._unhandled(kind)
            return
        name = "message" if kind is None else kind
        if len(handlers) == 1:
            await self._guarded(name, handlers[0], message)
        else:
            async with trio.open_nursery() as nursery:
                for handler in handlers:
                    nursery.start_soon(self._guarded, name, handler, message, name=name)
        if kind is None:
            self.stats.messages_processed += 1
        else:
            self.stats.custom_messages_processed += 1

    def get_stats(self) -> dict[str, Any]:
        """Counters and gauges as a fresh dict that is JSON-serialisable; restarting does not reset them."""
        counted = self.stats.snapshot()
        stats = {name: counted[name] for name in _STATS}
        stats["bytes_received"] += sum(link.bytes_in for link in self.links)
        stats["bytes_sent"] += sum(link.bytes_out for link in self.links)
        stats["current_connections"] = len(self.links)
        stats["active_handler_tasks"] = self._dispatcher.active if self._dispatcher is not None else 0
        return stats

    def _own_secrets(self) -> tuple[str, ...]:
        """What no line of the log may show."""
        return ()

    # -- for connections

    def offer(self, lane: Lane[Received]) -> None:
        assert self._dispatcher is not None
        self._dispatcher.offer(lane)

    def link_ended(self, link: Link) -> None:
        self.links.discard(link)
        self.stats.bytes_received += link.bytes_in
        self.stats.bytes_sent += link.bytes_out

    # -- handlers

    async def _handle(self, received: Received) -> None:
        await self.process_message(received.message)

    @interruptible
    async def _guarded(self, name: str, handler: Handler, message: Mapping[str, Any]) -> None:
        """The fence around one handler: what it raises and its timeout are logged and counted."""
        timeout = self.config.handler_timeout
        try:
            if timeout is None:
                await call(handler, message)
                return
            with trio.move_on_after(timeout) as scope:
                await call(handler, message)
        except Exception as error:  # the fence: one handler
            self._raised(name, error)
            return
        except BaseExceptionGroup as group:
            errors, rest = split_errors(group)
            self._raised(name, errors)
            raise rest from None
        if scope.cancelled_caught:
            self.stats.handler_timeouts += 1
            self.stats.failed(f"the handler of {name} ran into handler_timeout")
            self.log.error("the handler of %s took longer than handler_timeout (%g s) and was cancelled", name, timeout)

    def _raised(self, name: str, error: Exception | None) -> None:
        if error is not None:
            self.stats.handler_errors += 1
            self.stats.failed(f"the handler of {name} raised {type(error).__name__}")
            self.log.exception("the handler of %s raised %s", name, type(error).__name__, error=error)

    def _unhandled(self, kind: str | None) -> None:
        """Counted; one WARNING per kind, since a missing handler is nearly always a mistake."""
        self.stats.unhandled_messages += 1
        what = "standard messages" if kind is None else f"custom messages of type {kind:.80}"
        if what not in self._unhandled_said and len(self._unhandled_said) < KINDS_SAID:
            self._unhandled_said.add(what)
            self.log.warning("%s arrive but nothing handles them: they are dropped", what)

    # -- for the life cycle

    def _handlers_opened(self, nursery: trio.Nursery) -> None:
        in_order = self.config.handler_ordering == "per_connection"
        self._dispatcher = Dispatcher(
            nursery,
            self._handle,
            slots=self.config.max_concurrent_handlers,
            slots_per_lane=1 if in_order else self.config.max_concurrent_handlers_per_connection,
        )
        self.dropped = 0

    async def _drain(self) -> None:
        assert self._dispatcher is not None
        await self._dispatcher.wait_idle()

    def _close_handlers(self) -> None:
        if self._dispatcher is not None:
            self._dispatcher.close()

    def _say_dropped(self) -> None:
        if self.dropped:
            self.log.warning("%d messages came while it was stopping and were not handled", self.dropped)

    # -- small things

    async def _send_checkpoint(self) -> None:
        """What every send begins with: cancellation is noticed always, others get a turn now and then."""
        self._sends += 1
        if self._sends % CHECKPOINT_EVERY:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            await trio.lowlevel.checkpoint()
