"""How a legacy server lets a client in: over WebSocket before the upgrade is accepted, over TCP once it has said who it
is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from maim_trio._legacy._tcp import check_extra
from maim_trio._transport.handshake import Accept, Refuse, Request, accept_link
from maim_trio._wire.credentials import BadCredentials, origin_refused, read_legacy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from maim_trio._legacy._tcp.registration import Registration
    from maim_trio._legacy.host import Host
    from maim_trio._transport.link import Link

__all__ = ["LEGACY_HEADER", "Arrival", "accept", "check_mode"]

LEGACY_HEADER: Final = b"x-maim-legacy"
"""Of our 101: the client is let in, and needs not wait for the close with which maim_message refuses a token."""
RETRY_AFTER = 2
"""Seconds after which a client that met a full or stopping server is told to come back."""


class Arrival(NamedTuple):
    """A client that was let in."""

    link: Link
    platform: str


class Doorway:
    """One client at the door. `heard`: what it wants is known, so that it will get an answer."""

    def __init__(self, host: Host, stream: trio.abc.Stream) -> None:
        self.host = host
        self.stream = stream
        self.heard = False
        self.promised = False  # it has one of the places that `max_connections` leaves

    def admit(self, platform: str, token: str, remote: str) -> Refuse | None:
        """Why a client may not come in; None: there is a place for it. Synchronous, and the same for all modes."""
        host = self.host
        self.heard = True
        if host.stopping:
            return self.refused(_unavailable("this server is stopping", "stopping"), platform, remote)
        if host.is_full(platform):
            text = "the connection limit of this server is reached"
            return self.refused(_unavailable(text, "too_many_connections"), platform, remote)
        if not host.checks_token(token):
            body = {"error": _about(token), "code": "unauthorized"}
            return self.refused(Refuse(401, body), platform, remote)
        self.promised = True
        host.promised += 1
        return None

    def leave(self) -> None:
        """It has become a connection, or nothing came of it."""
        if self.promised:
            self.promised = False
            self.host.promised -= 1

    def refused(self, refusal: Refuse, platform: str, remote: str) -> Refuse:
        host, code = self.host, refusal.body["code"]
        host.stats.failed_connects += 1
        what = "refused %s with %d: %s (platform %s)"
        host.log.connection(what, remote or "a peer", refusal.status, code, platform)
        return refusal


def _about(token: str) -> str:
    return "this token is not valid" if token else "a token is needed, in the header Authorization"


async def accept(doorway: Doorway) -> Arrival | None:
    """Performs the opening handshake of the host's mode; None when it came to nothing, and the stream is closed."""
    return await _ACCEPT[doorway.host.mode](doorway)


def check_mode(mode: str) -> None:
    """Raises ConfigError for a mode that cannot be used here."""
    if mode == "tcp":
        check_extra()


async def _accept_ws(doorway: Doorway) -> Arrival | None:
    host = doorway.host
    platform = ""

    async def decide(request: Request) -> Accept | Refuse:
        nonlocal platform
        await trio.lowlevel.checkpoint()
        refusal, platform, token = _look_at(doorway, request)
        refusal = refusal or doorway.admit(platform, token, request.remote_ip)
        return refusal or Accept([(LEGACY_HEADER, b"1")])

    link = await accept_link(
        doorway.stream, decide, host.config.limits(), flusher=host.flusher, report=host.handshake_failed
    )
    return None if link is None else Arrival(link, platform)


async def _accept_tcp(doorway: Doorway) -> Arrival | None:
    from maim_trio._legacy._tcp.handshake import accept_tcp  # needs the extra

    host = doorway.host
    platform = ""

    async def decide(registration: Registration) -> bool:
        nonlocal platform
        await trio.lowlevel.checkpoint()
        platform = registration.platform
        return doorway.admit(platform, registration.token or "", registration.remote_ip) is None

    link = await accept_tcp(
        doorway.stream, decide, host.config.limits(), flusher=host.flusher, report=host.handshake_failed
    )
    return None if link is None else Arrival(link, platform)


def _look_at(doorway: Doorway, request: Request) -> tuple[Refuse | None, str, str]:
    """What is wrong with a request, whoever sends it; else None, and the platform and token in it."""
    host, headers, remote = doorway.host, request.headers, request.remote_ip
    doorway.heard = True
    try:
        path, platform, token = read_legacy(request.target, headers)
    except BadCredentials as error:
        return doorway.refused(Refuse(400, {"error": error.message, "code": "bad_request"}), "?", remote), "", ""
    refusal = None
    if path != host.path:
        refusal = Refuse(404, {"error": f"nothing here; the WebSocket is at {host.path}", "code": "not_found"})
    elif not request.is_upgrade:
        body = {"error": "this is a WebSocket endpoint: ask for an upgrade", "code": "upgrade_required"}
        refusal = Refuse(426, body, [(b"Upgrade", b"websocket")])
    elif origin_refused(
        _header(headers, b"origin"),
        _header(headers, b"host"),
        host.config.allowed_origins,
        anonymous=not host.config.enable_token,
    ):
        refusal = Refuse(403, {"error": "pages of this origin may not connect", "code": "origin_refused"})
    if refusal is not None:
        doorway.refused(refusal, platform, remote)
    return refusal, platform, token


def _unavailable(text: str, code: str) -> Refuse:
    return Refuse(503, {"error": text, "code": code}, [(b"Retry-After", b"%d" % RETRY_AFTER)])


def _header(headers: list[tuple[bytes, bytes]], name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in headers if key == name), None)


_ACCEPT: Final[dict[str, Callable[[Doorway], Awaitable[Arrival | None]]]] = {"ws": _accept_ws, "tcp": _accept_tcp}
"""The modes of a server. A further one has its entry here."""
