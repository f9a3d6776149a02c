"""The server without its methods for users: it listens, admits, serves and ends."""

from __future__ import annotations

import time
import uuid
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from maim_trio._runtime.connection import Connection
from maim_trio._runtime.durable_inbox import place
from maim_trio._runtime.endpoint import Endpoint
from maim_trio._runtime.log import without
from maim_trio._runtime.misuse import takes
from maim_trio._runtime.received_file import Left
from maim_trio._runtime.session import Session
from maim_trio._transport.flusher import Flusher
from maim_trio._transport.handshake import accept_link
from maim_trio._transport.limits import Limits
from maim_trio._transport.pipe import peer_at, peer_of
from maim_trio._transport.poller import Poller
from maim_trio._transport.tls import TlsListener
from maim_trio._wire import close
from maim_trio._wire.credentials import mask
from maim_trio.errors import ConfigError
from maim_trio.server._admission import Admission
from maim_trio.server._auth import EVERYBODY
from maim_trio.server._config import ServerConfig
from maim_trio.server._listen import open_listeners, serve
from maim_trio.server._registry import Registry
from maim_trio.server._sessions import Sessions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from maim_trio._runtime.outbox_file import OutboxFile, Row
    from maim_trio._transport.limits import Closed
    from maim_trio._transport.link import Link

EXTRA_QUEUED = 16 * 1024 * 1024
"""Bytes for acks and answers on top of `message_cache_max_bytes` in the queue of one link."""

MAX_HEAD = 16 * 1024
"""Bytes of a request head: a 4096-character key, percent-encoded, and a browser's cookies fit."""


REPLACED = "replaced by a newer connection"
STOPPING = "server stopping"


