"""One live legacy connection: its reader and its keepalive, for servers and clients alike."""

from __future__ import annotations

import math
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import trio

from maim_trio._legacy.codec import decode
from maim_trio._legacy.platforms import Rivalry
from maim_trio._transport.interrupts import uninterrupted
from maim_trio._transport.link import LinkClosed
from maim_trio._wire import close
from maim_trio._wire.envelope import FrameError

if TYPE_CHECKING:
    from maim_trio._legacy.endpoint import LegacyEndpoint
    from maim_trio._runtime.dispatch import Lane
    from maim_trio._transport.link import Link

MINUTE = 60.0
_VIOLATIONS = frozenset({close.PROTOCOL_ERROR, close.INVALID_DATA, close.TOO_BIG})


class Received:
    """A received message on its way to its handlers. `platform` is that of its connection."""

    __slots__ = ("message", "name", "platform", "size")

    def __init__(self, message: dict[str, Any], size: int, platform: str) -> None:
        self.message = message
        self.platform = platform
        self.size = size
        kind = message.get("message_type_name")
        self.name = kind if isinstance(kind, str) and kind else "message"

    def waits(self) -> None:
        """This protocol has no acknowledgements: where it waits makes no difference."""

    def accepted(self) -> None:
        """Nobody waits to be told."""


