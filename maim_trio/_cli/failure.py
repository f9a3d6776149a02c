"""How a command ends when it cannot do what was asked: one line on stderr and an exit status."""

from __future__ import annotations

from typing import Final

FAILED: Final = 1
"""Exit status: the command was right, and what it tried did not work."""
WRONG_USAGE: Final = 2
"""Exit status: the command, a file that it names or the address that it wants cannot be used."""


class CommandError(Exception):
    """Ends the command. The text is one line for a person, and holds no API key."""

    def __init__(self, text: str, *, status: int = FAILED) -> None:
        super().__init__(text)
        self.status = status


class UsageError(CommandError):
    """The command has to be given differently."""

    def __init__(self, text: str) -> None:
        super().__init__(text, status=WRONG_USAGE)
