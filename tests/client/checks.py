"""What several tests of the client look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from maim_trio.client import WebSocketClient

KEY = "key_of_client"


def assert_sentence(client: WebSocketClient, *words: str) -> None:
    """get_last_error() is for people: one line, the words that matter, no key."""
    error = client.get_last_error()
    assert error is not None
    assert all(word in error for word in words), error
    assert len(error) > 10
    assert error.isprintable()
    assert KEY not in error


class Elapsed:
    """Seconds of trio's clock since it was made."""

    def __init__(self) -> None:
        self.start = trio.current_time()

    @property
    def seconds(self) -> float:
        return trio.current_time() - self.start


class Calls(list[tuple[object, ...]]):
    """A handler that remembers what it was called with."""

    def __call__(self, *args: object) -> None:
        self.append(args)
