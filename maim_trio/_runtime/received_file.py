"""Received messages in the file of a durable outbox: those that wait for a handler, and which ones were seen lately.

A message is one row. Once its handler has ended the frame is taken out of it, and what is left tells a retransmission:
so there is one insertion per message, and the two can never be at odds. Everything here blocks.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from maim_trio._delivery.dedupe import crc32, key_of

if TYPE_CHECKING:
    import sqlite3

TABLES: Final = (
    "CREATE TABLE connections (id INTEGER PRIMARY KEY, uuid TEXT NOT NULL, user_id TEXT NOT NULL, "
    "platform TEXT NOT NULL, resumable INTEGER NOT NULL, metadata BLOB NOT NULL)",
    "CREATE TABLE received (id INTEGER PRIMARY KEY, connection INTEGER NOT NULL, msg_id TEXT, size INTEGER NOT NULL, "
    "crc INTEGER NOT NULL, at REAL NOT NULL, frame BLOB)",
)


class Origin(msgspec.Struct):
    """A connection on which messages came, and whose it was. `resumable`: its identity may come back to it."""

    id: int
    uuid: str
    user_id: str
    platform: str
    resumable: bool
    metadata: dict[str, Any]


class Received(msgspec.Struct, gc=False):
    """A message that came on the connection with the id `connection`, at a Unix time."""

    id: int
    connection: int
    msg_id: str | None
    at: float
    frame: bytes


class ReceivedBatch(msgspec.Struct):
    """What one transaction writes about received messages."""

    origins: list[Origin] = []
    received: list[Received] = []
    handled: list[tuple[int]] = []
    """Ids of messages whose handlers have ended."""
    ended: list[tuple[str, str]] = []
    """uuid and user_id of identities that nobody will come back to."""
    forget_below: int = 0
    """Handled messages with smaller ids are not remembered any more."""
    live: set[int] | None = None
    """When set: connections that are neither among these nor referred to are forgotten."""


class Left(msgspec.Struct):
    """What an earlier process has left of one identity."""

    uuid: str
    user_id: str
    platform: str
    resumable: bool = False
    origin: int = 0
    """The id of its last connection."""
    newest: int = 0
    """The id of the last message that was received."""
    waiting: list[tuple[int, bytes, dict[str, Any]]] = []
    """Id, frame, and the metadata of the connection it came on, of what waits for a handler, oldest first."""
    keys: list[int] = []
    """Of all messages that were seen lately, those that wait included, oldest first."""


def make_room(db: sqlite3.Connection, batch: ReceivedBatch) -> None:
    """What has to be written first: it may make the room that the rest needs."""
    db.executemany("UPDATE received SET frame = NULL WHERE id = ?", batch.handled)
    if batch.forget_below:
        db.execute("DELETE FROM received WHERE id < ? AND frame IS NULL", (batch.forget_below,))


def write(db: sqlite3.Connection, batch: ReceivedBatch) -> None:
    """Everything else."""
    db.executemany(
        "INSERT INTO connections VALUES (?, ?, ?, ?, ?, ?)",
        [(o.id, o.uuid, o.user_id, o.platform, o.resumable, msgspec.json.encode(o.metadata)) for o in batch.origins],
    )
    db.executemany(
        "INSERT INTO received VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(r.id, r.connection, r.msg_id, len(r.frame), crc32(r.frame), r.at, r.frame) for r in batch.received],
    )
    db.executemany("UPDATE connections SET resumable = 0 WHERE uuid = ? AND user_id = ?", batch.ended)
    if batch.live is not None:
        known = {number for (number,) in db.execute("SELECT id FROM connections")}
        used = {number for (number,) in db.execute("SELECT DISTINCT connection FROM received")}
        db.executemany("DELETE FROM connections WHERE id = ?", [(number,) for number in known - used - batch.live])


def load(db: sqlite3.Connection, window: float) -> list[Left]:
    """What is left of all identities, those last that were heard of last. What was handled more than `window` seconds
    ago is forgotten."""
    db.execute("DELETE FROM received WHERE frame IS NULL AND at < ?", (time.time() - window,))
    db.execute("DELETE FROM connections WHERE id NOT IN (SELECT connection FROM received)")
    origins, identities = _origins(db)
    rows = db.execute("SELECT id, connection, msg_id, size, crc, frame FROM received ORDER BY id")
    for number, connection, msg_id, size, crc, frame in rows:
        origin = origins[connection]
        left = identities[origin.user_id, origin.uuid]
        left.newest = number
        if frame is not None:
            left.waiting.append((number, frame, origin.metadata))
        if msg_id is not None:
            left.keys.append(key_of(msg_id, size, crc))
    return sorted(identities.values(), key=lambda left: left.newest)


def _origins(db: sqlite3.Connection) -> tuple[dict[int, Origin], dict[tuple[str, str], Left]]:
    """Connections by id, and their identities, which are what the last connection says."""
    origins: dict[int, Origin] = {}
    identities: dict[tuple[str, str], Left] = {}
    query = "SELECT id, uuid, user_id, platform, resumable, metadata FROM connections ORDER BY id"
    for number, uuid, user_id, platform, resumable, metadata in db.execute(query):
        origins[number] = Origin(number, uuid, user_id, platform, bool(resumable), msgspec.json.decode(metadata))
        identities[user_id, uuid] = Left(uuid, user_id, platform, bool(resumable), number)
    return origins, identities
