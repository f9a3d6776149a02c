"""What both kinds of ends share: their parameters, and the journal that survives a `kill -9`.

One letter and a number per line: t attempted, a accepted, k acknowledged, d delivered to the handler, u reported as
undelivered. Written with one unbuffered `write` each. Uses the standard library only: the peer's interpreter runs it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass

KEY = "key_of_client"
PLATFORM = "default"


@dataclass
class Parameters:
    """What an end is to do: send the numbers from `first` up to `count`, spread over `duration` seconds."""

    role: str  # client or server
    port: int
    journal: str
    first: int
    count: int
    duration: float
    outbox: str | None = None

    @classmethod
    def from_command_line(cls) -> Parameters:
        return cls(**json.loads(sys.argv[1]))

    @property
    def pace(self) -> float:
        return self.duration / max(self.count - self.first, 1)


class Journal:
    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, what: str, number: int | str) -> None:
        os.write(self._descriptor, f"{what} {number}\n".encode())


def say(word: str) -> None:
    """Tells the benchmark how far this end is."""
    os.write(1, word.encode() + b"\n")


def payload(number: int) -> dict[str, object]:
    """A message that carries `number`."""
    return {
        "message_info": {"platform": PLATFORM, "message_id": f"m{number}", "time": time.time()},
        "message_segment": {"type": "text", "data": str(number)},
        "message_dim": {"api_key": KEY, "platform": PLATFORM},
    }
