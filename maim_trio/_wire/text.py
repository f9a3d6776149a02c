"""Words that the other side wrote and that go into our logs and error texts."""

from __future__ import annotations

__all__ = ["one_line"]


def one_line(text: str, limit: int) -> str:
    """At most `limit` characters of `text` on one line: no line breaks that forge log lines, no terminal controls."""
    text = text[:limit]
    if not text.isprintable():
        text = "".join(char if char.isprintable() else " " for char in text)
    return text.strip()
