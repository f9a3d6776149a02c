"""The file of each connection's durable outbox, where one path was given for all of them."""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePath
from typing import Final

_PLAIN: Final = r"[a-z0-9_-]{1,64}"
"""Names that can be part of a file name as they are, also where capital letters do not count."""
_OTHER: Final = r"[^a-z0-9_-]+"
_SHOWN: Final = 32
"""Characters of any other name that are shown."""


def outbox_of(path: str, name: str) -> str:
    """``outbox.db`` and ``qq`` make ``outbox-qq.db``, in the same folder.

    A name with other characters is shown as far as it can be, and a hash of it follows behind ``~``, which no plain
    name has: different names never get the same file.
    """
    if not re.fullmatch(_PLAIN, name):
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        name = f"{re.sub(_OTHER, '_', name.lower())[:_SHOWN]}~{digest}"
    whole = PurePath(path)
    return str(whole.with_name(f"{whole.stem}-{name}{whole.suffix}"))
