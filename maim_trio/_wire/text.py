"""Words that others wrote and that go into our logs and error texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["did_you_mean", "nearest", "one_line"]

LIKENESS = 0.65
"""From 0 to 1: ``ulr`` and ``url`` have 0.67. With less, names are offered that nobody meant."""


def one_line(text: str, limit: int) -> str:
    """At most `limit` characters of `text` on one line: no line breaks that forge log lines, no terminal controls."""
    text = text[:limit]
    if not text.isprintable():
        text = "".join(char if char.isprintable() else " " for char in text)
    return text.strip()


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The one of the `known` names that a misspelt one was probably meant to be, None when it is like none of them."""
    import difflib  # only for those who have mistyped something

    found = difflib.get_close_matches(name.lower(), [*known], n=1, cutoff=LIKENESS)
    return found[0] if found else None


def did_you_mean(names: Iterable[str], known: Iterable[str]) -> str:
    """The end of an error about unknown names: a question with the nearest known ones, or nothing."""
    known = [*known]
    found = [near for name in names if (near := nearest(name, known)) is not None]
    return f"; did you mean {', '.join(dict.fromkeys(found))}?" if found else ""
