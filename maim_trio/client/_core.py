"""A client with one connection, without its methods for users."""

from __future__ import annotations

import hashlib
import time
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from maim_trio._runtime.connection import Connection
from maim_trio._runtime.durable_inbox import HeldLane, place
from maim_trio._runtime.endpoint import Endpoint
from maim_trio._runtime.letters import Letter
from maim_trio._runtime.misuse import takes
from maim_trio._runtime.session import INBOX_BYTES, Session
from maim_trio._transport.limits import Limits
from maim_trio._wire import close
from maim_trio._wire.codec import Standard, encode_standard
from maim_trio.client._config import ClientConfig
from maim_trio.client._connector import Connector
from maim_trio.client._dial import beaten_by_url, open_stream, secrets_of
from maim_trio.client._hooks import HookQueue
from maim_trio.client._stream import MessageStream, StreamLane
from maim_trio.client._url import Address, parse_url
from maim_trio.errors import ConfigError, InvalidMessage, NotConnected
from maim_trio.message import APIMessageBase

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable

    from maim_trio._delivery.outbox import Entry, Settled
    from maim_trio._runtime.delivery import Delivery
    from maim_trio._runtime.dispatch import Lane
    from maim_trio._runtime.durable_inbox import DurableDelivery
    from maim_trio._runtime.hooks import Handler
    from maim_trio._runtime.letters import Confirmation
    from maim_trio._runtime.outbox_file import OutboxFile
    from maim_trio._transport.link import Link

EXTRA_QUEUED = 16 * 1024 * 1024
"""Bytes for acks and answers on top of `message_cache_max_bytes` in the queue of the link."""

MAX_HEAD = 16 * 1024
"""Bytes of the head of the server's answer."""
REFUSED_DELAY = 0.1
"""Seconds until a request is offered again to a durable outbox that did not take it."""


