"""Received messages in the file of a durable outbox."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from maim_trio._delivery.dedupe import frame_key
from maim_trio._runtime.outbox_file import Batch, OutboxFile
from maim_trio._runtime.received_file import Origin, Received, ReceivedBatch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WINDOW = 600.0


@pytest.fixture
def file(tmp_path: Path) -> Iterator[OutboxFile]:
    opened = OutboxFile(tmp_path / "outbox.db")
    yield opened
    opened.close()


def origin(number: int, uuid: str = "u1", user: str = "alice", **more: Any) -> Origin:
    return Origin(number, uuid, user, "qq", more.pop("resumable", True), {"number": number, **more})


def message(number: int, connection: int = 1, *, age: float = 0.0, msg_id: str | None = "") -> Received:
    return Received(
        number, connection, f"m{number}" if msg_id == "" else msg_id, time.time() - age, b"frame %d" % number
    )


def write(file: OutboxFile, **changes: Any) -> None:
    file.apply(Batch(inbox=ReceivedBatch(**changes)))


def test_what_waits_comes_back_in_order_with_what_was_known_of_its_connection(file: OutboxFile) -> None:
    write(file, origins=[origin(1, agent="one"), origin(2, agent="two")], received=[message(10), message(11, 2)])
    (left,) = file.left(WINDOW)
    assert (left.uuid, left.user_id, left.platform, left.resumable) == ("u1", "alice", "qq", True)
    assert (left.origin, left.newest) == (2, 11)
    assert left.waiting == [
        (10, b"frame 10", {"number": 1, "agent": "one"}),
        (11, b"frame 11", {"number": 2, "agent": "two"}),
    ]
    assert left.keys == [frame_key(f"m{number}", b"frame %d" % number) for number in (10, 11)]


def test_what_was_handled_is_remembered_and_not_handled_again(file: OutboxFile) -> None:
    write(file, origins=[origin(1)], received=[message(10), message(11)])
    write(file, handled=[(10,)])
    (left,) = file.left(WINDOW)
    assert [number for number, *_ in left.waiting] == [11]
    assert len(left.keys) == 2


def test_a_message_without_an_id_cannot_be_recognised(file: OutboxFile) -> None:
    write(file, origins=[origin(1)], received=[message(10, msg_id=None)])
    (left,) = file.left(WINDOW)
    assert (len(left.waiting), left.keys) == (1, [])


def test_identities_are_told_apart_by_user_and_id_and_sorted_by_when_they_were_heard_of(file: OutboxFile) -> None:
    write(
        file,
        origins=[origin(1, "u1", "alice"), origin(2, "u1", "bob"), origin(3, "u2", "alice")],
        received=[message(10, 3), message(11, 2), message(12, 1)],
    )
    assert [(left.uuid, left.user_id) for left in file.left(WINDOW)] == [
        ("u2", "alice"),
        ("u1", "bob"),
        ("u1", "alice"),
    ]


def test_what_was_handled_long_ago_is_forgotten_with_its_connection(file: OutboxFile) -> None:
    write(file, origins=[origin(1), origin(2, "u2")], received=[message(10, age=700), message(11, 2, age=700)])
    write(file, handled=[(10,)])
    (left,) = file.left(WINDOW)
    assert (left.uuid, len(left.waiting)) == ("u2", 1)
    assert file._db.execute("SELECT id FROM connections").fetchall() == [(2,)]


def test_forgetting_below_an_id_spares_what_waits(file: OutboxFile) -> None:
    write(file, origins=[origin(1)], received=[message(number) for number in range(10, 16)])
    write(file, handled=[(number,) for number in (10, 12, 14)], forget_below=14)
    assert file._db.execute("SELECT id FROM received").fetchall() == [(11,), (13,), (14,), (15,)]


def test_an_identity_that_has_ended_is_not_resumable_until_it_comes_anew(file: OutboxFile) -> None:
    write(file, origins=[origin(1), origin(2, user="bob")], received=[message(10), message(11, 2)])
    write(file, ended=[("u1", "alice")])
    assert {left.user_id: left.resumable for left in file.left(WINDOW)} == {"alice": False, "bob": True}
    write(file, origins=[origin(3)], received=[message(12, 3)])
    assert {left.user_id: left.resumable for left in file.left(WINDOW)} == {"alice": True, "bob": True}


def test_tidying_keeps_connections_that_live_or_are_referred_to(file: OutboxFile) -> None:
    write(file, origins=[origin(1), origin(2), origin(3)], received=[message(10, 1)])
    write(file, live={2})
    assert file._db.execute("SELECT id FROM connections").fetchall() == [(1,), (2,)]


def test_handling_and_receiving_in_one_commit_use_the_room_that_is_made(file: OutboxFile) -> None:
    large = Received(10, 1, "m10", time.time(), b"x" * 50_000)
    write(file, origins=[origin(1)], received=[large])
    pages = file._db.execute("PRAGMA page_count").fetchone()[0]
    file._db.execute(f"PRAGMA max_page_count = {pages}")
    write(file, received=[Received(11, 1, "m11", time.time(), b"x" * 50_000)], handled=[(10,)])
    assert [number for number, *_ in file.left(WINDOW)[0].waiting] == [11]


def test_another_process_computes_the_same_keys_from_what_is_in_the_file(tmp_path: Path) -> None:
    """`frame_key` is another number in every process."""
    path = tmp_path / "outbox.db"
    file = OutboxFile(path)
    write(file, origins=[origin(1)], received=[message(10)])
    file.close()
    program = (
        "import sys\n"
        "from maim_trio._delivery.dedupe import frame_key\n"
        "from maim_trio._runtime.outbox_file import OutboxFile\n"
        "(left,) = OutboxFile(sys.argv[1]).left(600)\n"
        "assert left.keys == [frame_key('m10', b'frame 10')]\n"
    )
    subprocess.run([sys.executable, "-c", program, path], check=True)
