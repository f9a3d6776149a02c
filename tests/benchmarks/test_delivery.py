"""The table of the proof run counts what the journals say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.delivery import Row, broken, table

if TYPE_CHECKING:
    from pathlib import Path


def journal(path: Path, **entries: list[int]) -> Path:
    path.write_text("".join(f"{letter} {number}\n" for letter, numbers in entries.items() for number in numbers))
    return path


def test_every_column_counts_what_it_says(tmp_path: Path) -> None:
    sender = journal(tmp_path / "sender", t=[*range(8)], a=[0, 1, 2, 3, 4, 5, 6], k=[0, 0, 0], u=[5, 3])
    receiver = journal(tmp_path / "receiver", d=[0, 2, 1, 1, 3, 7, 7, 7, 4])
    assert Row.count(sender, receiver) == Row(
        attempted=8, accepted=7, confirmed=3, delivered=5, reported=1, lost=1, duplicated=3, disordered=2
    )


@pytest.mark.parametrize(
    ("title", "rows", "is_broken"),
    [
        ("5 abrupt cuts", (Row(), Row()), False),
        ("5 abrupt cuts", (Row(lost=1), Row()), True),
        ("5 abrupt cuts", (Row(), Row(duplicated=1)), True),
        ("5 server restarts", (Row(), Row(disordered=1)), True),
        ("5 kill -9 of the client", (Row(), Row(lost=1)), True),
        ("5 kill -9 of the client", (Row(), Row(duplicated=5)), False),
        ("5 kill -9 of the client", (Row(), Row(duplicated=6)), True),
        ("5 kill -9 of the client", (Row(duplicated=1), Row()), True),
        ("5 kill -9 of the client", (Row(lost=1), Row()), True),
    ],
)
def test_what_breaks_a_promise(title: str, rows: tuple[Row, Row], is_broken: bool) -> None:
    assert broken(title, rows) is is_broken


def test_the_table_names_both_directions() -> None:
    lines = table({"1 cut": {"ours": (Row(accepted=1234), Row(lost=5))}}).splitlines()
    assert lines[2].startswith("| 1 cut | maim_trio | client → server | 0 | 1,234 |")
    assert lines[3].startswith("| 1 cut | maim_trio | server → client |")
    assert len(lines) == 4
