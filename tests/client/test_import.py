"""What importing a client does not load: it is loaded often, by programs that start for a moment."""

from __future__ import annotations

import subprocess
import sys

RARELY_NEEDED = (
    "asyncio", "email", "http", "importlib.metadata", "json", "sqlite3", "tomllib", "trio_websocket", "websockets",
)  # fmt: skip


def test_importing_a_client_loads_nothing_that_it_may_never_need() -> None:
    program = f"import sys, maim_trio.client; print(*[name for name in {RARELY_NEEDED!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []
