"""Where a legacy client connects to, and one attempt to do so."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

import trio

from maim_trio._legacy._tcp import check_extra
from maim_trio._legacy.accept import LEGACY_HEADER
from maim_trio._legacy.pace import Ending, of_verdict
from maim_trio._transport.handshake import HandshakeFailed, open_link
from maim_trio._transport.tls import client_context, client_stream
from maim_trio._wire.close import after_refusal
from maim_trio._wire.credentials import MAX_NAME, write_legacy
from maim_trio.client._dial import detail_of, reason_of
from maim_trio.client._url import WEBSOCKET_PORTS, Address, parse_url
from maim_trio.errors import ConfigError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    from maim_trio._transport.limits import Limits
    from maim_trio._transport.link import Link

    OpenStream = Callable[["Target"], Awaitable[trio.abc.Stream]]

__all__ = ["Dialled", "Target", "dial", "make_target", "open_stream"]


_ACCEPTED: Final = LEGACY_HEADER.decode()
_TCP_PORTS: Final = {"tcp": 18000, "tcps": 18000}
_OR_TCP: Final = ", and with tcp:// if it is in TCP mode"
_NOT_LET_IN: Final = (
    "the server ended the connection when it had seen platform and token: it does not let this client in"
)


@dataclass(frozen=True, slots=True)
class Target:
    """A server, and who we are there."""

    url: str = field(repr=False)
    platform: str
    token: str = field(repr=False)
    ssl_verify: str | bool
    address: Address

    @property
    def scheme(self) -> str:
        """``"ws"``, ``"wss"``, ``"tcp"`` or ``"tcps"``."""
        return self.address.shown.partition("://")[0]

    @property
    def secrets(self) -> tuple[str, ...]:
        """The token in every form in which it travels; no line of the log may show it."""
        return (self.token, quote(self.token, safe="", errors="replace")) if self.token else ()

    def tls_context(self) -> ssl.SSLContext | None:
        """None for a connection without TLS. Raises ConfigError for a CA file that cannot be used."""
        if not self.address.secure:
            return None
        ca_certs = self.ssl_verify if isinstance(self.ssl_verify, str) else None
        verify = self.ssl_verify is not False
        return client_context(ca_certs=ca_certs, certfile=None, keyfile=None, verify=verify, check_hostname=verify)


class Dialled(NamedTuple):
    """A link. `accepted`: the server is known to have let us in."""

    link: Link
    accepted: bool


def make_target(
    url: object, platform: object, token: object = None, ssl_verify: object = None, *, name: str = "connect"
) -> Target:
    """Checks everything that can be checked without the network. Raises ConfigError, which never shows the token."""
    if not isinstance(url, str):
        raise ConfigError(f"{name}: url must be a string, not {type(url).__name__}")
    if not isinstance(platform, str) or not 0 < len(platform) <= MAX_NAME:
        raise ConfigError(f"{name}: platform must be a string of 1 to {MAX_NAME} characters")
    if not isinstance(token, str | None):
        raise ConfigError(f"{name}: token must be a string or None, not {type(token).__name__}")
    if ssl_verify is None:
        ssl_verify = True
    if not isinstance(ssl_verify, str | bool):
        raise ConfigError(
            f"{name}: ssl_verify must be the path of a CA file, True, False or None, not {type(ssl_verify).__name__}"
        )
    try:
        target = Target(url, platform, token or "", ssl_verify, _address(url))
        write_legacy(target.address.target, platform, target.token)
        target.tls_context()
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None
    return target


def _address(url: str) -> Address:
    address = parse_url(url, {**WEBSOCKET_PORTS, **_TCP_PORTS})
    if address.shown.startswith("tcp"):
        check_extra()
    return address


async def open_stream(target: Target) -> trio.abc.Stream:
    """A TCP connection to the first address of the host that answers, under TLS where wanted. Raises OSError."""
    context, address = target.tls_context(), target.address
    stream = await trio.open_tcp_stream(address.host, address.port)
    return stream if context is None else client_stream(stream, context, address.host)


async def dial(target: Target, limits: Limits, open_stream: OpenStream) -> Dialled | Ending:
    """A link to the server, or why there is none. Never longer than `limits.handshake_timeout`."""
    timeout = limits.handshake_timeout
    with trio.move_on_after(timeout):
        try:
            open_it = _open_tcp if target.scheme in _TCP_PORTS else _open_ws
            return await open_it(target, limits, await open_stream(target))
        except HandshakeFailed as failure:
            detail = detail_of(failure, tls=target.address.secure, secrets=target.secrets, tcp_mode=_OR_TCP)
            retry_after = failure.headers.get("retry-after")
            verdict = after_refusal(
                failure.status, retry_after, now=time.time(), detail=detail, lasting=failure.lasting
            )
            return of_verdict(verdict)
        except ValueError as error:  # a CA file that has gone, a name that no resolver can be asked about
            return Ending(f"cannot connect as configured: {error}", refused=True)
        except OSError as error:
            return of_verdict(after_refusal(0, now=time.time(), detail=reason_of(error)))
    return of_verdict(after_refusal(0, now=time.time(), detail=f"no answer within {timeout:g} s"))


async def _open_tcp(target: Target, limits: Limits, stream: trio.abc.Stream) -> Dialled | Ending:
    from maim_trio._legacy._tcp.handshake import RegistrationRefused, open_tcp  # needs the extra

    try:
        return Dialled(await open_tcp(stream, target.platform, target.token or None, limits), accepted=True)
    except RegistrationRefused:
        return Ending(_NOT_LET_IN if target.token else f"{_NOT_LET_IN}; this client sends no token", refused=True)


async def _open_ws(target: Target, limits: Limits, stream: trio.abc.Stream) -> Dialled:
    address = target.address
    path, headers = write_legacy(address.target, target.platform, target.token)
    link = await open_link(stream, host=address.host_header, target=path, headers=headers, limits=limits)
    return Dialled(link, _ACCEPTED in link.response_headers)
