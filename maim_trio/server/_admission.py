"""The decision about one opening handshake, before the upgrade is accepted (wire protocol, section 1)."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

import trio

from maim_trio._runtime.hooks import Outcome
from maim_trio._transport.handshake import Accept, Refuse, Request
from maim_trio._transport.tls import peer_certificate
from maim_trio._wire.credentials import BadCredentials, Credentials, clean_headers, mask, origin_refused, read
from maim_trio.server._auth import AuthResult, default_user

if TYPE_CHECKING:
    from maim_trio._runtime.hooks import Handler
    from maim_trio._runtime.session import Session
    from maim_trio.server._host import Host

RETRY_AFTER = 2
"""Seconds after which a client that met a full or stopping server is told to come back."""


_ACCEPTED = Accept([(b"x-maim-protocol", b"1")])
_RESUMED = Accept([(b"x-maim-protocol", b"1"), (b"x-maim-resumed", b"1")])


class Admission:
    """One handshake: asks the hooks, finds the session, answers. `session` is set when it was accepted."""

    def __init__(self, server: Host, stream: trio.abc.Stream) -> None:
        self.session: Session | None = None
        self.credentials = Credentials("")
        self.metadata: dict[str, Any] = {}
        self._server = server
        self._stream = stream
        self._remote_ip = ""

    async def decide(self, request: Request) -> Accept | Refuse:
        """The answer to `request`. Ends with a 503 as soon as the server begins to stop."""
        self._remote_ip = request.remote_ip
        if self._server.stopping:
            return _stopping()
        return self._refuse_at_once(request) or await self._authenticate()

    def _refuse_at_once(self, request: Request) -> Refuse | None:
        """What needs no hook: path, upgrade, form of the credentials, origin, limits."""
        server, headers = self._server, request.headers
        try:
            path, self.credentials = read(request.target, headers)
        except BadCredentials as error:
            return self._refused(Refuse(400, {"error": error.message, "code": "bad_request"}))
        if path != server.path:
            return self._refused(
                Refuse(404, {"error": f"nothing here; the WebSocket is at {server.path}", "code": "not_found"})
            )
        if not request.is_upgrade:
            body = {"error": "this is a WebSocket endpoint: ask for an upgrade", "code": "upgrade_required"}
            return self._refused(Refuse(426, body, [(b"Upgrade", b"websocket")]))
        config = server.config
        origin, host = _first(request, b"origin"), _first(request, b"host")
        if origin_refused(origin, host, server.allowed_origins, anonymous=config.on_auth is None):
            return self._refused(
                Refuse(403, {"error": "pages of this origin may not connect", "code": "origin_refused"})
            )
        if server.is_full():
            return self._refused(_unavailable("the connection limit of this server is reached", "too_many_connections"))
        self.metadata = self._base_metadata(headers)
        return None

    async def _authenticate(self) -> Accept | Refuse:
        server, config = self._server, self._server.config
        user_id: str | None = None
        deadline = trio.current_time() + config.auth_timeout
        if config.on_auth is not None:
            server.stats.total_auth_requests += 1
            outcome = await self._ask("on_auth", config.on_auth, deadline)
            if outcome.failure is not None:
                return self._auth_failed(outcome.failure)
            verdict = outcome.value
            if not isinstance(verdict, AuthResult):
                verdict = AuthResult(False if verdict is None else verdict)
            if not isinstance(verdict.success, bool):  # a tuple that says no would be as true as one that says yes
                what = type(verdict.success).__name__
                server.stats.failed(f"on_auth answered with {what}")
                server.log.error("on_auth must return True, False or an AuthResult, not %s: nobody is let in", what)
                return self._auth_failed("raised")
            if not verdict.success:
                said = verdict.error_message
                return self._unauthorized(said or "authentication failed: this API key is not accepted")
            user_id = verdict.user_id
        if user_id is None:
            outcome = await self._extract_user(deadline)
            if outcome.failure is not None:
                return self._auth_failed(outcome.failure)
            user_id = outcome.value
        if not isinstance(user_id, str) or not user_id:
            return self._unauthorized("authentication failed: no user belongs to this API key")
        if config.on_auth is not None:
            server.stats.successful_auths += 1
        return self._admit(user_id)

    async def _extract_user(self, deadline: float) -> Outcome:
        config = self._server.config
        if config.on_auth_extract_user is not None:
            return await self._ask("on_auth_extract_user", config.on_auth_extract_user, deadline)
        return Outcome(default_user(config, self.credentials.api_key))

    async def _ask(self, name: str, hook: Handler, deadline: float) -> Outcome:
        secrets = (self.credentials.api_key,)
        metadata = dict(self.metadata)
        return await self._server.run_hook(name, hook, metadata, deadline=deadline, secrets=secrets, until_stop=True)

    def _admit(self, user_id: str) -> Accept | Refuse:
        """Decides on the identity. Synchronous: from here to the accepted session nothing else happens."""
        server = self._server
        if server.stopping:
            return self._refused(_stopping())
        if server.is_full():
            return self._refused(_unavailable("the connection limit is reached", "too_many_connections"))
        session, resumed = server.claim_session(user_id, self.credentials.connection_uuid, self.credentials.platform)
        if server.is_full_for(session):
            server.give_up_session(session)
            return self._refused(_unavailable("this user has too many connections", "too_many_connections"))
        self.session = session
        self.metadata.update(uuid=self.session.uuid, user_id=user_id, resumed=resumed)
        return _RESUMED if resumed else _ACCEPTED

    def _base_metadata(self, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
        cleaned = clean_headers(headers)
        certificate, certificate_info = peer_certificate(self._stream)
        return {
            "uuid": self.credentials.connection_uuid or str(uuid.uuid4()),
            "api_key": self.credentials.api_key,
            "platform": self.credentials.platform,
            "user_id": "",
            "headers": cleaned,
            "client_ip": self._remote_ip,
            "user_agent": cleaned.get("user-agent", ""),
            "client_cert": certificate,
            "client_cert_info": certificate_info,
            "connected_at": time.time(),
            "resumed": False,
        }

    # -- refusals

    def _unauthorized(self, text: str) -> Refuse:
        self._server.stats.failed_auths += 1
        return self._refused(Refuse(401, {"error": str(text), "code": "unauthorized"}))

    def _auth_failed(self, failure: str) -> Refuse:
        """A hook raised (500), was too slow or was cut short by a stop (503); why is in the log, never on the wire."""
        self._server.stats.failed_auths += failure != "cancelled"
        if self._server.stopping:
            return self._refused(_stopping())
        if failure == "raised":
            return self._refused(
                Refuse(500, {"error": "authentication is broken on this server", "code": "auth_error"})
            )
        return self._refused(_unavailable("authentication takes too long at the moment", "auth_timeout"))

    def _refused(self, refusal: Refuse) -> Refuse:
        server, who = self._server, self.credentials
        server.stats.failed_connects += 1
        server.log.connection(
            "refused %s with %d: %s (key %s, platform %s)",
            self._remote_ip or "a peer", refusal.status, refusal.body["code"], mask(who.api_key), who.platform,
        )  # fmt: skip
        return refusal


def _stopping() -> Refuse:
    return _unavailable("this server is stopping", "stopping")


def _unavailable(text: str, code: str) -> Refuse:
    return Refuse(503, {"error": text, "code": code}, [(b"Retry-After", b"%d" % RETRY_AFTER)])


def _first(request: Request, name: bytes) -> str | None:
    values = request.values(name)
    return values[0].decode("latin-1") if values else None
