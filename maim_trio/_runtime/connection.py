"""One live connection: what is done with what it receives, for servers and clients alike."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

import trio

from maim_trio._delivery.dedupe import frame_key
from maim_trio._runtime.delivery import Delivery
from maim_trio._runtime.keepalive import Liveness
from maim_trio._runtime.log import QUIET, without
from maim_trio._runtime.requests import REPLY_TO
from maim_trio._transport.frames import text_frame
from maim_trio._transport.interrupts import uninterrupted
from maim_trio._transport.link import LinkClosed
from maim_trio._wire import close
from maim_trio._wire.codec import (
    Ack,
    AckWriter,
    Bare,
    Custom,
    FrameError,
    PeerError,
    Standard,
    decode,
    encode_error,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from maim_trio._runtime.endpoint import Endpoint
    from maim_trio._runtime.session import Session
    from maim_trio._transport.link import Link

MINUTE = 60.0

_VIOLATIONS = frozenset({close.PROTOCOL_ERROR, close.INVALID_DATA, close.TOO_BIG})
_UNCOUNTED = frozenset({"no_handler", "rate_limited"})  # a correct peer can cause these


@uninterrupted
class Connection:
    """A link in use. `metadata` is what every callback is told about it."""

    __slots__ = (
        "_acks",
        "_bare_seen",
        "_close_with",
        "_complaints",
        "_endpoint",
        "_feeding",
        "_invalid_at",
        "_nursery",
        "_pause",
        "_unix_time",
        "_unplaced",
        "_wanted",
        "link",
        "liveness",
        "metadata",
        "owed",
        "pauses",
        "platform",
        "read_at",
        "ready",
        "session",
        "started_at",
        "uuid",
    )

    def __init__(
        self, endpoint: Endpoint, link: Link, session: Session, *, platform: str, metadata: dict[str, Any]
    ) -> None:
        self.link = link
        self.session = session
        self.uuid = session.uuid
        self.platform = platform
        self.metadata = metadata
        self.started_at = trio.current_time()
        self.ready = False  # messages may be sent
        self._acks = AckWriter(endpoint.ack_ids, session.uuid, by_client=link.client)
        self._unix_time = time.time()  # when it was read last
        self.read_at = self.started_at  # the same by trio's clock
        self._endpoint = endpoint
        self._invalid_at: deque[float] | None = None  # when there was an invalid frame; most send none
        self._close_with = (close.NORMAL, "")
        self._bare_seen = False
        self._complaints: tuple[str, ...] = ()
        self._pause: trio.CancelScope | None = None  # reading has stopped on purpose
        self.pauses = 0
        """How often reading has stopped on purpose, and gone on."""
        self.liveness = Liveness(self)
        self._nursery: trio.Nursery | None = None
        self._feeding = False  # the queue of the link had no room for a message
        self._wanted = 0  # bytes
        self.owed: list[str] | None = None
        """Ids to be acknowledged together, while what was read together is dealt with."""
        self._unplaced: Delivery | None = None  # it has found no room
        link.expect_replies(session.lane)

    def start(self, nursery: trio.Nursery) -> None:
        """From here on what is sent leaves. What runs beside `run` now and then does so in `nursery`, and ends with the
        link."""
        self._nursery = nursery
        self.link.write_by(self._start_writer)

    def _start_writer(self) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self._beside, self.link.run_writer, name="writer")

    async def _beside(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as error:  # the fence: one connection
            self._broke(error)
            self.link.abort("internal error")

    def _broke(self, error: Exception) -> None:
        self._endpoint.log.exception(
            "connection %s ended by an internal error", self.uuid, error=error, secrets=(self.api_key,)
        )
        self._endpoint.stats.failed("internal error in a connection")

    async def run(self) -> None:
        """Reads until the link ends, however it ends. Whatever a peer does ends here."""
        self._endpoint.keepalive.add(self.liveness)
        self._endpoint.links.add(self.link)
        try:
            while True:
                await self._place(await self.link.receive(self._take))
        except LinkClosed as ended:
            self._note_violation(ended)
        except Exception as error:  # the fence: one connection
            self._broke(error)
            self._close_with = (close.INTERNAL_ERROR, "internal error")
        finally:
            self._endpoint.keepalive.discard(self.liveness)
            try:
                await self.aclose(*self._close_with)  # cancelled, it closes the stream at once
            finally:
                self._nursery = None
                self._endpoint.link_ended(self.link)

    def _note_violation(self, ended: LinkClosed) -> None:
        """Counts a frame that broke RFC 6455 or the size limit; our close frame has told the peer, a line the log."""
        if ended.code in _VIOLATIONS and not ended.by_peer:
            self._endpoint.stats.invalid_frames += 1
            self._endpoint.stats.failed(f"invalid frame: closed with {ended.code}, {ended.reason}")

    async def aclose(self, code: int, reason: str) -> None:
        """Closes the link after what is queued; also when reading has stopped. Bounded by `close_timeout`."""
        self.stop_pause()
        await self.link.aclose(code, reason)

    def stop_pause(self) -> None:
        """The link has ended, or is to end: reading goes on, to notice it."""
        if self._pause is not None:
            self._pause.cancel()

    @property
    def user_id(self) -> str:
        return self.session.user_id

    @property
    def api_key(self) -> str:
        key: str = self.metadata["api_key"]
        return key

    # -- sending

    def acknowledge(self, msg_id: str) -> None:
        """At once; while what was read together is dealt with, behind that, for all of it together."""
        if self.owed is not None:
            self.owed.append(msg_id)
        else:
            self._answer([self._acks.write(msg_id, self._unix_time)])

    def begin_owing(self) -> None:
        """What is to be acknowledged is remembered, until `send_owed`."""
        self.owed = []

    def send_owed(self) -> None:
        """Acknowledges all of it together."""
        owed, self.owed = self.owed, None
        if not owed:
            return
        if len(owed) == 1:  # a call less for each step, where a message has come alone
            offer, ack = self.link.offer, self._acks.write(owed[0], self._unix_time)
            if not offer(text_frame(ack, self.link.client)):
                self._answer([ack])
        else:
            self._answer(self._acks.write_all(owed, self._unix_time))

    def _answer(self, payloads: list[bytes]) -> None:
        """Sends what the protocol owes the peer. One that makes us answer but does not read is cut off."""
        try:
            self.link.send_texts_nowait(payloads)
        except LinkClosed:
            return
        except trio.WouldBlock:
            self._endpoint.stats.slow_consumers_closed += 1
            self._endpoint.log.warning("connection %s does not read its answers and is cut off", self.uuid)
            self.link.abort("peer does not read its answers")

    def starve(self, size: int) -> None:
        """A message of `size` bytes found no room in the queue of the link: sending goes on as soon as it has."""
        self._wanted = size
        if not self._feeding:
            self._feeding = True
            if self._nursery is not None:
                self._nursery.start_soon(self._beside, self._feed, name="feed")

    async def _feed(self) -> None:
        await self.link.wait_space(self._wanted)
        self._feeding = False
        if self.link.closed is None:
            self._endpoint.courier.pump(self.session)

    # -- receiving

    async def _place(self, rest: list[bytes] | None) -> None:
        """Deals with what was left, as soon as there is room."""
        while rest is not None:
            if self._unplaced is not None:
                delivery, self._unplaced = self._unplaced, None
                await self._wait_for_room(delivery)
            rest = self._take(rest)

    def _take(self, batch: list[bytes]) -> list[bytes] | None:
        """Deals with received frames. What comes behind one that found no room is returned; that one waits in
        `_unplaced`."""
        endpoint, session = self._endpoint, self.session
        now = endpoint.now
        self._unix_time = endpoint.stats.last_activity = time.time()
        self.read_at = now()
        self.owed = []
        try:
            for index, frame in enumerate(batch):
                try:
                    envelope = decode(frame)
                except FrameError as error:
                    self._invalid(error)
                    continue
                if type(envelope) is Ack:
                    endpoint.courier.acknowledged(session, envelope.acked_msg_id)
                elif isinstance(envelope, (Standard, Custom)):
                    delivery = self._received(envelope, frame)
                    if delivery is not None and not endpoint.deliver(delivery):
                        self._unplaced = delivery
                        return batch[index + 1 :]
                elif isinstance(envelope, PeerError):
                    self._refused(envelope)
        finally:
            if self.owed:
                self.send_owed()
            else:
                self.owed = None
        return None

    def _received(self, envelope: Standard | Custom, frame: bytes) -> Delivery | None:
        """A message for a handler; None when it was here before, is an answer, or is not taken any more."""
        endpoint, session, msg_id = self._endpoint, self.session, envelope.msg_id
        key = 0 if msg_id is None else frame_key(msg_id, frame)
        if key and (session.dedupe.seen(key) or session.waiting_keys) and self._seen(envelope, key):
            return None
        name = "on_message"
        if type(envelope) is Custom:
            if REPLY_TO in envelope.meta:
                endpoint.answered(self, envelope, key)
                return None
            name = envelope.type
        if endpoint.stopping:
            return None  # neither taken nor acked: it stays the sender's
        endpoint.stats.messages_received += 1
        if msg_id is None and type(envelope) is Bare:
            self._say_bare()
        if endpoint.config.log_level not in QUIET and endpoint.log.messages_wanted():
            self._log_received(envelope, len(frame))
        if endpoint.durable_inbox is not None:
            return endpoint.durable_inbox.delivery(self, envelope, frame, key)
        return Delivery(self, envelope, len(frame), key, name)

    def _refused(self, error: PeerError) -> None:
        self._endpoint.stats.peer_errors += 1
        what = "the peer of %s could not take message %s: %s (%s)"
        self._complain(what, self.uuid, error.failed_msg_id, error.message, error.code)
        self._endpoint.courier.refused(self.session, error)

    def _seen(self, envelope: Standard | Custom, key: int) -> bool:
        """Whether this is a retransmission. What was taken is acked again; what still waits will be."""
        session = self.session
        waits = session.waiting_keys and key in session.waiting_keys
        if not waits and not session.dedupe.seen(key):
            return False
        self._endpoint.stats.duplicate_messages_ignored += 1
        if not waits and envelope.msg_id is not None:
            self.acknowledge(envelope.msg_id)
        return True

    async def _wait_for_room(self, delivery: Delivery) -> None:
        """The one place where reading stops on purpose: inbox and waiting room are full."""
        self._complain("the inbox of %s is full: reading stops until handlers have caught up", self.uuid)
        self.pauses += 1
        with trio.CancelScope() as self._pause:
            while not self._endpoint.stopping and not self._endpoint.deliver(delivery):
                await self._endpoint.lane_for(delivery).wait_room()
                if delivery.key and self._seen(delivery.envelope, delivery.key):
                    break  # it has come on another connection meanwhile
        ended, self._pause = self._pause.cancelled_caught, None
        self.pauses += 1
        if ended:
            raise LinkClosed(1006, "closed while its inbox was full", False)

    def _invalid(self, error: FrameError) -> None:
        endpoint = self._endpoint
        endpoint.stats.invalid_frames += 1
        endpoint.stats.failed(f"invalid frame: {error.code}")
        self._complain("invalid frame from %s: %s (%s)", self.uuid, error.message, error.code)
        self.send_owed()  # for what came before it
        answer = encode_error(
            code=error.code,
            message=error.message,
            connection_uuid=self.uuid,
            failed_msg_id=error.msg_id,
            now=time.time(),
        )
        self._answer([answer])
        if error.code not in _UNCOUNTED and self._too_many_invalid():
            endpoint.log.warning("connection %s sent too many invalid frames and is closed (1008)", self.uuid)
            self._close_with = (close.POLICY_VIOLATION, "too many invalid frames")
            raise LinkClosed(*self._close_with, False)

    def _complain(self, text: str, *args: object) -> None:
        """One WARNING per kind and connection, DEBUG from then on: no peer fills the log. It may repeat its key."""
        args = tuple(without(arg, (self.api_key,)) if isinstance(arg, str) else arg for arg in args)
        if text in self._complaints:
            self._endpoint.log.debug(text, *args)
        else:
            self._complaints += (text,)
            self._endpoint.log.warning(text, *args)

    def _too_many_invalid(self) -> bool:
        now = trio.current_time()
        if self._invalid_at is None:
            self._invalid_at = deque()
        seen = self._invalid_at
        seen.append(now)
        while seen[0] <= now - MINUTE:
            seen.popleft()
        return len(seen) > self._endpoint.max_invalid_frames

    def _say_bare(self) -> None:
        if not self._bare_seen:
            self._bare_seen = True
            self._endpoint.log.info(
                "connection %s sends messages without an envelope; they are taken as sys_std", self.uuid
            )

    def _log_received(self, envelope: Standard | Custom, size: int) -> None:
        kind = "sys_std" if isinstance(envelope, Standard) else envelope.type
        what = without(f"{kind:.80} {envelope.msg_id}", (self.api_key,))
        self._endpoint.log.debug("received %s on %s, %d bytes", what, self.uuid, size)

    # -- liveness

    def heard_at(self) -> float:
        """Up to then the other side has read what was written; without pings that is taken for granted."""
        return self.liveness.heard_at() if self._endpoint.config.ping_interval else trio.current_time()

    @property
    def paused(self) -> bool:
        """Whether reading has stopped on purpose."""
        return self._pause is not None

    def no_pong(self) -> None:
        """The peer does not answer pings."""
        timeout = self._endpoint.ping_timeout
        self._endpoint.log.connection("connection %s is dead: no pong within %g s", self.uuid, timeout)
        self.link.abort("no pong within the ping timeout")
