"""A client with one connection."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import trio

from maim_trio._runtime.letters import Confirmation, Letter
from maim_trio._runtime.lifecycle import interruption_alone
from maim_trio._wire import close
from maim_trio._wire.codec import custom_type, encode_custom
from maim_trio._wire.credentials import mask
from maim_trio.client._core import ClientCore
from maim_trio.client._stream import MessageStream
from maim_trio.errors import NotConnected, NotRunning

if TYPE_CHECKING:
    from collections.abc import Mapping

    from maim_trio.message import APIMessageBase


class WebSocketClient(ClientCore):
    """A client with one connection to a server, which it keeps.

    ::

        async with WebSocketClient(create_client_config(url, api_key, on_message=on_message)) as client:
            if not await client.connect():
                raise SystemExit(client.get_last_error())
            await client.send_message(message)

    ``await client.start(nursery)`` … ``await client.stop()`` and ``trio.run(client.run)`` (which connects too) do the
    same. Raises ConfigError for a configuration that cannot work. Network trouble is never an exception: `connect` and
    `send_*` return False then, and `get_last_error` says why.
    """

    # -- connecting

    async def connect(self) -> bool:
        """Connects, or waits for the attempt that is under way. True once the server has accepted the API key.

        Tries again while the server is not there, for `connect_timeout` seconds; after that it returns False and, with
        `auto_reconnect`, goes on in the background. At once False, without further attempts, when the server refused
        (400, 401, 403, 404), and at once False, with further attempts in the background, when TLS cannot work as it is,
        as with a certificate that is not accepted. `get_last_error` says why. Cancelling it leaves the attempts to the
        background.
        """
        await trio.lowlevel.checkpoint()
        if not self._ready():
            return False
        connector, timeout = self._connector, self.config.connect_timeout
        connector.want()
        connector.hurry()
        connected = False
        with trio.move_on_after(timeout):
            connected = await connector.try_on()
        if not connected:
            if connector.last_error is None:
                connector.note(f"not connected: {connector.given_up or f'no answer within {timeout:g} s'}")
            if not self.config.auto_reconnect and connector.given_up is None:
                connector.unwant(f"{connector.last_error}; auto_reconnect is off")
        return connected

    async def disconnect(self) -> bool:
        """Closes the connection with 1000 after what is queued, and ends all attempts. False when it does not run.

        Waits at most `close_timeout` seconds for acknowledgements, and as long for the close. Cancelled, it closes at
        once. What was not acknowledged is given up.
        """
        await trio.lowlevel.checkpoint()
        if not self._ready():
            return False
        self._connector.unwant("disconnected", meant=True)
        try:
            with trio.move_on_after(self.config.close_timeout):
                await self.courier.wait_flushed(self._all_sessions)
        finally:
            try:
                await self._connector.close(close.NORMAL, "")
            finally:
                self.courier.give_up(self._session, "disconnected")
        return True

    def is_connected(self) -> bool:
        """Whether there is a connection right now."""
        return self._connector.connection is not None

    async def wait_connected(self) -> None:
        """Returns as soon as there is a connection. Raises NotConnected once the client has given up, NotRunning when
        it was not started."""
        await trio.lowlevel.checkpoint()
        if not self.is_running():
            raise NotRunning("the client is not running: start() it first")
        if not await self._connector.wait_outcome():
            raise NotConnected(f"the client has given up: {self._connector.given_up}")

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        """Starts, connects and runs until `stop()` is called or it is cancelled.

        ``await nursery.start(client.run)`` returns the client once it runs; `wait_connected` tells the rest. Raises
        NotConnected when the client has given up on its server for good; `disconnect()` does not end it.
        """
        with interruption_alone():
            async with self:
                task_status.started(self)
                await self.connect()
                await self._connector.wait_stopped()
                await self._ended.wait()

    # -- sending

    async def send_message(self, message: APIMessageBase) -> bool:
        """Sends a message to whom its `message_dim` names. True when this library has taken responsibility: it was
        handed to the live connection, or is kept while a reconnect is under way.

        False: the client is not started, disconnected or has given up, or its outbox stayed full (for `send_timeout`
        seconds, unless `when_full` says otherwise). A cancelled call has not sent it; with `outbox_path` the outcome is
        unknown then. Raises InvalidMessage for a message that cannot be encoded or whose `message_dim` is not filled
        in.
        """
        await self._send_checkpoint()
        return await self._send(self._encode(message))

    async def send_and_confirm(self, message: APIMessageBase, *, timeout: float = 10.0) -> bool:
        """Sends a message; True when the server's acknowledgement came within `timeout` seconds.

        False means not confirmed: what was not written yet is withdrawn, the rest may still arrive. Cancelling does the
        same. Raises NotConnected when the client has given up, InvalidMessage like `send_message`.
        """
        await self._send_checkpoint()
        letter = self._encode(message)
        self._raise_given_up()
        confirmation = Confirmation(self.courier, self._session)
        try:
            with trio.move_on_after(timeout):
                if await self._send(letter, confirmation):
                    await confirmation.wait()
        finally:
            confirmation.withdraw()
        if not confirmation.acknowledged:
            self._raise_given_up()
        return confirmation.acknowledged

    async def send_custom_message(self, message_type: str, payload: Mapping[str, Any]) -> bool:
        """Sends a custom message; a type without the prefix ``custom_`` gets it. Otherwise like `send_message`."""
        await self._send_checkpoint()
        msg_id = self._new_msg_id("custom")
        return await self._send(
            Letter(msg_id, encode_custom(message_type, payload, msg_id=msg_id, meta=self._own_meta()))
        )

    async def request(self, message_type: str, payload: Mapping[str, Any], *, timeout: float = 10.0) -> dict[str, Any]:
        """Sends a custom message to the server and returns the payload of its answer; waits for a connection first.

        Raises RequestTimeout after `timeout` seconds, RequestFailed when the other side's handler raised or there is
        none, NotConnected when the client has given up or is not running, InvalidMessage for a payload that is no JSON
        object. Survives a reconnect. Cancelling it drops the answer.
        """
        await self._send_checkpoint()
        kind = custom_type(message_type)
        if not self.is_connected() and (not self._ready() or self._connector.idle):
            raise NotConnected(self._connector.given_up or "the client is not connected: connect() first")
        question = self.requests.ask(self._session, kind)
        return await self._ask(question, self._post_when_room, payload, timeout)

    # -- receiving

    def messages(self) -> MessageStream:
        """Received messages as an async iterator of ``(message, metadata)``, instead of `on_message`.

        Subscribes when called, so call it before `connect()`. Ends on `stop()`, raises NotConnected once the client has
        given up. RuntimeError when `on_message` is set or another iterator is in use.
        """
        if self.config.on_message is not None:
            raise RuntimeError("on_message is set: messages() would compete with it")
        if self._stream is not None and self._stream() is not None:
            raise RuntimeError("another messages() iterator is in use: close it with aclose() first")
        stream = MessageStream(self._stream_lane, self._open_delivery, self._stream_end, self._unsubscribe)
        self._stream = weakref.ref(stream, self._stream_dropped)
        return stream

    # -- what it knows

    def get_cached_connection_info(self) -> dict[str, str]:
        """``{url, api_key, platform, connection_uuid}`` as configured; the key in clear, as documented."""
        config = self.config
        return {
            "url": config.url,
            "api_key": config.api_key,
            "platform": config.platform,
            "connection_uuid": self._uuid,
        }

    def get_connection_uuid(self) -> str | None:
        """The id of this client's connection, the same across reconnects."""
        return self._uuid

    def get_last_error(self) -> str | None:
        """Why it is not connected, in a sentence; None while it is, or before anything went wrong.

        Why an earlier connection has ended is told to `on_disconnect`, and stays in ``get_stats()["last_error"]``.
        """
        return self._connector.last_error

    def get_stats(self) -> dict[str, Any]:
        """Counters and gauges as a fresh dict that is JSON-serialisable; keys are masked, times are in seconds."""
        connected = self.is_connected()
        return {
            **self._common_stats(),
            "current_connections": int(connected),
            "active_connections": int(connected),
            "connected": connected,
            "connection_uuid": self._uuid,
            "cached_connection": {
                **self.get_cached_connection_info(),
                "url": self.shown_url,
                "api_key": mask(self.config.api_key),
            },
        }

    def get_coroutine_status(self) -> dict[str, Any]:
        """What runs right now; `tasks` is the tree of task names."""
        return {"client_running": self.is_running(), "connected": self.is_connected(), **self._common_status()}

    def update_config(self, **changes: Any) -> None:
        """Changes the configuration: all or, with ConfigError (a ValueError), nothing.

        `url`, `api_key`, `platform` and `headers` apply at the next connect.
        """
        self.config.update_usable(changes)

    def wants_connection(self) -> bool:
        """Whether it is connected or tries to be."""
        return not self._connector.idle

    @property
    def last_error_at(self) -> float:
        """When the last error was noted, in seconds of trio's clock."""
        return self._connector.last_error_at
