"""The file of a durable outbox."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from maim_trio._delivery.dedupe import frame_key
from maim_trio._runtime import received_file
from maim_trio._runtime.outbox_file import DEAD_KEPT, SCHEMA_VERSION, Batch, OutboxFile, Row
from maim_trio._runtime.received_file import Origin, Received, ReceivedBatch
from maim_trio.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
def file(path: Path) -> Iterator[OutboxFile]:
    opened = OutboxFile(path)
    yield opened
    opened.close()


def row(file: OutboxFile, uuid: str = "u1", **fields: Any) -> Row:
    number, now = file.new_id(), time.time()
    options = {"msg_id": f"m{number}", "payload": b"{}", "created": now, "expires": now + 300, **fields}
    return Row(number, uuid, "user", "platform", **options)


def test_rows_come_back_in_the_order_they_were_accepted(path: Path, file: OutboxFile) -> None:
    rows = [row(file) for _ in range(10)]
    file.apply(Batch(rows=rows[:5]))
    file.apply(Batch(rows=rows[5:]))
    file.close()
    again = OutboxFile(path)
    assert again.rows() == rows
    assert again.new_id() == rows[-1].id + 1
    again.close()


def test_removing_and_burying_and_what_is_left(file: OutboxFile) -> None:
    rows = [row(file) for _ in range(3)]
    file.apply(Batch(rows=rows))
    file.apply(Batch(removed=[(rows[0].id,)], buried=[("too old", rows[1].id)]))
    assert [one.id for one in file.rows(dead=False)] == [rows[2].id]
    assert [(one.id, one.dead) for one in file.rows(dead=True)] == [(rows[1].id, "too old")]


def test_a_failed_batch_leaves_nothing(file: OutboxFile) -> None:
    one = row(file)
    with pytest.raises(sqlite3.Error):
        file.apply(Batch(rows=[one, one]))
    assert file.rows() == []
    file.apply(Batch(rows=[one]))
    assert file.rows() == [one]


def test_facts_are_remembered_and_replaced(path: Path, file: OutboxFile) -> None:
    assert file.fact("uuid") is None
    file.apply(Batch(facts=[("uuid", "a")]))
    file.apply(Batch(facts=[("uuid", "b")]))
    assert file.fact("uuid") == "b"


def test_retry_and_drop_touch_only_what_was_given_up(file: OutboxFile) -> None:
    rows = [row(file) for _ in range(4)]
    file.apply(Batch(rows=rows, buried=[("x", one.id) for one in rows[1:]]))
    assert file.drop([rows[0].id, rows[1].id]) == 1
    assert file.retry([rows[2].id, 999], ttl=50) == 1
    revived = file.rows(dead=False)[-1]
    assert (revived.id, revived.dead) == (rows[2].id, None)
    assert 49 < revived.expires - time.time() <= 50
    assert file.retry(None, ttl=50) == 1
    assert file.drop(None) == 0
    assert len(file.rows(dead=False)) == 3


def test_the_dead_are_kept_for_thirty_days(path: Path, file: OutboxFile) -> None:
    long_ago = time.time() - DEAD_KEPT - 10
    rows = [row(file, created=long_ago), row(file, created=long_ago), row(file)]
    file.apply(Batch(rows=rows, buried=[("x", rows[0].id), ("x", rows[2].id)]))
    file.close()
    again = OutboxFile(path)
    assert [one.id for one in again.rows()] == [rows[1].id, rows[2].id]
    again.close()


def test_only_its_owner_can_read_it(path: Path, file: OutboxFile) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_second_object_on_it_is_refused_with_a_sentence(path: Path, file: OutboxFile) -> None:
    with pytest.raises(ConfigError, match=r"outbox\.db: another program is using this file"):
        OutboxFile(path)


def test_so_is_a_second_process(path: Path, file: OutboxFile) -> None:
    program = "import sys; from maim_trio._runtime.outbox_file import OutboxFile; OutboxFile(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "another program is using this file" in done.stderr


def test_once_it_is_closed_another_may_have_it(path: Path, file: OutboxFile) -> None:
    file.close()
    file.close()
    OutboxFile(path).close()


def test_another_version_is_refused(path: Path, file: OutboxFile) -> None:
    file.close()
    database = sqlite3.connect(path)
    database.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    database.close()
    with pytest.raises(ConfigError, match=r"another version \(3\)"):
        OutboxFile(path)


@pytest.mark.parametrize("version", [0, 1, SCHEMA_VERSION])
@pytest.mark.parametrize("mode", ["delete", "wal"])
@pytest.mark.parametrize("create", [True, False])
def test_the_database_of_another_program_is_left_alone(path: Path, version: int, mode: str, create: bool) -> None:
    database = sqlite3.connect(path)
    database.execute(f"PRAGMA journal_mode = {mode}")
    database.execute("CREATE TABLE messages (other TEXT)")
    database.execute(f"PRAGMA user_version = {version}")
    database.close()
    path.chmod(0o644)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="another program"):
        OutboxFile(path, create=create)
    assert path.read_bytes() == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_file_that_is_no_database_keeps_its_permissions(path: Path) -> None:
    path.write_text("print('hello')")
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="no outbox file"):
        OutboxFile(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_an_empty_file_is_used_and_is_not_made_an_outbox_by_who_only_looks(path: Path) -> None:
    path.touch()
    with pytest.raises(ConfigError, match="empty"):
        OutboxFile(path, create=False)
    assert path.read_bytes() == b""
    OutboxFile(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"no database " * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_what_is_no_database_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="damaged"):
        OutboxFile(path)
    assert path.read_bytes() == content


def test_a_damaged_page_is_refused_with_a_sentence(path: Path, file: OutboxFile) -> None:
    file.apply(Batch(rows=[row(file, payload=b"x" * 3000) for _ in range(50)]))
    file.close()
    size = path.stat().st_size
    with path.open("r+b") as raw:
        raw.seek(4096)
        raw.write(os.urandom(size - 4096))
    with pytest.raises(ConfigError, match=r"outbox\.db"):
        OutboxFile(path).rows()


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be opened"):
        OutboxFile(tmp_path / "nowhere" / "outbox.db")


def test_without_create_a_missing_file_stays_missing(path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        OutboxFile(path, create=False)
    assert not path.exists()


OF_VERSION_1 = (
    "CREATE TABLE messages (id INTEGER PRIMARY KEY, uuid TEXT NOT NULL, user_id TEXT NOT NULL, platform TEXT NOT NULL, "
    "msg_id TEXT NOT NULL, payload BLOB NOT NULL, created REAL NOT NULL, expires REAL NOT NULL, dead TEXT)",
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "INSERT INTO messages VALUES (7, 'u1', 'user', 'qq', 'm7', x'7b7d', 1.0, 1e12, NULL)",
    "INSERT INTO facts VALUES ('name', 'value')",
    "PRAGMA user_version = 1",
)


def test_a_file_of_the_first_version_is_upgraded_in_place(path: Path) -> None:
    database = sqlite3.connect(path)
    for statement in OF_VERSION_1:
        database.execute(statement)
    database.commit()
    database.close()
    for _ in range(2):
        file = OutboxFile(path)
        assert [(one.id, one.msg_id, one.payload) for one in file.rows(dead=False)] == [(7, "m7", b"{}")]
        assert file.fact("name") == "value"
        assert file.left(600) == file.incoming() == []
        file.close()
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    database.close()


def test_an_upgrade_that_fails_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = sqlite3.connect(path)
    for statement in OF_VERSION_1:
        database.execute(statement)
    database.commit()
    database.close()
    with monkeypatch.context() as patch:
        patch.setattr(received_file, "TABLES", (received_file.TABLES[0], "CREATE TABLE nonsense ("))
        with pytest.raises(ConfigError):
            OutboxFile(path)
    file = OutboxFile(path)
    assert [one.id for one in file.rows()] == [7]
    file.close()


def test_ids_go_on_behind_those_of_everything_that_is_in_the_file(path: Path, file: OutboxFile) -> None:
    inbox = ReceivedBatch(origins=[origin(5)], received=[Received(40, 5, "m", 1.0, b"{}")])
    file.apply(Batch(rows=[row(file)], inbox=inbox))
    file.close()
    again = OutboxFile(path)
    assert again.new_id() == 41
    again.close()


def test_what_is_taken_back_with_the_commit_that_would_write_it_leaves_no_trace(file: OutboxFile) -> None:
    rows = [row(file) for _ in range(2)]
    file.apply(Batch(rows=rows, removed=[(rows[0].id,)]))
    assert [one.id for one in file.rows()] == [rows[1].id]


def test_a_received_message_can_be_dropped_by_its_id_and_is_still_recognised(file: OutboxFile) -> None:
    received = [Received(number, 5, f"m{number}", time.time(), b"{}") for number in (10, 11)]
    file.apply(Batch(rows=[row(file)], inbox=ReceivedBatch(origins=[origin(5)], received=received)))
    assert [(one.id, one.incoming, one.uuid, one.msg_id) for one in file.incoming()] == [
        (10, True, "u5", "m10"),
        (11, True, "u5", "m11"),
    ]
    assert file.drop(None) == 0
    assert file.drop([10, 99]) == 1
    assert file.drop([10]) == 0
    assert file.retry([11], 10) == 0
    assert [one.id for one in file.incoming()] == [11]
    (left,) = file.left(600)
    assert left.keys == [frame_key("m10", b"{}"), frame_key("m11", b"{}")]


def origin(number: int) -> Origin:
    return Origin(number, f"u{number}", "user", "qq", True, {"api_key": "key"})
