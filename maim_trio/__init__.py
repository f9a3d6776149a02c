"""maim_trio: the message bus between chat bots and their platforms, native to trio.

The API-Server lives in `maim_trio.server`, `maim_trio.client` and `maim_trio.message`.
"""

from __future__ import annotations

__version__ = "0.1.0"

__all__ = ["__version__"]
