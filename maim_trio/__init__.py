"""maim_trio: the message bus between chat bots and their platforms, native to trio.

This module has the legacy components: what programs for maim_message use that are older than its API-Server. The
API-Server lives in `maim_trio.server`, `maim_trio.client` and `maim_trio.message`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from maim_trio._legacy.client import MessageClient
    from maim_trio._legacy.converter import MessageConverter
    from maim_trio._legacy.message import (
        BaseMessageInfo,
        FormatInfo,
        GroupInfo,
        InfoBase,
        MessageBase,
        ReceiverInfo,
        Seg,
        SenderInfo,
        TemplateInfo,
        UserInfo,
    )
    from maim_trio._legacy.router import Router
    from maim_trio._legacy.routes import RouteConfig, TargetConfig
    from maim_trio._legacy.server import MessageServer

__version__ = "0.1.0"

__all__ = [
    "BaseMessageInfo",
    "FormatInfo",
    "GroupInfo",
    "InfoBase",
    "MessageBase",
    "MessageClient",
    "MessageConverter",
    "MessageServer",
    "ReceiverInfo",
    "RouteConfig",
    "Router",
    "Seg",
    "SenderInfo",
    "TargetConfig",
    "TemplateInfo",
    "UserInfo",
    "__version__",
]

_HOMES: Final = {
    "MessageClient": "client",
    "MessageConverter": "converter",
    "MessageServer": "server",
    "RouteConfig": "routes",
    "Router": "router",
    "TargetConfig": "routes",
}
"""The modules of `_legacy` that have the names; all others are messages."""


def __getattr__(name: str) -> Any:
    """Imports what is asked for, so that `import maim_trio` alone costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}._legacy.{_HOMES.get(name, 'message')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