class Host(Endpoint):
    """Lets clients in and serves each in tasks of its own."""

    config: ServerConfig

    @takes(ServerConfig, "WebSocketServer(create_server_config(port=18040))")
    def __init__(self, config: ServerConfig | None = None) -> None:
        super().__init__(config if config is not None else ServerConfig(), "maim_trio.server")
        self._raise_problem()
        self.path, self.allowed_origins = self.config.path, self.config.allowed_origins
        self._registry: Registry[Connection] = Registry()
        self._sessions = Sessions(self._make_session, self.config.max_connections)
        self._opening: dict[Admission, trio.CancelScope] = {}
        self._listeners: Sequence[trio.SocketListener | TlsListener] = []
        self._links: trio.Nursery | None = None
        self._connection_tasks = 0
        self._connections_ended = trio.Event()
        self._closing = False  # whoever gets through its handshake now is closed at once

    @property
    def port(self) -> int:
        """The port it listens on, also where the configuration says 0; the configured one while it does not run."""
        if self._listeners:
            port: int = self._listeners[0].socket.getsockname()[1]
            return port
        return self.config.port

    # -- for handshakes

    def is_full(self) -> bool:
        return len(self._registry) + self._sessions.pending >= self.config.max_connections

    def is_full_for(self, session: Session) -> bool:
        """Whether the user has as many connections as allowed, those not counted that this session would replace."""
        limit = self.config.max_connections_per_user
        if limit is None:
            return False
        connected = {member.uuid for member in self._registry.of_user(session.user_id)}
        return len((connected | self._sessions.promised_to(session.user_id)) - {session.uuid}) >= limit

    def claim_session(self, user_id: str, connection_uuid: str | None, platform: str) -> tuple[Session, bool]:
        session, resumed, warning = self._sessions.claim(user_id, connection_uuid, platform, trio.current_time())
        if warning is not None:
            self.log.warning("%s (connection id %s)", warning, connection_uuid)
        return session, resumed

    def give_up_session(self, session: Session) -> None:
        self._sessions.give_up(session)

    # -- life cycle

    def _raise_problem(self) -> None:
        problem = self.config.problem()
        if problem is not None:
            raise ConfigError(problem)

    def _prepare(self) -> None:
        super()._prepare()
        self._raise_problem()
        self._closing, self._sessions = False, Sessions(self._make_session, self.config.max_connections)
        config = self.config
        self.path, self.allowed_origins = config.path, config.allowed_origins
        self.ping_timeout, self.max_invalid_frames = config.ping_timeout, config.max_invalid_frames

    async def _main(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        try:
            await super()._main(task_status=task_status)
        finally:
            for session in self._sessions.all():
                self._sessions.end(session)

    def _handlers_opened(self, nursery: trio.Nursery) -> None:
        self._flusher, self._poller = Flusher(), Poller()
        super()._handlers_opened(nursery)

    async def _admit(self, links: trio.Nursery, up: Callable[[], None]) -> None:
        assert self._flusher is not None
        assert self._poller is not None
        self._links = links
        links.start_soon(self._flusher.run, name="flusher")
        links.start_soon(self._poller.run, name="poller")
        await self._restore(await self._open_store(links))
        self._listeners = await self.open_listeners()
        try:
            self._say_who_may_come()
            self.log.info("listening on %s, port %d, path %s", self.config.host, self.port, self.path)
            up()
            await serve(self._listeners, self._connection, links, self.log.error)
        finally:
            self._listeners = []

    def _say_who_may_come(self) -> None:
        config = self.config
        if config.on_auth is None:
            risk = "" if config.is_loopback() else f": whoever reaches {config.host} can read and send messages"
            self.log.warning("no on_auth is set, so everybody is let in as user %r%s", EVERYBODY, risk)

    async def open_listeners(self) -> Sequence[trio.SocketListener | TlsListener]:
        """What connections are accepted from."""
        listeners = await open_listeners(self.config.host, self.config.port)
        if not self.config.ssl_enabled:
            return listeners
        context = self.config.tls_context()
        return [TlsListener(listener, context) for listener in listeners]

    def _stop_begun(self) -> None:
        for scope in self._opening.values():
            scope.cancel()

    async def _close_links(self) -> None:
        self._closing = True
        async with trio.open_nursery() as nursery:
            for member in self._registry.all():
                nursery.start_soon(member.aclose, close.GOING_AWAY, STOPPING)
        while self._connection_tasks:
            await self._connections_ended.wait()
        await self._finish_delivery("the server has stopped")
        self.log.info("stopped")

    # -- one connection

    async def _connection(self, stream: trio.abc.Stream, address: Any) -> None:
        """The task of one connection, from the accepted stream to its end. Whatever happens ends here."""
        self._connection_tasks += 1
        try:
            if not self.stopping:  # accepted in the very moment of the stop, which must not wait for its request
                connection = await self._handshake(stream, address)
                if connection is not None:
                    await self._serve_connection(connection)
        except Exception as error:  # the fence: one connection
            self.stats.failed("internal error in a connection")
            self.log.exception("a connection ended by an internal error", error=error)
        finally:
            self._connection_task_ended()
            if isinstance(stream, trio.SocketStream):
                stream.socket.close()  # nearly always it is by now; others are closed by whoever accepted them

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """For another task that a stop waits for."""
        self._connection_tasks += 1
        try:
            yield
        finally:
            self._connection_task_ended()

    def _connection_task_ended(self) -> None:
        self._connection_tasks -= 1
        if not self._connection_tasks:
            self._connections_ended.set()
            self._connections_ended = trio.Event()

    async def _handshake(self, stream: trio.abc.Stream, address: Any) -> Connection | None:
        admission = Admission(self, stream)
        link: Link | None = None
        try:
            link = await accept_link(
                stream,
                admission.decide,
                self._limits(),
                flusher=self._flusher,
                report=self._handshake_failed,
                remote=peer_of(stream) if address is None else peer_at(address),
                waiting=partial(self._waiting_for, admission),
            )
        finally:
            if admission.session is not None and link is None:
                self._sessions.give_up(admission.session)
        if link is None or admission.session is None:
            return None
        platform = admission.credentials.platform
        return Connection(self, link, admission.session, platform=platform, metadata=admission.metadata)

    @contextmanager
    def _waiting_for(self, admission: Admission) -> Iterator[None]:
        """While its request has not come: a stop does not wait for that."""
        with trio.CancelScope() as self._opening[admission]:
            try:
                yield
            finally:
                del self._opening[admission]

    async def _serve_connection(self, connection: Connection) -> None:
        session, link = connection.session, connection.link
        try:
            await self._greet(connection, self._register(connection))
            if self._closing:
                await connection.aclose(close.GOING_AWAY, STOPPING)
            await connection.run()
        finally:
            removed = self._registry.remove(connection)
            if session.connection is connection:
                self._leave(session, link.closed)
        if removed:
            ended = link.closed
            await self._said_goodbye(connection, ended.code if ended else 1006, ended.reason if ended else "")

    def _register(self, connection: Connection) -> Connection | None:
        """From here on it is the connection of its session. Returns the one it replaces."""
        assert self._links is not None
        assert self._poller is not None
        session, link = connection.session, connection.link
        link.use_poller(self._poller)
        connection.start(self._links)
        replaced = self._registry.add(connection)
        if session.connection is not None:
            self.courier.link_lost(session, too_big=False)
        self._sessions.attach(session, connection)
        connection.ready = True
        self.courier.pump(session)
        self.stats.successful_connects += 1
        self.stats.total_connections += 1
        self.log.connection(
            "connected %s: user %s on %s from %s",
            connection.uuid, self._shown_user(connection), connection.platform, link.remote,
        )  # fmt: skip
        return replaced

    def _leave(self, session: Session, closed: Closed | None) -> None:
        """The session has lost its connection. It waits for its client, unless that has said goodbye."""
        code, by_peer = (closed.code, closed.by_peer) if closed is not None else (close.ABNORMAL, False)
        self.courier.link_lost(session, too_big=by_peer and code == close.TOO_BIG)
        meant = code == close.KEY_REVOKED or (code == close.NORMAL and by_peer)
        for ended in self._sessions.detach(session, trio.current_time(), keep=session.resumable and not meant):
            self._end_session(ended, "the client has said goodbye" if ended is session else "too many clients are away")

    def _end_session(self, session: Session, reason: str) -> None:
        session.ended = True
        if self.durable_inbox is not None:
            self.durable_inbox.ended(session)
        self.courier.give_up(session, reason)
        self.requests.lost(session, f"connection {session.uuid} has ended")

    def _end_detached(self, user_id: str, reason: str) -> None:
        for session in self._sessions.detached_of(user_id):
            self._sessions.end(session)
            self._end_session(session, reason)

    def _expire(self, now: float) -> None:
        super()._expire(now)
        for session in self._sessions.expired(now, self.config.message_cache_ttl):
            self._end_session(session, "the client did not come back within message_cache_ttl")

    def _all_sessions(self) -> list[Session]:
        return self._sessions.all()

    async def _restore(self, file: OutboxFile | None) -> None:
        """Takes over what an earlier process has accepted and received: its identities wait for their clients."""
        if file is None:
            return
        received = {(left.uuid, left.user_id): left for left in await self._left_in(file)}
        to_send: dict[tuple[str, str], list[Row]] = {}
        for row in await trio.to_thread.run_sync(partial(file.rows, dead=False)):
            to_send.setdefault((row.uuid, row.user_id), []).append(row)
        remembered = {*[*received][-self.config.max_connections :]}  # of the others only what waits for a handler
        for identity, left in received.items():
            if identity in to_send or left.waiting or (left.resumable and identity in remembered):
                self._restore_identity(left, to_send.pop(identity, []))
        for (connection_uuid, user_id), rows in to_send.items():
            self._restore_identity(Left(connection_uuid, user_id, rows[-1].platform), rows)

    def _restore_identity(self, left: Left, to_send: list[Row]) -> None:
        assert self.durable_inbox is not None
        session = self._make_session(left.user_id, left.uuid, left.platform)
        self._restore_messages(session, to_send)
        place(session.lane, self.durable_inbox.restore(session, left))
        if session.outbox or left.resumable:
            self._sessions.wait_for(session, trio.current_time())
        else:
            self._sessions.keep_until_idle(session)
        self.offer(session.lane)

    def close_slow(self, connection: Connection) -> None:
        """Closes the connection of a peer that does not keep up."""
        if self._links is not None and connection.link.closed is None:
            self.stats.slow_consumers_closed += 1
            self.log.warning("connection %s is too slow and is closed (1013)", connection.uuid)
            self._links.start_soon(connection.aclose, close.TRY_AGAIN_LATER, "slow consumer, try again later")

    async def _close_replaced(self, session: Session, replaced: Connection) -> None:
        with self._counted():
            await replaced.aclose(close.REPLACED, REPLACED)
            if not replaced.link.peer_closed:
                self._sessions.replaced_dead(session)

    async def _see_off(self, replaced: Connection) -> None:
        """Calls `on_disconnect` of a replaced connection: before `on_connect` of the new one, unless it takes long."""
        assert self._links is not None
        done = trio.Event()
        self._links.start_soon(self._after_replacement, replaced, done, name="on_disconnect")
        with trio.move_on_after(self.config.auth_timeout):
            await done.wait()

    async def _after_replacement(self, replaced: Connection, done: trio.Event) -> None:
        with self._counted():
            await self._said_goodbye(replaced, close.REPLACED, REPLACED)
            done.set()

    async def _greet(self, connection: Connection, replaced: Connection | None) -> None:
        if replaced is not None:
            assert self._links is not None
            self._links.start_soon(self._close_replaced, connection.session, replaced, name="replaced")
            await self._see_off(replaced)
        hook = self.config.on_connect
        if hook is not None:
            deadline = trio.current_time() + self.config.auth_timeout
            metadata, secrets = dict(connection.metadata), (connection.api_key,)
            await self.run_hook("on_connect", hook, connection.uuid, metadata, deadline=deadline, secrets=secrets)

    async def _said_goodbye(self, connection: Connection, code: int, reason: str) -> None:
        self.log.connection("disconnected %s: %d %s", connection.uuid, code, without(reason, (connection.api_key,)))
        hook = self.config.on_disconnect
        if hook is not None:
            metadata = {**connection.metadata, "close_code": code, "reason": reason}
            deadline, secrets = self.hook_deadline(), (connection.api_key,)
            await self.run_hook("on_disconnect", hook, connection.uuid, metadata, deadline=deadline, secrets=secrets)

    def _handshake_failed(self, reason: str) -> None:
        self.stats.failed_connects += 1
        self.log.connection("a handshake failed: %s", reason)

    # -- small things

    def _limits(self) -> Limits:
        config = self.config
        return Limits(
            max_message=config.max_message_size,
            max_queued=config.message_cache_max_bytes + EXTRA_QUEUED,
            max_head=MAX_HEAD,
            handshake_timeout=config.handshake_timeout,
            send_timeout=config.send_timeout,
            close_timeout=config.close_timeout,
        )

    def _make_session(self, user_id: str, connection_uuid: str | None, platform: str) -> Session:
        own = connection_uuid is not None
        found, durable = connection_uuid or str(uuid.uuid4()), self.durable_inbox is not None
        return Session(user_id, found, platform, self.config, resumable=own, durable=durable)

    def _sender_meta(self, session: Session) -> dict[str, Any]:
        return {"sender_user": "server", "target_user": session.user_id, "timestamp": time.time()}

    def _shown_user(self, connection: Connection) -> str:
        """A user id that equals the key is shortened like one."""
        return mask(connection.user_id) if connection.user_id == connection.api_key else connection.user_id