@uninterrupted
class LegacyConnection:
    """A link in use. `platform` is what its other end (a server) or this end (a client) goes by."""

    __slots__ = (
        "_close_with",
        "_complaints",
        "_endpoint",
        "_invalid_at",
        "_pause",
        "_pauses",
        "lane",
        "link",
        "platform",
        "rivalry",
        "started_at",
    )

    def __init__(self, endpoint: LegacyEndpoint, link: Link, platform: str, lane: Lane[Received]) -> None:
        self.link = link
        self.platform = platform
        self.lane = lane
        self.started_at = trio.current_time()
        self.rivalry = Rivalry()
        self._endpoint = endpoint
        self._close_with = (close.NORMAL, "")
        self._complaints: tuple[str, ...] = ()
        self._invalid_at: deque[float] = deque()
        self._pause: trio.CancelScope | None = None  # reading has stopped on purpose
        self._pauses = 0  # how often

    def __str__(self) -> str:
        return f"{self.platform} ({self.link.remote or 'a stream'})"

    async def run(self, link_nursery: trio.Nursery) -> None:
        """Reads until the link ends, however it ends. Whatever a peer does ends here.

        The keepalive runs in `link_nursery`, which the caller ends afterwards, beside the link's writer.
        """
        endpoint = self._endpoint
        link_nursery.start_soon(self._keepalive, name="keepalive")
        endpoint.links.add(self.link)
        try:
            await self._read()
        except LinkClosed as ended:
            self._note_violation(ended)
        except Exception as error:  # the fence: one connection
            endpoint.log.exception("the connection of %s ended by an internal error", str(self), error=error)
            endpoint.stats.failed("internal error in a connection")
            self._close_with = (close.INTERNAL_ERROR, "internal error")
        finally:
            try:
                await self.aclose(*self._close_with)  # cancelled, it closes the stream at once
            finally:
                endpoint.link_ended(self.link)

    async def aclose(self, code: int, reason: str) -> None:
        """Closes the link after what is queued; also when reading has stopped. Bounded by `close_timeout`."""
        if self._pause is not None:
            self._pause.cancel()
        await self.link.aclose(code, reason)

    def send_nowait(self, payload: bytes) -> bool | None:
        """Queues one message. False: there is no room now. None: the link has ended, it will never be sent."""
        try:
            self.link.send_text_nowait(payload)
        except LinkClosed:
            return None
        except trio.WouldBlock:
            return False
        self._endpoint.stats.messages_sent += 1
        return True

    async def send(self, payload: bytes, timeout: float) -> bool:
        """Queues one message, and waits up to `timeout` seconds for room. False: it will not be sent.

        Cancelled, it was not queued.
        """
        with trio.move_on_after(timeout):
            while (sent := self.send_nowait(payload)) is False:
                await self.link.wait_space(len(payload))
            return bool(sent)
        self._endpoint.stats.failed("a peer does not keep up")
        self.complain("%s does not keep up: a message was not sent", str(self))
        return False

    def complain(self, text: str, *args: object) -> None:
        """One WARNING per kind and connection, DEBUG from then on: no peer fills the log."""
        if text in self._complaints:
            self._endpoint.log.debug(text, *args)
        else:
            self._complaints += (text,)
            self._endpoint.log.warning(text, *args)

    # -- receiving

    async def _read(self) -> None:
        endpoint = self._endpoint
        while True:
            batch = await self.link.receive()
            endpoint.stats.last_activity = time.time()
            for frame in batch:
                received = self._decode(frame)
                if received is not None and not self._deliver(received):
                    await self._wait_for_room(received)

    def _decode(self, frame: bytes) -> Received | None:
        endpoint = self._endpoint
        try:
            message = decode(frame)
        except FrameError as error:
            self._invalid(error)
            return None
        if endpoint.stopping:
            endpoint.dropped += 1
            return None
        endpoint.stats.messages_received += 1
        received = Received(message, len(frame), self.platform)
        if endpoint.log.messages_wanted():
            endpoint.log.debug("received %s from %s, %d bytes", received.name, str(self), len(frame))
        return received

    def _deliver(self, received: Received) -> bool:
        if not self.lane.put(received):
            return False
        self._endpoint.offer(self.lane)
        return True

    async def _wait_for_room(self, received: Received) -> None:
        """The one place where reading stops on purpose: the inbox is full."""
        self.complain("the inbox of %s is full: reading stops until handlers have caught up", str(self))
        self._pauses += 1
        with trio.CancelScope() as self._pause:
            while not self._deliver(received):
                if self._endpoint.stopping:
                    self._endpoint.dropped += 1
                    break
                await self.lane.wait_room()
        ended, self._pause = self._pause.cancelled_caught, None
        if ended:
            raise LinkClosed(close.ABNORMAL, "closed while its inbox was full", False)

    def _invalid(self, error: FrameError) -> None:
        endpoint = self._endpoint
        endpoint.stats.invalid_frames += 1
        endpoint.stats.failed(f"invalid frame: {error.code}")
        self.complain("%s sent what is no message and is dropped: %s (%s)", str(self), error.message, error.code)
        if self._too_many_invalid():
            endpoint.log.warning("%s sent too many invalid frames and is closed (1008)", str(self))
            self._close_with = (close.POLICY_VIOLATION, "too many invalid frames")
            raise LinkClosed(*self._close_with, False)

    def _too_many_invalid(self) -> bool:
        now, seen = trio.current_time(), self._invalid_at
        seen.append(now)
        while seen[0] <= now - MINUTE:
            seen.popleft()
        return len(seen) > self._endpoint.config.max_invalid_frames

    def _note_violation(self, ended: LinkClosed) -> None:
        """Counts a frame that broke the protocol or the size limit; our close frame has told the peer."""
        if ended.code in _VIOLATIONS and not ended.by_peer:
            self._endpoint.stats.invalid_frames += 1
            self._endpoint.stats.failed(f"invalid frame: closed with {ended.code}, {ended.reason}")

    # -- liveness

    async def _keepalive(self) -> None:
        config, longest = self._endpoint.config, self.link.longest_ping_interval
        interval, timeout = min(config.ping_interval or math.inf, longest), config.ping_timeout
        if interval == math.inf:
            return
        while True:
            await trio.sleep(interval)
            pauses = self._pauses if self._pause is None else -1
            try:
                await self.link.ping(timeout)
            except LinkClosed:
                if self._pause is not None:
                    self._pause.cancel()
                return
            except trio.TooSlowError:
                if self._pause is not None or self._pauses != pauses:
                    continue  # we are the one that does not read: its pong is waiting
                self._endpoint.log.connection("%s is dead: no pong within %g s", str(self), timeout)
                self.link.abort("no pong within the ping timeout")
                return
