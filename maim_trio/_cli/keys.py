"""Which API keys a relay lets in, as which users, on which platforms: from a TOML file or from ``KEY=USER``."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from maim_trio._cli.failure import UsageError
from maim_trio._wire.credentials import MAX_API_KEY, MAX_NAME
from maim_trio._wire.text import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

EXAMPLE: Final = """\
[[key]]
key = "a-long-random-string"
user = "alice"

[[key]]
key = "another-long-random-string"
user = "bob"
platforms = ["qq", "wechat"]     # without this line: all platforms
"""

_FIELDS: Final = frozenset({"key", "user", "platforms"})
# These texts of the TOML parser repeat names from the file, where somebody may have written a key as a name.
_QUOTES_THE_FILE: Final = ("Cannot declare", "Cannot mutate", "Cannot overwrite", "Duplicate")
_POSITION: Final = re.compile(r" ?\(at (.*)\)\Z")


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """One API key. `platforms` None means all; `where` says in errors which entry this is."""

    key: str = field(repr=False)
    user: str
    platforms: frozenset[str] | None = None
    where: str = ""

    def allows(self, platform: str) -> bool:
        """Whether the key may be used on `platform`."""
        return self.platforms is None or platform in self.platforms


def read_key_file(path: str) -> list[KeyEntry]:
    """The entries of a key file. UsageError names the file, and the line where that is known; never a key."""
    return parse_keys(read_text(path, "key file"), path)


def read_text(path: str, what: str) -> str:
    """The text of a file, which errors call `what`."""
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read the {what} {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 at byte {error.start}") from None
    except ValueError:  # a NUL in the name
        raise UsageError(f"the name of the {what} is not a file name") from None


def parse_keys(text: str, name: str) -> list[KeyEntry]:
    """The entries of a key file's text; `name` is what errors call the file."""
    document = load_toml(text, name)
    if set(document) - {"key"}:
        hint = hint_at(document, ("key",))
        raise UsageError(f"{name}: only [[key]] entries with key, user and platforms may stand in a key file{hint}")
    return [_entry(item, where) for item, where in placed_entries(document, "key", text, name)]


def placed_entries(document: dict[str, Any], kind: str, text: str, name: str) -> list[tuple[Any, str]]:
    """The ``[[kind]]`` entries of a document, each with the place that errors name; there has to be one."""
    raw = document.get(kind, [])
    if not isinstance(raw, list):
        raise UsageError(f"{name}: an entry begins with [[{kind}]], in two pairs of brackets")
    if not raw:
        raise UsageError(f"{name}: there is no [[{kind}]] entry in it")
    head = re.compile(rf"""[ \t]*\[\[[ \t]*(?:{kind}|"{kind}"|'{kind}')[ \t]*\]\]""")
    lines = [number for number, line in enumerate(text.split("\n"), 1) if head.match(line)]
    places = [f", line {line}" for line in lines] if len(lines) == len(raw) else [""] * len(raw)
    placed = enumerate(zip(raw, places, strict=True), 1)
    return [(item, f"{name}{place} ({kind} {number})") for number, (item, place) in placed]


def parse_assignment(text: str, number: int) -> KeyEntry:
    """An entry from ``KEY=USER``. A key may hold ``=`` (base64 ends so), a user may not."""
    key, equals, user = text.rpartition("=")
    if not equals:
        raise UsageError(f"--key number {number} must look like KEY=USER")
    return _entry({"key": key, "user": user}, f"--key number {number}")


def check_entries(entries: Iterable[KeyEntry]) -> dict[str, KeyEntry]:
    """The entries by key. UsageError when two have the same key, or when a user's name is a key."""
    by_key: dict[str, KeyEntry] = {}
    for entry in entries:
        first = by_key.setdefault(entry.key, entry)
        if first is not entry:
            raise UsageError(f"{entry.where}: the same key as in {first.where}")
    for entry in by_key.values():
        if entry.user in by_key:
            raise UsageError(f"{entry.where}: user must not be a key: users are shown in the log")
    return by_key


def load_toml(text: str, name: str) -> dict[str, Any]:
    """The document; UsageError says where it is broken, without quoting it."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name}: not valid TOML{_reason(str(error))}") from None
    except (ValueError, RecursionError):  # a number with thousands of digits, brackets thousands deep
        raise UsageError(f"{name}: not valid TOML: something in it is far too large") from None


def _reason(said: str) -> str:
    """The parser's words as the end of a sentence, without what they quote."""
    found = _POSITION.search(said)
    position = f" at {found[1]}" if found else ""
    problem = said[: found.start()] if found else said
    if problem.startswith(_QUOTES_THE_FILE):
        problem = "a name stands there twice"
    return f"{position}: {problem}"


def _entry(raw: Any, where: str) -> KeyEntry:
    if not isinstance(raw, dict):
        raise UsageError(f"{where}: must be a table with key and user")
    if set(raw) - _FIELDS:
        raise UsageError(f"{where}: has a field that is not key, user or platforms{hint_at(raw, _FIELDS)}")
    key = checked_text(raw.get("key"), f"{where}: key", MAX_API_KEY)
    user = checked_text(raw.get("user"), f"{where}: user", MAX_NAME)
    return KeyEntry(key, user, _platforms(raw, where), where)


def hint_at(raw: Mapping[str, Any], known: Iterable[str]) -> str:
    """Which name was misspelt, when it is much like a right one; any other may be a key that stands in its place."""
    known = sorted(known)
    for name in raw:
        near = None if name in known else nearest(name, known)
        if near is not None:
            return f": {name}; did you mean {near}?"
    return ""


def _platforms(raw: dict[str, Any], where: str) -> frozenset[str] | None:
    if "platforms" not in raw:
        return None
    platforms = raw["platforms"]
    if not isinstance(platforms, list):
        raise UsageError(f'{where}: platforms must be a list such as ["qq", "wechat"]')
    if not platforms:
        raise UsageError(f"{where}: platforms is empty, so the key is of no use; leave it out to allow all")
    return frozenset(checked_text(platform, f"{where}: a platform", MAX_NAME) for platform in platforms)


def checked_text(value: Any, what: str, limit: int) -> str:
    """`value`, when it can arrive in a handshake just as it is."""
    if value is None:
        raise UsageError(f"{what} is missing")
    if not isinstance(value, str):
        raise UsageError(f"{what} must be a string in quotes")
    if not value:
        raise UsageError(f"{what} is empty")
    if len(value) > limit:
        raise UsageError(f"{what} is longer than {limit} characters")
    if value != value.strip() or not value.isprintable():
        raise UsageError(f"{what} has white space around it or holds characters that cannot be typed")
    return value
