"""Masks payloads (RFC 6455 §5.3): by one function in C where there is one, else with the standard library."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .large import Unmask

__all__ = ["apply_mask", "xor_mask"]


def xor_mask(data: bytes | bytearray | memoryview, mask: bytes | bytearray) -> bytes:
    """Masks or unmasks (RFC 6455 §5.3) with the standard library only: ten to a hundred times slower than C."""
    size = len(data)
    stream = (bytes(mask) * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(stream, "little")).to_bytes(size, "little")


def _mask_in_c() -> Unmask | None:
    """The one C function of websockets, without the package around it: that would load a tenth of the standard library.

    None: the extra `speed` is not installed.
    """
    name = "websockets.speedups"
    package = importlib.util.find_spec("websockets")
    folders = None if package is None else package.submodule_search_locations
    spec = importlib.machinery.PathFinder.find_spec(name, folders) if folders else None
    if spec is None or spec.loader is None:
        return None
    try:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except ImportError:  # built for another Python
        return None
    found: Unmask = module.apply_mask
    return found


apply_mask: Unmask = _mask_in_c() or xor_mask
