"""The server's public face: sends, and knows who is where."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from maim_trio._runtime.hooks import result_of
from maim_trio._runtime.letters import Confirmation, Letter
from maim_trio._transport.frames import text_frame
from maim_trio._transport.interrupts import interruptible
from maim_trio._transport.tls import TlsListener
from maim_trio._wire import close
from maim_trio._wire.codec import Meta, custom_type, encode_custom, encode_standard
from maim_trio.errors import InvalidMessage, NotConnected, NotRunning
from maim_trio.message import APIMessageBase, MessageDim
from maim_trio.server._auth import default_user
from maim_trio.server._host import Host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from maim_trio._delivery.outbox import Entry
    from maim_trio._runtime.session import Session

_NEEDS_RESTART = frozenset({"host", "port", "path", "allowed_origins"}) | {
    f"ssl_{name}" for name in ("enabled", "certfile", "keyfile", "ca_certs", "verify")
}


class WebSocketServer(Host):
    """A server that API keys connect to, and that routes messages to users and platforms.

    ::

        async with WebSocketServer(create_server_config(port=18040, on_message=on_message)) as server:
            await trio.sleep_forever()

    It listens when the body begins and has stopped when it ends; ``await server.start(nursery)`` … ``await
    server.stop()`` and ``trio.run(server.run)`` do the same. Raises ConfigError for a configuration that cannot work.
    """

    # -- sending

    async def send_message(self, message: APIMessageBase, *, target_platform: str | None = None) -> dict[str, bool]:
        """Sends to every connection of the user and platform that `message_dim` names.

        `target_platform` overrides the platform. Returns connection uuid → whether the library is responsible now: the
        message was handed to a live connection, or is kept for one that may come back. ``{}`` when the user has no
        such connection. Cancelling it sends to all or to none; with `outbox_path` the outcome is unknown then. Raises
        InvalidMessage for a message that cannot be encoded or whose `message_dim` is not filled in.
        """
        await self._send_checkpoint()
        letter, sessions = await self._addressed(message, target_platform)
        return await self._send_to(sessions, letter)

    async def send_and_confirm(self, message: APIMessageBase, *, timeout: float = 10.0) -> dict[str, bool]:
        """Like `send_message`, but True only for connections whose acknowledgement came within `timeout` seconds.

        False means not confirmed: what was not written yet is withdrawn, the rest may still arrive. Cancelling does the
        same.
        """
        await self._send_checkpoint()
        letter, sessions = await self._addressed(message, None)
        confirmations = {session: Confirmation(self.courier, session) for session in sessions}
        try:
            with trio.move_on_after(timeout):
                await self._send_confirmed(letter, confirmations)
                for confirmation in confirmations.values():
                    await confirmation.wait()
        finally:
            for confirmation in confirmations.values():
                confirmation.withdraw()
        return {session.uuid: confirmation.acknowledged for session, confirmation in confirmations.items()}

    async def send_custom_message(
        self,
        message_type: str,
        payload: Mapping[str, Any],
        target_user: str | None = None,
        target_platform: str | None = None,
        connection_uuid: str | None = None,
    ) -> dict[str, bool]:
        """Sends a custom message to one connection, to a user (on one platform), or to everyone on a platform.

        The narrowest target wins. Raises ValueError without any target, InvalidMessage for a payload that is no JSON
        object. Returns connection uuid → whether it was handed over.
        """
        await self._send_checkpoint()
        if connection_uuid is not None:
            session = self._session(connection_uuid)
            sessions = [session] if session is not None else []
            if session is not None:  # whatever else was given: another's user id may be another's key
                target_user, target_platform = session.user_id, session.platform
        elif target_user is not None:
            sessions = self._sessions_of(target_user, target_platform)
        elif target_platform is not None:
            sessions = self._everyone(target_platform)
        else:
            raise ValueError("send_custom_message needs a target: connection_uuid, target_user or target_platform")
        meta = {"target_user": target_user} if target_user is not None else {}
        if target_platform is not None:
            meta["platform"] = target_platform
        return await self._send_to(sessions, self._encode_custom(message_type, payload, meta))

    async def broadcast_message(self, message: APIMessageBase, *, platform: str | None = None) -> dict[str, bool]:
        """Sends to every connection, or to all of one platform, whatever `message_dim` says. Encoded once."""
        await self._send_checkpoint()
        _check_message(message)
        letter = self._encode_standard(message, platform or message.message_dim.platform)
        return await self._send_to(self._everyone(platform), letter)

    async def broadcast_custom_message(
        self, message_type: str, payload: Mapping[str, Any], *, platform: str | None = None
    ) -> dict[str, bool]:
        """Sends a custom message to every connection, or to all of one platform. Encoded once."""
        await self._send_checkpoint()
        meta = {} if platform is None else {"platform": platform}
        return await self._send_to(self._everyone(platform), self._encode_custom(message_type, payload, meta))

    async def request(
        self, connection_uuid: str, message_type: str, payload: Mapping[str, Any], *, timeout: float = 10.0
    ) -> dict[str, Any]:
        """Sends a custom message to one connection and returns the payload of its answer.

        Raises RequestTimeout after `timeout` seconds, RequestFailed when the other side's handler raised or there is
        none, NotConnected when there is no such connection or it ends for good, InvalidMessage for a payload that is no
        JSON object. Cancelling it drops the answer.
        """
        await self._send_checkpoint()
        session = self._session(connection_uuid)
        if session is None:
            raise NotConnected(f"there is no connection {connection_uuid}")
        question = self.requests.ask(session, custom_type(message_type))
        return await self._ask(question, partial(self._post_when_room, session), payload, timeout)

    # -- who is there

    def get_user_count(self) -> int:
        """How many users have at least one connection."""
        return self._registry.user_count()

    def get_connection_count(self) -> int:
        """How many connections there are."""
        return len(self._registry)

    def get_user_connections(self, user_id: str) -> set[str]:
        """The uuids of a user's connections: a copy."""
        return {member.uuid for member in self._registry.of_user(user_id)}

    def get_platform_connections(self, user_id: str, platform: str) -> set[str]:
        """The uuids of a user's connections on one platform: a copy."""
        return {member.uuid for member in self._registry.of_user(user_id, platform)}

    def get_connection_info(self, connection_uuid: str) -> dict[str, str] | None:
        """``{"user_id", "platform"}`` of a connection, or None."""
        member = self._registry.get(connection_uuid)
        return None if member is None else {"user_id": member.user_id, "platform": member.platform}

    def get_connections(self) -> dict[str, dict[str, Any]]:
        """All connections: uuid → user, platform, address and time of connecting (Unix seconds). No keys."""
        return {
            member.uuid: {
                "user_id": self._shown_user(member),
                "platform": member.platform,
                "client_ip": member.metadata["client_ip"],
                "connected_at": member.metadata["connected_at"],
                "resumed": member.metadata["resumed"],
            }
            for member in self._registry.all()
        }

    async def extract_user(self, api_key: str, platform: str = "") -> str:
        """The user that a message for this key and platform would go to; runs `on_auth_extract_user`.

        What the callback raises comes out; TooSlowError when it takes longer than `auth_timeout`.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        return await self._told_user(self._ask_user(api_key, platform))

    async def disconnect(self, connection_uuid: str, *, code: int = close.NORMAL, reason: str = "") -> bool:
        """Closes a connection after what is queued for it; False when there is none of this id. Bounded by
        `close_timeout`; cancelling it closes at once."""
        await trio.lowlevel.checkpoint_if_cancelled()
        member = self._registry.get(connection_uuid)
        if member is None:
            return False
        await member.aclose(code, reason)
        return True

    async def disconnect_user(self, user_id: str) -> int:
        """Closes all connections of a user with 4003 (its clients do not come back); returns how many."""
        await trio.lowlevel.checkpoint_if_cancelled()
        members = self._registry.of_user(user_id)
        async with trio.open_nursery() as nursery:
            for member in members:
                nursery.start_soon(member.aclose, close.KEY_REVOKED, "API key revoked")
        self._end_detached(user_id, "the API key was revoked")
        return len(members)

    def get_stats(self) -> dict[str, Any]:
        """Counters and gauges as a fresh dict that is JSON-serialisable. Times are in seconds."""
        return {
            **self._common_stats(),
            "current_users": self._registry.user_count(),
            "current_connections": len(self._registry),
            "active_connections": len(self._registry),
        }

    def get_coroutine_status(self) -> dict[str, Any]:
        """What runs right now; `tasks` is the tree of task names."""
        return {
            "server_running": self.is_running(),
            "active_connections": len(self._registry),
            "registered_users": self._registry.user_count(),
            **self._common_status(),
        }

    def reload_tls(self) -> None:
        """Reads the certificate files again, for new connections; those that are there stay.

        Raises ConfigError for files that do not fit (the old certificate stays in use), NotRunning without a running
        TLS server.
        """
        listeners = [listener for listener in self._listeners if isinstance(listener, TlsListener)]
        if not listeners:
            raise NotRunning("reload_tls() needs a running server with ssl_enabled")
        context = self.config.tls_context()
        for listener in listeners:
            listener.context = context
        self.log.info("the TLS certificate was read again")

    def update_config(self, **changes: Any) -> None:
        """Changes the configuration: all or, with ConfigError (a ValueError), nothing.

        Hooks, handlers, log flags and the limits of connections apply at once, other fields at the next start; for what
        needs a new socket the log says so.
        """
        waiting = self.config.update_usable(changes) & _NEEDS_RESTART
        if waiting and self.is_running():
            self.log.info("%s will apply at the next start", ", ".join(sorted(waiting)))

    # -- small things

    @interruptible
    def _ask_user(self, api_key: str, platform: str) -> Any:
        """The user that a message goes to, or what has to be awaited for it."""
        hook = self.config.on_auth_extract_user
        if hook is None:
            return self._registry.user_of_key(api_key, platform) or default_user(self.config, api_key)
        return hook({"api_key": api_key, "platform": platform, "message_type": "outgoing", "timestamp": time.time()})

    @interruptible
    async def _told_user(self, answer: Any) -> str:
        """What `_ask_user` has come to. A deadline costs more than most hooks, so there is one only where one waits."""
        if type(answer) is str:
            return answer
        with trio.fail_after(self.config.auth_timeout):
            answer = await result_of(answer)
        if not isinstance(answer, str):
            raise TypeError(f"on_auth_extract_user must return a string, not {type(answer).__name__}")
        return str.__str__(answer)

    def _no_user(self, error: Exception, api_key: str) -> None:
        """The hook that says whom a message goes to has raised."""
        self.stats.handler_errors += 1
        self.stats.failed(f"on_auth_extract_user raised {type(error).__name__}")
        what = "on_auth_extract_user raised %s, so a message goes nowhere"
        self.log.exception(what, type(error).__name__, error=error, secrets=(api_key,))

    def _session(self, connection_uuid: str) -> Session | None:
        member = self._registry.get(connection_uuid)
        return member.session if member is not None else self._sessions.detached(connection_uuid)

    def _sessions_of(self, user_id: str, platform: str | None) -> list[Session]:
        """Of a user: those that are connected, and those that may come back."""
        live = [member.session for member in self._registry.of_user(user_id, platform)]
        return live + self._sessions.detached_of(user_id, platform) if self._sessions.any_detached() else live

    def _everyone(self, platform: str | None) -> list[Session]:
        members = self._registry.all() if platform is None else self._registry.on_platform(platform)
        return [member.session for member in members] + self._sessions.all_detached(platform)

    async def _addressed(self, message: APIMessageBase, target_platform: str | None) -> tuple[Letter, list[Session]]:
        api_key, platform = _receiver(message, target_platform)
        try:
            answer = self._ask_user(api_key, platform)
            user_id: str | None = answer if type(answer) is str else await self._told_user(answer)
        except Exception as error:  # the fence: one hook
            user_id = None
            self._no_user(error, api_key)
        letter = self._encode_standard(message, platform, user_id or "")
        return letter, self._sessions_of(user_id, platform) if user_id is not None else []

    def _encode_standard(self, message: APIMessageBase, platform: str, target_user: str | None = None) -> Letter:
        msg_id = self._new_msg_id("msg")
        meta = Meta(sender_user="server", target_user=target_user, platform=platform, timestamp=time.time())
        return Letter(msg_id, encode_standard(message, msg_id=msg_id, meta=meta))

    def _encode_custom(self, message_type: str, payload: Mapping[str, Any], meta: Mapping[str, Any]) -> Letter:
        msg_id, meta = self._new_msg_id("custom"), {"sender_user": "server", **meta, "timestamp": time.time()}
        return Letter(msg_id, encode_custom(message_type, payload, msg_id=msg_id, meta=meta))

    async def _send_to(self, sessions: list[Session], letter: Letter) -> dict[str, bool]:
        """Hands an encoded message to every session's outbox: framed once, whatever their number."""
        if self._ended.is_set():
            return {}
        frame = text_frame(letter.payload, mask=False)
        entries = self.courier.post_to_all(sessions, letter.msg_id, letter.payload, frame=frame)
        if all(entries.values()):
            if self.courier.store is not None:
                return await self._stored(entries)
            if self._replies_once and self._sends == 1 and self._dispatcher is not None:
                self._dispatcher.replied()
            return dict.fromkeys(entries, True)
        post = partial(self.courier.post, msg_id=letter.msg_id, payload=letter.payload, frame=frame)
        return await self._settled(sessions, entries, len(letter.payload), post)

    async def _send_confirmed(self, letter: Letter, confirmations: Mapping[Session, Confirmation]) -> None:
        """The same with somebody who waits for each acknowledgement."""
        if self.is_running():
            post = partial(self._post_confirmed, letter, text_frame(letter.payload, mask=False), confirmations)
            entries = {session.uuid: post(session) for session in confirmations}
            await self._settled(confirmations, entries, len(letter.payload), post)

    def _post_confirmed(
        self, letter: Letter, frame: tuple[bytes, ...], confirmations: Mapping[Session, Confirmation], session: Session
    ) -> Entry | None:
        confirmation = confirmations[session]
        settled = confirmation.settle
        entry = self.courier.post(session, letter.msg_id, letter.payload, frame=frame, settled=settled)
        confirmation.posted(entry)
        return entry

    async def _settled(
        self,
        sessions: Iterable[Session],
        entries: dict[str, Entry | None],
        size: int,
        post: Callable[[Session], Entry | None],
    ) -> dict[str, bool]:
        """The same, once those that had no room for it are seen to, too."""
        full = [session for session in sessions if entries[session.uuid] is None]
        if full:
            await self._when_full(full, size, post, entries)
        return await self._stored(entries)

    async def _stored(self, entries: Mapping[str, Entry | None]) -> dict[str, bool]:
        """What has become of a message, once the disk is seen to."""
        if self.courier.store is not None:
            await self.courier.wait_stored(entries.values())
        return {uuid: entry is not None and not entry.refused for uuid, entry in entries.items()}

    async def _when_full(
        self,
        full: list[Session],
        size: int,
        post: Callable[[Session], Entry | None],
        entries: dict[str, Entry | None],
    ) -> None:
        """What `when_full` says about those that have no room."""
        if self.config.when_full == "close":
            for session in full:
                if session.connection is not None:
                    self.close_slow(session.connection)
        elif self.config.when_full == "wait":
            with trio.move_on_after(self.config.send_timeout):
                for session in full:
                    await self.courier.wait_room(session, size)
                    entries[session.uuid] = post(session)

    async def _post_when_room(self, session: Session, msg_id: str, payload: bytes) -> None:
        while (entry := self.courier.post(session, msg_id, payload)) is None:
            if session.ended or self.courier.closed:
                return  # whoever waits for the answer is told
            await self.courier.wait_room(session, len(payload))
        await self.courier.wait_stored([entry])


def _check_message(message: APIMessageBase) -> None:
    if not isinstance(message, APIMessageBase):
        raise InvalidMessage(f"only an APIMessageBase can be sent, not {type(message).__name__}")


def _receiver(message: APIMessageBase, target_platform: str | None) -> tuple[str, str]:
    if not isinstance(message, APIMessageBase):  # asked here, too: a call less
        _check_message(message)
    dim = message.message_dim
    if not isinstance(dim, MessageDim):
        raise InvalidMessage(f"`$.message_dim` must be a MessageDim, not {type(dim).__name__}")
    api_key, platform = dim.api_key, target_platform if target_platform is not None else dim.platform
    if api_key and platform and type(api_key) is type(platform) is str:
        return api_key, platform
    for name, value in (("api_key", api_key), ("platform", platform)):
        if not value or not isinstance(value, str):
            raise InvalidMessage(f"`$.message_dim.{name}` is empty or no string: it says whom the message is for")
    return str.__str__(api_key), str.__str__(platform)
