"""What the tests of clients with many connections share."""

from __future__ import annotations

from typing import Any

from tests.client.raw import serve_scripts
from tests.memory import Hosts


class Inbox:
    """An `on_message` that keeps what it gets."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, str]] = []

    async def __call__(self, message: Any, metadata: dict[str, Any]) -> None:
        self.seen.append((message.message_segment.data, metadata["connection_name"]))


class Bots(Hosts):
    """Hosts with servers of the test's own making, or ours."""

    def __init__(self, nursery: Any) -> None:
        super().__init__()
        self._nursery = nursery

    async def play(self, host: str, *scripts: Any) -> Any:
        """Has a server at `host` play scripts, one per connection; returns the list that its peers come to stand in."""
        return await self._nursery.start(serve_scripts, self[host], scripts)


def fields(host: str, **more: Any) -> dict[str, Any]:
    """The fields of a connection to `host`."""
    return {"url": f"ws://{host}/ws", "api_key": f"key_of_{host}", "platform": f"{host}_platform", **more}
