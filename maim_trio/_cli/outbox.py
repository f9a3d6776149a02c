"""``outbox list|retry|drop``: what is in the file of a durable outbox, for the operator."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

import msgspec

from maim_trio._cli.failure import FAILED, CommandError, UsageError
from maim_trio._runtime.outbox_file import OutboxFile, Row
from maim_trio.errors import ConfigError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator


def outbox(arguments: argparse.Namespace) -> int:
    """Runs ``maim-trio outbox``: 0 when all was done, 1 when some of the ids are not those of dead messages."""
    if arguments.action != "list" and bool(arguments.ids) == arguments.all:
        raise UsageError(f"outbox {arguments.action} needs the ids of messages, or --all")
    try:
        file = OutboxFile(arguments.file, create=False)
    except ConfigError as error:
        raise UsageError(str(error)) from None
    try:
        if arguments.action == "list":
            return _print(_described(row, envelope=arguments.envelope) for row in _listed(file, dead=arguments.dead))
        return _change(file, arguments)
    except ConfigError as error:
        raise CommandError(str(error)) from None
    finally:
        file.close()


def _listed(file: OutboxFile, *, dead: bool | None) -> list[Row]:
    """Messages to be sent, and those that were received and wait for a handler, in the order they came in."""
    incoming = [] if dead else file.incoming()
    return sorted([*file.rows(dead=dead), *incoming], key=lambda row: row.id)


def _change(file: OutboxFile, arguments: argparse.Namespace) -> int:
    ids = None if arguments.all else sorted({*arguments.ids})
    if arguments.action == "retry":
        count = file.retry(ids, arguments.ttl)
        status = _print([{"retried": count}])
    else:
        count = file.drop(ids)
        status = _print([{"dropped": count}])
    return FAILED if ids is not None and count < len(ids) else status


def _described(row: Row, *, envelope: bool) -> dict[str, Any]:
    """A message without what it says, and without keys, unless the whole envelope is asked for."""
    found = _envelope(row)
    described: dict[str, Any] = {
        "id": row.id,
        "direction": "incoming" if row.incoming else "outgoing",
        "state": "waiting" if row.dead is None else "dead",
        "reason": row.dead,
        "connection_uuid": row.uuid,
        "platform": row.platform,
        "msg_id": row.msg_id,
        "type": found.get("type"),
        "bytes": len(row.payload),
        "accepted": _moment(row.created),
        "expires": None if row.incoming else _moment(row.expires),
    }
    return {**described, "envelope": found} if envelope else described


def _envelope(row: Row) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(row.payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {"type": "damaged"}
    return found if isinstance(found, dict) else {"type": "damaged"}


def _moment(unix: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(unix))


def _print(values: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> int:
    """One JSON line each. 1 when nobody reads them any more."""
    if sys.stdout is None:
        raise CommandError("there is no stdout to write to")
    try:
        for value in values:
            sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains at its end
        return FAILED
    return 0
