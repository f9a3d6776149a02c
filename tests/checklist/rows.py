"""The table: TOML files in which groups of rows say what the documents promise.

A group has a `kind` (see `forms.py`), `of` (the class, function, module or dict that its rows belong to; a list makes
the rows once for each), `source` (the document and its section) and `rows`, or `names` where a name says everything. A
row may have keys of its kind, its own `source`, and

- `check`: the behaviours (`behaviours/`) that show it, one name or a list; a group's `check` is for all of its rows,
- `differs`: why our form is not the documented one; the form is then the one under `ours…`, or what `optional` says.

Types and defaults are Python expressions, as the documents write them.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FOLDER = Path(__file__).parent
DOCUMENTS = ("interface-reference", "usage-guide", "api")
GROUP_KEYS = {"kind", "of", "source", "rows", "names", "check", "why"}
ROW_KEYS = {"name", "doc", "source", "check", "differs", "ours", "ours_type", "type", "default", "good", "bases"}
ROW_KEYS |= {"required", "optional", "fixed"}


@dataclass(frozen=True)
class Row:
    """One line of the checklist. `data` holds what its kind needs."""

    kind: str
    of: str
    name: str
    source: str
    checks: tuple[str, ...]
    data: Mapping[str, Any]
    position: int

    def __str__(self) -> str:
        return f"{self.kind}-{self.of}-{self.name}"

    def __getitem__(self, key: str) -> Any:
        return self.data[key]

    def get(self, key: str, default: Any = None) -> Any:
        return self.data.get(key, default)


@cache
def all_rows() -> tuple[Row, ...]:
    """The whole table, in the order of the files."""
    return tuple(row for path in sorted(FOLDER.glob("*.toml")) for row in _rows_of(path))


def rows_of(*kinds: str) -> list[Row]:
    return [row for row in all_rows() if row.kind in kinds]


def names_of(kinds: tuple[str, ...], of: str) -> set[str]:
    """The names that rows of these kinds give something."""
    return {row.name for row in rows_of(*kinds) if row.of == of}


def _rows_of(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        groups = tomllib.load(file)["group"]
    for group in groups:
        place = f"{path.name}, {group.get('kind')} of {group.get('of')}"
        unknown = set(group) - GROUP_KEYS
        if unknown or not {"kind", "of"} <= set(group) or ("rows" in group) == ("names" in group):
            raise ValueError(f"{place}: a group has kind, of, source and either rows or names; {sorted(unknown)}")
        lines = group.get("rows") or [{"name": name} for name in group["names"]]
        for of in _listed(group["of"]):
            for position, line in enumerate(lines):
                if not set(line) <= ROW_KEYS:
                    raise ValueError(f"{place}: a row with unknown keys: {sorted(set(line) - ROW_KEYS)}")
                yield _row(group, of, line, position)


def _row(group: Mapping[str, Any], of: str, line: Mapping[str, Any], position: int) -> Row:
    data = {key: value for key, value in line.items() if key not in ("name", "source", "check")}
    if "why" in group:
        data["why"] = group["why"]
    return Row(
        kind=group["kind"],
        of=of,
        name=line["name"] if "name" in line else _name_in(line["doc"]),
        source=line.get("source", group.get("source", "")),
        checks=tuple([*_listed(group.get("check", [])), *_listed(line.get("check", []))]),
        data=data,
        position=position,
    )


def _name_in(signature: str) -> str:
    return signature.removeprefix("async ").partition("(")[0]


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
