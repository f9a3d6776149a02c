"""The file of a durable outbox and inbox: SQLite in WAL mode, one program at a time. Everything here blocks.

`synchronous = NORMAL`: a message that was stored survives the death of the process at any moment; a power loss may take
the last commits with it, and never damages the file.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from maim_trio._runtime import received_file
from maim_trio._runtime.received_file import ReceivedBatch
from maim_trio.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maim_trio._runtime.received_file import Left

SCHEMA_VERSION: Final = 2
"""1: messages to be sent only."""
DEAD_KEPT: Final = 30 * 86_400.0
"""Seconds that a message that was given up is kept for the operator."""

_MAGIC: Final = b"SQLite format 3\0"
"""What a database file begins with (SQLite, "Database File Format", section 1.3)."""

_SCHEMA: Final = (
    "CREATE TABLE messages (id INTEGER PRIMARY KEY, uuid TEXT NOT NULL, user_id TEXT NOT NULL, platform TEXT NOT NULL, "
    "msg_id TEXT NOT NULL, payload BLOB NOT NULL, created REAL NOT NULL, expires REAL NOT NULL, dead TEXT)",
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
)
_TABLES_OF_VERSION: Final = (0, len(_SCHEMA), len(_SCHEMA) + len(received_file.TABLES))
"""How many of the tables a file of each version has already."""
_MESSAGE_FIELDS: Final = "id, uuid, user_id, platform, msg_id, payload, created, expires, dead"
_LAST_ID: Final = (
    "SELECT MAX((SELECT COALESCE(MAX(id), 0) FROM messages), (SELECT COALESCE(MAX(id), 0) FROM received), "
    "(SELECT COALESCE(MAX(id), 0) FROM connections))"
)


class Row(msgspec.Struct, gc=False):
    """A message in the file; times are Unix seconds. `dead` says why it was given up, None: it is to be delivered.

    uuid and user_id are the identity it is for, so that nobody else ever gets it. `incoming`: it was received from that
    identity, waits for a handler and never expires.
    """

    id: int
    uuid: str
    user_id: str
    platform: str
    msg_id: str
    payload: bytes
    created: float
    expires: float
    dead: str | None = None
    incoming: bool = False


@dataclass(slots=True)
class Batch:
    """What one transaction writes."""

    rows: list[Row] = field(default_factory=list)
    buried: list[tuple[str, int]] = field(default_factory=list)
    """Why, and the id of the row."""
    removed: list[tuple[int]] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    inbox: ReceivedBatch = field(default_factory=ReceivedBatch)


class OutboxFile:
    """The file itself. One object at a time has it open, in whatever process."""

    def __init__(self, path: str | os.PathLike[str], *, create: bool = True) -> None:
        """Opens the file; `create` makes it where there is none. ConfigError names it when that is not possible."""
        self.path = Path(path)
        try:
            self._look(create)
            self._db = self._open()
            self._next_id: int = self._db.execute(_LAST_ID).fetchone()[0] + 1
        except (sqlite3.Error, OSError) as error:
            raise ConfigError(f"outbox {self.path}: {explain(error)}") from None

    def _look(self, create: bool) -> None:
        """Before anything is touched: whether the file can be one of ours. Makes it where there is none."""
        if not self.path.exists():
            if not create:
                raise ConfigError(f"outbox {self.path}: there is no such file")
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))  # messages hold keys
        with open(self.path, "rb") as file:
            head = file.read(len(_MAGIC))
        if not head and not create:
            raise ConfigError(f"outbox {self.path}: the file is empty: no program has used it as its outbox yet")
        if head and head != _MAGIC:
            raise ConfigError(f"outbox {self.path}: this is no outbox file, or it is damaged")
        if head:
            with contextlib.closing(
                sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", timeout=0, uri=True)
            ) as db:
                self._check_owner(db)

    def _check_owner(self, db: sqlite3.Connection) -> None:
        if db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            fields = ", ".join(row[1] for row in db.execute("PRAGMA table_info(messages)"))
            if not version or fields != _MESSAGE_FIELDS:
                raise ConfigError(f"outbox {self.path}: this is the database of another program")

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("BEGIN IMMEDIATE")  # takes the lock now, for as long as the file is open
            self._check_version(db)
            os.chmod(self.path, 0o600)
            db.execute("DELETE FROM messages WHERE dead IS NOT NULL AND created < ?", (time.time() - DEAD_KEPT,))
            db.execute("COMMIT")
        except BaseException:
            db.close()
            raise
        return db

    def _check_version(self, db: sqlite3.Connection) -> None:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION or version < 0:
            raise ConfigError(f"outbox {self.path} was written by another version ({version}) of this library")
        for statement in (*_SCHEMA, *received_file.TABLES)[_TABLES_OF_VERSION[version] :]:
            db.execute(statement)
        if version != SCHEMA_VERSION:
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def close(self) -> None:
        """Closes the file. Idempotent."""
        with contextlib.suppress(sqlite3.Error):  # what was committed is safe, whatever the disk says now
            self._db.close()

    def new_id(self) -> int:
        """The id of the next row; ids are in the order in which messages were accepted."""
        self._next_id += 1
        return self._next_id - 1

    def fact(self, name: str) -> str | None:
        """A small thing that was remembered, such as the connection id of the client whose file this is."""
        with self._explained():
            found = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if found is None else str(found[0])

    def rows(self, *, dead: bool | None = None) -> list[Row]:
        """Messages to be sent in the order they were accepted; `dead`: only those given up, or only the others."""
        where = {None: "", True: "WHERE dead IS NOT NULL ", False: "WHERE dead IS NULL "}[dead]
        with self._explained():
            query = f"SELECT {_MESSAGE_FIELDS} FROM messages {where}ORDER BY id"  # noqa: S608 - constants
            return [Row(*row) for row in self._db.execute(query)]

    def incoming(self) -> list[Row]:
        """Received messages that wait for a handler, in the order they came."""
        with self._explained():
            query = (
                "SELECT r.id, c.uuid, c.user_id, c.platform, COALESCE(r.msg_id, ''), r.frame, r.at, 0.0 "
                "FROM received r JOIN connections c ON c.id = r.connection WHERE r.frame IS NOT NULL ORDER BY r.id"
            )
            return [
                Row(number, uuid, user_id, platform, msg_id, frame, created, expires, None, incoming=True)
                for number, uuid, user_id, platform, msg_id, frame, created, expires in self._db.execute(query)
            ]

    def left(self, window: float) -> list[Left]:
        """What an earlier process has received: what waits for a handler, and what was seen in the last `window`
        seconds."""
        with self._explained():
            return received_file.load(self._db, window)

    def apply(self, batch: Batch) -> None:
        """All of it in one transaction, or nothing. sqlite3.Error when the disk refuses.

        What makes room comes first, so that it can be used at once.
        """
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            db.executemany("DELETE FROM messages WHERE id = ?", batch.removed)
            received_file.make_room(db, batch.inbox)
            removed = {number for (number,) in batch.removed}  # taken back before they were written
            db.executemany(
                "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (r.id, r.uuid, r.user_id, r.platform, r.msg_id, r.payload, r.created, r.expires, r.dead)
                    for r in batch.rows
                    if r.id not in removed
                ],
            )
            db.executemany("UPDATE messages SET dead = ? WHERE id = ?", batch.buried)
            db.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", batch.facts)
            received_file.write(db, batch.inbox)
            db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            raise

    def retry(self, ids: list[int] | None, ttl: float) -> int:
        """Makes messages that were given up (None: all) live again for `ttl` seconds; returns how many."""
        return self._change("UPDATE messages SET dead = NULL, expires = ?", (time.time() + ttl,), ids)

    def drop(self, ids: list[int] | None) -> int:
        """Deletes messages that were given up (None: all); returns how many. One that was received and waits for a
        handler is deleted when its id is named."""
        dropped = self._change("DELETE FROM messages", (), ids)
        with self._explained():
            query = "UPDATE received SET frame = NULL WHERE frame IS NOT NULL AND id = ?"
            return dropped + sum(self._db.execute(query, (one,)).rowcount for one in ids or ())

    def _change(self, statement: str, arguments: tuple[float, ...], ids: list[int] | None) -> int:
        with self._explained():
            if ids is None:
                return self._db.execute(f"{statement} WHERE dead IS NOT NULL", arguments).rowcount
            query = f"{statement} WHERE dead IS NOT NULL AND id = ?"
            return sum(self._db.execute(query, (*arguments, one)).rowcount for one in ids)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise ConfigError(f"outbox {self.path}: {explain(error)}") from None


def explain(error: Exception) -> str:
    """What an operator can do something with."""
    text = str(error)
    if "locked" in text:
        return "another program is using this file: one file serves one server or client"
    if "not a database" in text or "malformed" in text:
        return "this is no outbox file, or it is damaged"
    if "unable to open" in text or isinstance(error, OSError):
        return "cannot be opened: look at the folder and its permissions"
    return text
