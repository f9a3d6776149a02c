"""``python -m maim_trio outbox``: what an operator sees of a durable outbox and can do about it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from maim_trio._runtime.outbox_file import Batch, OutboxFile, Row
from maim_trio._runtime.received_file import Origin, Received, ReceivedBatch
from maim_trio.cli import main

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "sk-live-Zx81"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with one message that waits and two that were given up."""
    path = tmp_path / "outbox.db"
    file, now = OutboxFile(path), time.time()
    envelope = {"type": "sys_std", "meta": {"sender_user": SECRET}, "payload": {"text": "private"}}
    payload = json.dumps(envelope).encode()
    rows = [
        Row(file.new_id(), "u1", SECRET, "qq", f"m{number}", payload, created=now, expires=now + 9)
        for number in range(3)
    ]
    file.apply(Batch(rows=rows, buried=[("too old", rows[1].id), ("too large", rows[2].id)]))
    file.close()
    return path


def printed(capsys: pytest.CaptureFixture[str]) -> list[Any]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def rows(path: Path, *, dead: bool | None = None) -> list[Row]:
    file = OutboxFile(path)
    try:
        return file.rows(dead=dead)
    finally:
        file.close()


@pytest.mark.parametrize(("options", "ids"), [([], [1, 2, 3]), (["--dead"], [2, 3]), (["--waiting"], [1])])
def test_list_shows_what_is_in_it(path, capsys, options, ids):
    assert main(["outbox", "list", str(path), *options]) == 0
    listed = printed(capsys)
    assert [one["id"] for one in listed] == ids
    states = {1: ("waiting", None), 2: ("dead", "too old"), 3: ("dead", "too large")}
    assert [(one["state"], one["reason"]) for one in listed] == [states[number] for number in ids]
    assert {(one["type"], one["connection_uuid"], one["platform"]) for one in listed} == {("sys_std", "u1", "qq")}


def test_neither_keys_nor_content_are_shown_unless_asked_for(path, capsys):
    main(["outbox", "list", str(path)])
    said = capsys.readouterr().out
    assert SECRET not in said
    assert "private" not in said
    main(["outbox", "list", str(path), "--envelope"])
    assert printed(capsys)[0]["envelope"]["payload"] == {"text": "private"}


def test_retry_has_them_sent_again(path, capsys):
    assert main(["outbox", "retry", str(path), "2", "--ttl", "50"]) == 0
    assert printed(capsys) == [{"retried": 1}]
    revived = rows(path, dead=False)[-1]
    assert revived.id == 2
    assert 40 < revived.expires - time.time() <= 50


def test_drop_deletes_them(path, capsys):
    assert main(["outbox", "drop", str(path), "--all"]) == 0
    assert printed(capsys) == [{"dropped": 2}]
    assert [row.id for row in rows(path)] == [1]


@pytest.mark.parametrize("action", ["retry", "drop"])
def test_what_was_not_given_up_is_left_alone(path, capsys, action):
    assert main(["outbox", action, str(path), "1", "3", "99"]) == 1
    assert next(iter(printed(capsys)[0].values())) == 1
    assert 1 in [row.id for row in rows(path, dead=False)]


@pytest.mark.parametrize("arguments", [["retry"], ["drop"], ["retry", "2", "--all"], ["drop", "x"], ["burn"], []])
def test_a_mistake_is_one_line_and_changes_nothing(path, capsys, arguments):
    before = rows(path)
    assert main(["outbox", *arguments[:1], str(path), *arguments[1:]]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert rows(path) == before


def test_a_file_in_use_a_missing_one_and_a_foreign_one_are_told(path, tmp_path, capsys):
    file = OutboxFile(path)
    assert main(["outbox", "list", str(path)]) == 2
    assert "another program is using this file" in capsys.readouterr().err
    file.close()
    missing = tmp_path / "missing.db"
    assert main(["outbox", "list", str(missing)]) == 2
    assert "no such file" in capsys.readouterr().err
    assert not missing.exists()
    foreign = tmp_path / "notes.txt"
    foreign.write_text("no outbox\n" * 1000)
    assert main(["outbox", "drop", str(foreign), "--all"]) == 2
    assert "no outbox file" in capsys.readouterr().err


def test_a_damaged_message_is_listed_as_such(path, capsys):
    file = OutboxFile(path)
    file.apply(Batch(rows=[Row(file.new_id(), "u", "", "p", "m", b"\xff{", 0.0, 1e10)]))
    file.close()
    assert main(["outbox", "list", str(path), "--waiting"]) == 0
    assert printed(capsys)[-1]["type"] == "damaged"


def test_as_a_program_it_ends_quietly_when_nobody_reads(path):
    command = [sys.executable, "-m", "maim_trio", "outbox", "list", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1


@pytest.fixture
def received(path: Path) -> Path:
    """The same file, with two messages that were received and wait for a handler."""
    file, now = OutboxFile(path), time.time()
    envelope = {"type": "custom_x", "meta": {"sender_user": SECRET}, "payload": {"text": "private"}}
    messages = [Received(number, 20, f"r{number}", now, json.dumps(envelope).encode()) for number in (21, 22)]
    origin = Origin(20, "u2", SECRET, "qq", True, {"api_key": SECRET})
    file.apply(Batch(inbox=ReceivedBatch(origins=[origin], received=messages)))
    file.close()
    return path


@pytest.mark.parametrize(
    ("options", "ids"), [([], [1, 2, 3, 21, 22]), (["--dead"], [2, 3]), (["--waiting"], [1, 21, 22])]
)
def test_the_list_says_which_way_a_message_goes(received, capsys, options, ids):
    assert main(["outbox", "list", str(received), *options]) == 0
    said = capsys.readouterr().out
    listed = [json.loads(line) for line in said.splitlines()]
    assert [one["id"] for one in listed] == ids
    assert {one["id"]: one["direction"] for one in listed} == {
        number: "incoming" if number > 20 else "outgoing" for number in ids
    }
    incoming = [one for one in listed if one["direction"] == "incoming"]
    for one in incoming:
        assert (one["state"], one["type"], one["connection_uuid"], one["expires"]) == (
            "waiting",
            "custom_x",
            "u2",
            None,
        )
    assert SECRET not in said
    assert "private" not in said


def test_what_was_received_is_dropped_only_by_its_id_and_never_retried(received, capsys):
    assert main(["outbox", "retry", str(received), "21"]) == 1
    assert main(["outbox", "drop", str(received), "--all"]) == 0
    assert main(["outbox", "drop", str(received), "21"]) == 0
    assert printed(capsys) == [{"retried": 0}, {"dropped": 2}, {"dropped": 1}]
    assert main(["outbox", "list", str(received)]) == 0
    assert [one["id"] for one in printed(capsys)] == [1, 22]
