"""`listen`: what arrives, as JSON lines."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import trio

from maim_trio._cli.client import CommandClient, client_for
from maim_trio._cli.failure import CommandError
from maim_trio._cli.lines import OutputClosed, stdout_lines
from maim_trio._cli.logs import set_up_logging, tell
from maim_trio._cli.signals import until_signal
from maim_trio._wire.credentials import mask
from maim_trio.errors import NotConnected
from maim_trio.message import APIMessageBase

if TYPE_CHECKING:
    from argparse import Namespace


def listen(arguments: Namespace) -> int:
    """Prints what arrives until ``--count`` or ``--timeout``; returns the exit status."""
    set_up_logging(arguments.log_level)
    listener = Listener(arguments)
    return trio.run(until_signal, listener.run)


def line_of(content: Any, metadata: dict[str, Any]) -> dict[str, Any]:
    """What is printed of a message: all but `message_dim`, which would be this client's own API key and platform."""
    sender = metadata["sender_user"]
    rest = {
        "from": mask(sender) if sender == metadata["api_key"] else sender,
        "msg_id": metadata["msg_id"],
        "timestamp": metadata["timestamp"],
    }
    if isinstance(content, APIMessageBase):
        message = content.to_dict()
        del message["message_dim"]
        return {"message": message, **rest}
    return {"custom": metadata["message_type"], "payload": content, **rest}


class Listener:
    """One run of `listen`."""

    def __init__(self, arguments: Namespace) -> None:
        self._arguments = arguments
        self._output = stdout_lines()
        self._left: float = math.inf if arguments.count is None else arguments.count
        self._done = trio.Event()
        self._failure: CommandError | None = None
        self._client: CommandClient = client_for(
            arguments, self._received, on_connect=self._connected, on_disconnect=self._disconnected
        )
        self._connections = 0
        self._lost = trio.Event()

    async def run(self, interruptible: trio.CancelScope) -> int:
        """Connects and prints until it is done; the exit status."""
        await self._client.converse(interruptible, self._until_done)
        if self._failure is not None:
            raise self._failure
        if self._done.is_set() or self._arguments.count is None or interruptible.cancelled_caught:
            return 0
        raise CommandError(f"{self._arguments.count - self._left:g} of {self._arguments.count} messages came in time")

    async def _until_done(self) -> None:
        timeout = self._arguments.timeout
        with trio.move_on_after(math.inf if timeout is None else timeout):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch_connection)
                await self._done.wait()
                nursery.cancel_scope.cancel()

    async def _watch_connection(self) -> None:
        """Ends everything once the client has given up on its server."""
        while True:
            await self._lost.wait()
            self._lost = trio.Event()
            try:
                await self._client.wait_connected()
            except NotConnected:
                error = self._client.get_last_error()
                self._end(CommandError(f"the connection to {self._client.shown_url} has ended: {error}"))

    async def _received(self, content: Any, metadata: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        if self._done.is_set():
            return
        try:
            await self._output.write(line_of(content, metadata))
        except OutputClosed:
            self._end(None)
        except CommandError as error:
            self._end(error)
        else:
            self._left -= 1
            if not self._left:
                self._done.set()

    def _end(self, failure: CommandError | None) -> None:
        self._failure = failure
        self._done.set()

    def _connected(self, uuid: str, _config: Any) -> None:
        self._connections += 1
        again = " again" if self._connections > 1 else ""
        self._say(f"connected{again} to {self._client.shown_url} on {self._arguments.platform} as {uuid}")

    def _disconnected(self, _uuid: str, error: str | None) -> None:
        self._lost.set()
        if error is not None:
            self._say(f"connection lost: {error}")

    def _say(self, text: str) -> None:
        if not self._arguments.quiet:
            tell(f"maim-trio listen: {text}")