class ClientCore(Endpoint):
    """The client without its methods for users: connects, receives, keeps what is sent, ends."""

    config: ClientConfig
    connection_name = "default"

    @takes(ClientConfig, "WebSocketClient(create_client_config(url, api_key))")
    def __init__(self, config: ClientConfig) -> None:
        super().__init__(config, "maim_trio.client")
        self.lifts_sender = True
        self._raise_problem()
        self._connector = Connector(self)
        self._uuid = config.connection_uuid or str(uuid.uuid4())
        self._uuid_of: tuple[str, str] | None = None  # the key and platform it was used with
        self._session = self._make_session()
        self._stream_lane = StreamLane(config.inbox_size)
        self._stream: weakref.ref[MessageStream] | None = None
        self._restored: list[DurableDelivery] = []  # from the file; handled once a connection is wanted
        self._hooks: HookQueue | None = None

    def _own_secrets(self) -> tuple[str, ...]:
        return secrets_of(self.config)

    # -- for the connector

    @property
    def shown_url(self) -> str:
        try:
            return parse_url(self.config.url).shown
        except ConfigError:  # assigned to a running configuration
            return "an invalid url"

    def claim_uuid(self) -> str:
        """The id for the next handshake: a new one after the key or platform has changed."""
        who = (self.config.api_key, self.config.platform)
        if self._uuid_of not in (None, who):
            self._uuid = self.config.connection_uuid or str(uuid.uuid4())
            old, self._session = self._session, self._make_session()
            self._end_session(old, "the client has become another user: its API key or platform has changed")
            if self.courier.store is not None:
                self.courier.store.remember(self._fact_name(), self._uuid)
        self._uuid_of = who
        return self._uuid

    def wanted(self) -> None:
        """A connection is wanted: handlers are in place, and what an earlier process has left is theirs."""
        restored, self._restored = self._restored, []
        for delivery in restored:
            lane = self.lane_for(delivery)
            place(lane, [delivery])
            self.offer(lane)

    def make_connection(self, link: Link) -> Connection:
        config = self.config
        metadata = {
            "connection_name": self.connection_name,
            "connection_uuid": self._uuid,
            "server_url": config.url,
            "uuid": self._uuid,
            "api_key": config.api_key,
            "platform": config.platform,
            "resumed": link.response_headers.get("x-maim-resumed") == "1",
        }
        connection = Connection(self, link, self._session, platform=config.platform, metadata=metadata)
        self._session.connection = connection
        return connection

    async def open_stream(self, address: Address) -> trio.abc.Stream:
        """The stream under the next connection."""
        return await open_stream(self.config, address)

    async def hooks_called(self) -> None:
        """Returns when not too many calls of hooks wait for a slow one."""
        if self._hooks is not None:
            await self._hooks.wait_room()

    def on_connected(self, connection: Connection) -> None:
        connection.ready = True
        self.courier.pump(self._session)
        self.log.connection("connected to %s as %s", self.shown_url, connection.uuid)
        self._call_hook("on_connect", self.config.on_connect, connection.uuid, self.config)

    def gave_up(self, reason: str) -> None:
        if not (self.stopping and self._connector.connection is not None):  # while it stops, answers are still read
            self.requests.lost(None, reason)
        if self._connector.connection is None and not (self.stopping and self.courier.store is not None):
            self.courier.give_up(self._session, reason)
        self._stream_lane.notify()

    def link_lost(self, connection: Connection) -> None:
        """A link has ended, whether it counted as a connection or not."""
        closed = connection.link.closed
        if self._session.connection is connection:
            self._session.connection = None
            too_big = closed is not None and closed.code == close.TOO_BIG and closed.by_peer
            self.courier.link_lost(self._session, too_big=too_big)

    def on_lost(self, connection: Connection, error: str | None) -> None:
        if self._connector.idle:
            self.requests.lost(None, self._connector.given_up or "the connection has ended")
        self.log.connection("disconnected from %s: %s", self.shown_url, error or "closed by this client")
        self._call_hook("on_disconnect", self.config.on_disconnect, connection.uuid, error)

    # -- messages()

    def lane_for(self, delivery: Delivery) -> Lane[Delivery]:
        if isinstance(delivery.envelope, Standard):
            # An iterator that was dropped keeps its place until on_message is set: leaving a loop loses nothing.
            if self._stream is not None and (self._stream() is not None or self.config.on_message is None):
                return self._stream_lane
            self._hand_over()
        return super().lane_for(delivery)

    def deliver(self, delivery: Delivery, lane: Lane[Delivery] | None = None) -> bool:
        return super().deliver(delivery, lane or self.lane_for(delivery))

    def _hand_over(self) -> None:
        """on_message gets what an iterator has left behind."""
        if self._stream_lane.inbox and self.config.on_message is not None:
            super().offer(self._stream_lane)

    def offer(self, lane: Lane[Delivery]) -> None:
        if isinstance(lane, StreamLane):
            lane.notify()
            if self._stream is None:
                self._hand_over()
        else:
            super().offer(lane)

    def _open_delivery(self, delivery: Delivery) -> tuple[APIMessageBase, dict[str, Any]]:
        envelope = delivery.envelope
        assert isinstance(envelope, Standard)
        self.stats.messages_processed += 1
        return envelope.message, self._metadata(delivery.connection, envelope)

    def _stream_end(self) -> str | None:
        if not self.is_running() and self._started_at is not None:
            return ""
        given_up = self._connector.given_up
        return "" if given_up == "stopped" else given_up

    def _stream_dropped(self, stream: weakref.ref[MessageStream]) -> None:
        """A loop was left without closing its iterator."""
        if self._stream is stream:
            self._stream_lane.left()

    def _unsubscribe(self, stream: MessageStream) -> None:
        if self._stream is not None and self._stream() is stream:
            self._stream = None
            self._stream_lane.release()
            self._hand_over()

    # -- life cycle

    def _raise_problem(self) -> None:
        problem = self.config.problem()
        if problem is not None:
            raise ConfigError(problem)

    def _prepare(self) -> None:
        super()._prepare()
        self._raise_problem()
        for name in beaten_by_url(self.config):
            self.log.warning(
                "the url has another %s= than the field %s: servers go by the url; leave one out", name, name
            )
        self.ping_timeout = self.config.ping_timeout
        self._connector.given_up = self._connector.last_error = None
        for lane in (self._session.lane, self._stream_lane):
            lane.inbox.forget_waiting()  # of an earlier run, whose stop has left it to its sender
        self._session.waiting_keys = None

    async def _admit(self, links: trio.Nursery, up: Callable[[], None]) -> None:
        self._hooks = HookQueue(self)
        links.start_soon(self._hooks.run, name="hooks")
        await self._restore(await self._open_store(links))
        self.offer(self._session.lane)  # what an earlier run has acked and not handled
        up()
        await self._connector.pursue(links, self._limits)

    def _stop_begun(self) -> None:
        self._stream_lane.stopped()
        self._connector.unwant("stopped", meant=True)

    async def _close_links(self) -> None:
        await self._connector.close(close.GOING_AWAY, "client stopping")
        if self._hooks is not None:
            await self._hooks.finish()
        await self._finish_delivery("the client has stopped")

    def _call_hook(self, name: str, hook: Handler | None, *arguments: Any) -> None:
        if hook is not None and self._hooks is not None:
            self._hooks.put(name, hook, arguments)

    # -- small things

    def _ready(self) -> bool:
        if not self.is_running() or self.stopping:
            self._connector.note("the client is not running: start() it first")
            return False
        return True

    async def _send(self, letter: Letter, confirmation: Confirmation | None = None) -> bool:
        settled = confirmation.settle if confirmation is not None else None
        entry = self._post(letter, settled)
        if entry is None and self._may_send():
            entry = await self._when_full(letter, settled)
        if confirmation is not None:
            confirmation.posted(entry)
        if self.courier.store is not None:
            await self.courier.wait_stored([entry])
        return entry is not None and not entry.refused

    async def _when_full(self, letter: Letter, settled: Settled | None) -> Entry | None:
        """What `when_full` says about an outbox that has no room."""
        entry: Entry | None = None
        if self._session.outbox is None and self._connector.connection is None:
            self._connector.note("not connected, and without a message cache nothing is kept")
            return None
        if self.config.when_full == "close":
            self._connector.close_slow()
        elif self.config.when_full == "wait":
            with trio.move_on_after(self.config.send_timeout):
                while entry is None and self._may_send():
                    await self.courier.wait_room(self._session, len(letter.payload))
                    entry = self._post(letter, settled)
        if entry is None and self._may_send():
            self._connector.note("the outbox is full: the server does not acknowledge fast enough")
        return entry

    def _post(self, letter: Letter, settled: Settled | None) -> Entry | None:
        if not self._may_send():
            if self._connector.last_error is None:
                self._connector.note("not connected: connect() first")
            return None
        return self.courier.post(self._session, letter.msg_id, letter.payload, settled=settled)

    def _may_send(self) -> bool:
        """Whether there is a connection, or one to come. While stopping, handlers may still answer."""
        return self.is_running() and (not self._connector.idle or self._connector.connection is not None)

    async def _post_when_room(self, msg_id: str, payload: bytes) -> None:
        while not await self._send(Letter(msg_id, payload)):
            self._raise_given_up()
            await self.courier.wait_room(self._session, len(payload))
            if self.courier.store is not None:
                await trio.sleep(REFUSED_DELAY)  # it may have been the disk

    def _raise_given_up(self) -> None:
        if self._connector.given_up is not None:
            raise NotConnected(f"the client has given up: {self._connector.given_up}")

    def _encode(self, message: APIMessageBase) -> Letter:
        if not isinstance(message, APIMessageBase):
            raise InvalidMessage(f"send_message takes an APIMessageBase, not {type(message).__name__}")
        msg_id = self._new_msg_id("msg")
        payload = encode_standard(message, msg_id=msg_id, meta=self._own_meta())
        for name in ("api_key", "platform"):
            if not getattr(message.message_dim, name):
                raise InvalidMessage(f"`$.message_dim.{name}` is empty: it says whom the message is for")
        return Letter(msg_id, payload)

    def _make_session(self) -> Session:
        durable = self.durable_inbox is not None
        return Session("", self._uuid, self.config.platform, self.config, resumable=True, durable=durable)

    def _all_sessions(self) -> list[Session]:
        return [self._session]

    async def _restore(self, file: OutboxFile | None) -> None:
        """Takes over the identity and the messages of an earlier process with the same key and platform."""
        if file is None:
            return
        name = self._fact_name()
        known = self.config.connection_uuid or await trio.to_thread.run_sync(file.fact, name)
        if known is not None and known != self._uuid:
            self._uuid = known
            self._session = self._make_session()
        if self.courier.store is not None:
            self.courier.store.remember(name, self._uuid)
        await self._restore_received(file)
        rows = await trio.to_thread.run_sync(partial(file.rows, dead=False))
        self._restore_messages(self._session, [row for row in rows if row.uuid == self._uuid])
        now = time.time()
        for other in {row.uuid for row in rows if row.uuid != self._uuid and row.expires <= now}:
            # Of another key or platform, which this file was used with before: they end, as all do.
            session = Session("", other, self.config.platform, self.config, resumable=True)
            self._restore_messages(session, [row for row in rows if row.uuid == other and row.expires <= now])

    async def _restore_received(self, file: OutboxFile) -> None:
        assert self.durable_inbox is not None
        if not isinstance(self._session.lane, HeldLane):  # made before there was a file
            lane = HeldLane(self.config.inbox_size, INBOX_BYTES)
            lane.adopt(self._session.lane)
            self._session.lane = lane
        for left in await self._left_in(file):
            if (left.uuid, left.user_id) == (self._session.uuid, self._session.user_id):
                self._restored = self.durable_inbox.restore(self._session, left)
        if not self._connector.idle:
            self.wanted()

    def _lanes(self) -> list[Lane[Delivery]]:
        return [*super()._lanes(), self._stream_lane]

    def _leave_inboxes(self) -> None:
        super()._leave_inboxes()
        self._restored = []
        self._stream_lane.notify()

    def _fact_name(self) -> str:
        who = f"{self.config.api_key}\0{self.config.platform}"
        return "uuid of " + hashlib.sha256(who.encode()).hexdigest()

    def _end_session(self, session: Session, reason: str) -> None:
        session.ended = True
        if self.durable_inbox is not None:
            self.durable_inbox.ended(session)
        self.courier.give_up(session, reason)
        self.requests.lost(session, reason)

    def _sender_meta(self, session: Session) -> dict[str, Any]:
        return self._own_meta()

    def _own_meta(self) -> dict[str, Any]:
        config = self.config
        return {"sender_user": config.api_key, "platform": config.platform, "timestamp": time.time()}

    def _limits(self) -> Limits:
        config = self.config
        return Limits(
            max_message=config.max_message_size,
            max_queued=config.message_cache_max_bytes + EXTRA_QUEUED,
            max_head=MAX_HEAD,
            handshake_timeout=config.connect_timeout,
            send_timeout=config.send_timeout,
            close_timeout=config.close_timeout,
        )
