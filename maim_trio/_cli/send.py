"""`send`: text and JSON lines to a server."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import trio

from maim_trio._cli.client import RECEIVER_VARIABLE, CommandClient, client_for
from maim_trio._cli.failure import FAILED, CommandError, UsageError
from maim_trio._cli.lines import OutputClosed, stdin_lines, stdout_lines
from maim_trio._cli.logs import set_up_logging
from maim_trio._cli.outgoing import Address, CustomMessage, parse, text_message
from maim_trio._cli.relay import REPORT
from maim_trio._cli.signals import until_signal
from maim_trio.errors import InvalidMessage

if TYPE_CHECKING:
    from argparse import Namespace

    from maim_trio.message import APIMessageBase

POLL: Final = 0.01
"""Seconds between looks at the count of acks: the client tells of none by itself."""


def send(arguments: Namespace) -> int:
    """Sends TEXT or the lines of stdin; returns the exit status."""
    receiver = arguments.to or os.environ.get(RECEIVER_VARIABLE, "")
    address = Address(receiver, arguments.to_platform or arguments.platform, arguments.platform)
    if arguments.text is not None and not receiver:
        raise UsageError(f"whom is it for? Give --to KEY or set {RECEIVER_VARIABLE}")
    set_up_logging(arguments.log_level)
    sender = Sender(arguments, address)
    return trio.run(until_signal, sender.run)


class Sender:
    """One run of `send`: what came of each message is printed, and counted for the exit status."""

    def __init__(self, arguments: Namespace, address: Address) -> None:
        self._arguments = arguments
        self._address = address
        self._output = stdout_lines()
        self._client: CommandClient = client_for(arguments, self._received)
        self._accepted = 0
        self._failed = 0  # not accepted, or accepted and delivered to nobody

    async def run(self, interruptible: trio.CancelScope) -> int:
        """Connects, sends, waits for the acks; the exit status."""
        await trio.lowlevel.checkpoint()
        try:
            await self._client.converse(interruptible, self._send_all)
        except OutputClosed:
            return FAILED
        missing = self._unacknowledged()
        if missing and self._arguments.ack_timeout and not interruptible.cancelled_caught:
            raise CommandError(f"{missing} of {self._accepted} messages were not acknowledged by the server")
        return FAILED if self._failed else 0

    async def _send_all(self) -> None:
        if self._arguments.text is None:
            await self._send_stdin()
        else:
            await self._send(text_message(self._arguments.text, self._address))
        await self._wait_for_acks()

    async def _send_stdin(self) -> None:
        lines = stdin_lines()
        number = 0
        while (line := await lines.next()) is not None:
            number += 1
            if not line.strip():
                continue
            try:
                message = parse(line.decode(), self._address, plain=self._arguments.plain)
            except UnicodeDecodeError:
                await self._refused(number, "not valid UTF-8")
            except InvalidMessage as error:
                await self._refused(number, str(error))
            else:
                await self._send(message, line=number)

    async def _refused(self, line: int, error: str) -> None:
        self._failed += 1
        await self._output.write({"line": line, "accepted": False, "error": error})

    async def _send(self, message: APIMessageBase | CustomMessage, **result: Any) -> None:
        accepted, error = False, None
        try:
            if isinstance(message, CustomMessage):
                result["custom"] = message.type
                accepted = await self._client.send_custom_message(message.type, message.payload)
            else:
                result["message_id"] = message.message_info.message_id
                accepted = await self._client.send_message(message)
        except InvalidMessage as invalid:
            error = str(invalid)
        if accepted:
            self._accepted += 1
        else:
            self._failed += 1
            result["error"] = error or self._client.get_last_error() or "the connection was lost"
        await self._output.write({**result, "accepted": accepted})

    async def _wait_for_acks(self) -> None:
        """Until all are there, or none has come for ``--ack-timeout`` seconds; then ``--wait`` for reports."""
        timeout, wait = self._arguments.ack_timeout, self._arguments.wait
        while timeout and self._unacknowledged():
            with trio.move_on_after(timeout) as scope:
                await self._another_ack()
            if scope.cancelled_caught:
                wait = 0.0
                break
        await trio.sleep(wait)

    async def _another_ack(self) -> None:
        missing = self._unacknowledged()
        while True:
            await trio.sleep(POLL)
            if self._unacknowledged() != missing:
                return

    def _unacknowledged(self) -> int:
        return max(0, self._accepted - int(self._client.get_stats()["messages_acked"]))

    async def _received(self, payload: Any, metadata: dict[str, Any]) -> None:
        """Only reports of a relay matter here; other messages for this user go to its other connections as well."""
        await trio.lowlevel.checkpoint()
        if metadata["message_type"] == REPORT:
            self._failed += 1
            with suppress(OutputClosed, CommandError):  # who sends meets them as well, and ends the command
                await self._output.write({"custom": REPORT, "payload": payload})
