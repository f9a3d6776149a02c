"""An identity: who the peer is, and everything that outlives its connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from maim_trio._delivery.dedupe import WINDOW, DedupeWindow
from maim_trio._delivery.outbox import Outbox
from maim_trio._runtime.dispatch import Lane
from maim_trio._runtime.durable_inbox import HeldLane

if TYPE_CHECKING:
    from typing import Any

    from maim_trio._delivery.outbox import Settled
    from maim_trio._runtime.config import CommonConfig
    from maim_trio._runtime.connection import Connection
    from maim_trio._runtime.delivery import Delivery

INBOX_BYTES = 64 * 1024 * 1024
"""What one identity may hold in its inbox (wire protocol, section 6, Flow)."""


class Session:
    """A connection comes and goes, the session stays as long as it may.

    `resumable`: the client named its connection id, so that it can come back to it. Only such a session has an outbox;
    to the others a message that was written is done. `durable`: what is received for it goes through the durable inbox.
    """

    __slots__ = (
        "claims",
        "confirming",
        "connection",
        "dedupe",
        "detached_at",
        "ended",
        "introduced",
        "lane",
        "origin",
        "outbox",
        "platform",
        "replaced_at",
        "resumable",
        "room",
        "user_id",
        "uuid",
        "waiting_keys",
    )

    def __init__(
        self, user_id: str, uuid: str, platform: str, config: CommonConfig, *, resumable: bool, durable: bool = False
    ) -> None:
        self.user_id = user_id
        self.uuid = uuid
        self.platform = platform
        self.resumable = resumable
        self.lane: Lane[Delivery] = (HeldLane if durable else Lane)(config.inbox_size, INBOX_BYTES)
        self.outbox: Outbox | None = None
        if resumable and config.enable_message_cache:
            self.outbox = Outbox(config.message_cache_max_size, config.message_cache_max_bytes, config.inbox_size)
        self.dedupe = DedupeWindow(max(WINDOW, config.message_cache_ttl))  # so long a message may come again
        self.waiting_keys: set[int] | None = None  # of messages in the waiting room: received, not taken yet
        self.confirming: dict[str, Settled] = {}  # messages without an outbox whose ack somebody waits for
        self.connection: Connection | None = None
        self.detached_at: float | None = None
        self.ended = False  # nobody will come back to it: nothing is sent any more
        self.origin = 0  # its last connection in the durable inbox
        self.introduced: dict[str, Any] | None = None  # the metadata of that
        self.claims = 0  # handshakes that were promised this session and are not through yet
        self.replaced_at: list[float] = []
        self.room: trio.Event | None = None
        """Somebody is in `wait_room`."""

    def waits(self, key: int) -> None:
        """A message is in the waiting room."""
        if self.waiting_keys is None:
            self.waiting_keys = set()
        self.waiting_keys.add(key)

    def take(self, msg_id: str, key: int) -> None:
        """A message is in the inbox: from here on it counts as seen, and it is acked on the connection the identity has
        now. Without one the peer will send again, and be acked then."""
        if self.waiting_keys:
            self.waiting_keys.discard(key)
        connection = self.connection
        self.dedupe.add(key, trio.current_time() if connection is None else connection.read_at)
        if connection is not None:
            connection.acknowledge(msg_id)

    def owes_acks(self, *, unproven: bool) -> bool:
        """Whether it makes sense to wait for acks: it is connected, and something is on its way. `unproven`: also when
        it has not acknowledged anything yet."""
        outbox, connection = self.outbox, self.connection
        if not outbox or connection is None or connection.link.closed is not None:
            return False
        return bool(outbox.acks) or (unproven and not outbox.non_acking)

    async def wait_room(self) -> None:
        """Until something has left the outbox, or there is another connection or none any more."""
        if self.room is None:
            self.room = trio.Event()
        await self.room.wait()

    def room_made(self) -> None:
        if self.room is not None:
            self.room.set()
            self.room = None
