"""How a secret is shown: enough to tell two apart, too little to use one."""

from __future__ import annotations

from typing import Final

__all__ = ["mask"]

_SHOWN: Final = 4
_HASH_DIGITS: Final = 6
# Below this length the shown characters would be more than half of the secret, and a hash would give it away: so few
# characters can all be tried.
_SHORTEST_TO_SHOW: Final = 8
_HIDDEN: Final = "…"


def mask(secret: str) -> str:
    """The first 4 characters and 6 hexadecimal digits of the SHA-256, e.g. ``demo…#3f0c1a``.

    A secret under 8 characters is ``…``, nothing of it is shown; an empty one is empty, because that is worth seeing.
    """
    if not secret:
        return ""
    if len(secret) < _SHORTEST_TO_SHOW:
        return _HIDDEN
    from hashlib import sha256  # loads OpenSSL, which importing messages need not wait for

    digest = sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{secret[:_SHOWN]}{_HIDDEN}#{digest[:_HASH_DIGITS]}"
