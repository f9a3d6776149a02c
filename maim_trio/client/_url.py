"""Where a client connects to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import msgspec

from maim_trio.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

WEBSOCKET_PORTS: Final = {"ws": 80, "wss": 443}
"""The port where a URL names none."""
MAX_HOST = 253
"""Characters of a name in the DNS (RFC 1035, section 3.1)."""


class Address(msgspec.Struct, frozen=True, gc=False):
    """A parsed URL. `shown` is for logs: without query and user, which may hold secrets."""

    secure: bool
    host: str
    port: int
    host_header: str
    target: str
    shown: str

    def __repr__(self) -> str:
        return f"Address({self.shown!r})"


def parse_url(url: str, ports: Mapping[str, int] = WEBSOCKET_PORTS) -> Address:
    """The address in a URL of one of the schemes in `ports`, which are those of URLs without a port.

    Raises ConfigError that says what is wrong with `url`, without repeating what may be secret in it.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError("url is not a valid URL: it must look like ws://host:port/ws") from None
    if parts.scheme not in ports:
        expected = " or ".join(f"{scheme}://" for scheme in ports)
        raise ConfigError(f"url must begin with {expected}, not {parts.scheme[:20] or 'nothing'!r}")
    if not parts.hostname:
        raise ConfigError("url names no host: it must look like ws://host:port/ws")
    if not _is_host(parts.hostname) or port == 0:
        raise ConfigError("url names a host or port that cannot be: it must look like ws://host:port/ws")
    default = ports[parts.scheme]
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    host_header = host if port in (None, default) else f"{host}:{port}"
    path = parts.path or "/"
    return Address(
        secure=parts.scheme == "wss",
        host=parts.hostname,
        port=port or default,
        host_header=host_header,
        target=f"{path}?{parts.query}" if parts.query else path,
        shown=f"{parts.scheme}://{host_header}{path}",
    )


def _is_host(host: str) -> bool:
    """Whether name resolution can be asked about it; it would raise what is no OSError otherwise."""
    if ":" in host:
        return True  # IPv6, which urlsplit has looked at
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return len(host) <= MAX_HOST and host.isprintable() and " " not in host
