"""The code blocks of README and docs, and the ways in which tests/test_docs.py runs them.

A comment before a block says how it is run, ``<!-- run: inside calls=on_message -->``; without one it is run in the way
that its language has by default. The ways:

===========  ==========================================================================================================
python       ``program`` (default): as a whole program, to its end
             ``serves``: a program that serves until Ctrl-C; ``ends=cleanly``: with status 0, after a stop in order;
             ``speaks=legacy``: to legacy clients
             ``talks``: a program that runs to its end against the nearest ``serves`` block above it, or the README's;
             ``prints="text"``: its output holds that
             ``inside``: statements inside of an async function, with a server, two clients and all public names;
             ``calls=f`` calls what the block defines, as the library would
             ``legacy``: the same for the legacy half: server, client, message, url, token and nursery are there
             ``files``: a program to its end, with certificates and configuration files at hand
             ``pytest``: a file of tests
js           ``talks``, or only a check of its syntax (default)
json         ``frame`` (default): the codec takes it; ``legacy``: that of the legacy half does
http         ``head`` (default): our parsers take it
toml         ``keys``, ``bridge``, ``server``, ``client``, ``pyproject``
sh           ``command`` (default): everything it names exists, and every option
text         not code: a diagram, or what a program prints
===========  ==========================================================================================================
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

WAYS: dict[str, tuple[str, ...]] = {  # the first is the default
    "python": ("program", "serves", "talks", "inside", "legacy", "files", "pytest"),
    "js": ("check", "talks"),
    "json": ("frame", "legacy"),
    "http": ("head",),
    "toml": ("", "keys", "bridge", "server", "client", "pyproject"),
    "sh": ("command",),
    "text": ("nothing",),
}

_FENCE = re.compile(r"( *)(```+|~~~+) *(\S*)")
_MARK = re.compile(r"<!-- run: *(.+?) *-->")


@dataclass(frozen=True)
class Block:
    """A fenced block. `line` is the line of its first line of code, counted from 1."""

    path: Path
    line: int
    language: str
    code: str
    way: str
    options: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"

    @property
    def covered(self) -> bool:
        """Whether there is a way to run it."""
        return bool(self.way) and self.way in WAYS.get(self.language, ())


def documents() -> list[Path]:
    """The documents for users."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def blocks_of(path: Path) -> list[Block]:
    """The fenced blocks of a document, in order."""
    blocks: list[Block] = []
    lines = path.read_text(encoding="utf-8").split("\n")
    number, mark = 0, ""
    while number < len(lines):
        line = lines[number]
        number += 1
        fence = _FENCE.match(line)
        if fence is None:
            found = _MARK.fullmatch(line.strip())
            mark = found[1] if found else mark if not line.strip() else ""
            continue
        begin = number
        while lines[number].strip() != fence[2]:
            number += 1
        code = "\n".join(text.removeprefix(fence[1]) for text in lines[begin:number]) + "\n"
        blocks.append(_block(path, begin + 1, fence[3], code, mark))
        number, mark = number + 1, ""
    return blocks


def _block(path: Path, line: int, language: str, code: str, mark: str) -> Block:
    way, *options = shlex.split(mark) or [WAYS.get(language, ("",))[0]]
    return Block(path, line, language, code, way, dict(option.split("=", 1) for option in options))


def all_blocks(language: str, *ways: str) -> list[Block]:
    """Those of one language in all documents, of all or some ways."""
    found = [block for path in documents() for block in blocks_of(path) if block.language == language]
    return [block for block in found if not ways or block.way in ways]


def server_for(block: Block) -> Block:
    """The nearest ``serves`` block above, or else the one in the README."""
    above = [other for other in blocks_of(block.path) if other.way == "serves" and other.line < block.line]
    return above[-1] if above else next(other for other in blocks_of(ROOT / "README.md") if other.way == "serves")
