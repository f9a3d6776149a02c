"""The TCP mode of the legacy protocol: frames of its own and encryption, without HTTP and without WebSocket.

`handshake` makes a `link.TcpLink` out of a stream, and that is used like any other link. `framing`, `crypto`, `parser`
and `registration` are pure. Needs the extra ``tcp``: call `check_extra` before anything of this package is imported.

The encryption keeps out who only listens. Neither side proves who it is, so who can change what is on the way can stand
between the two; it is no replacement for TLS.
"""

from __future__ import annotations

import importlib

from maim_trio.errors import ConfigError

__all__ = ["check_extra"]


def check_extra() -> None:
    """Raises ConfigError, which says what to install, when the TCP mode cannot be used here."""
    try:
        importlib.import_module(f"{__name__}.crypto")
    except ImportError as error:
        raise ConfigError(
            f"the TCP mode needs the package cryptography: pip install 'maim-trio[tcp]' ({error})"
        ) from None
