"""TLS: contexts from files, with errors a person can act on, and a listener whose certificate can be replaced."""

from __future__ import annotations

import os
import ssl
import weakref
from functools import lru_cache
from typing import Any, Final, NamedTuple, cast

import trio

from maim_trio._transport.engine import TlsEngine
from maim_trio.errors import ConfigError

__all__ = [
    "TlsListener",
    "client_context",
    "client_stream",
    "explain",
    "is_lasting",
    "peer_certificate",
    "server_context",
    "server_stream",
    "speaks_plain_http",
    "take_engine",
    "unsent_alert",
]

MAX_CONTEXTS = 64
"""Client contexts that are kept: more different settings at a time are rare, and cost only the time to load them."""

_CERTIFICATE_MARK: Final = b"CERTIFICATE-----"  # also of the older kinds X509 CERTIFICATE and TRUSTED CERTIFICATE
_KEY_MARK: Final = b"PRIVATE KEY-----"


def server_context(*, certfile: str, keyfile: str, ca_certs: str | None, verify_clients: bool) -> ssl.SSLContext:
    """For the server side; TLS 1.2 is the floor. With `verify_clients` only clients with a certificate of `ca_certs`
    come in. The files are read at every call. Raises ConfigError that names the file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_certificate(context, certfile, keyfile)
    if verify_clients:
        if not ca_certs:
            raise ConfigError("ssl_verify needs ssl_ca_certs: the authorities whose certificates are accepted")
        _load_authorities(context, ca_certs)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(
    *, ca_certs: str | None, certfile: str | None, keyfile: str | None, verify: bool, check_hostname: bool
) -> ssl.SSLContext:
    """For the client side; TLS 1.2 is the floor. `ca_certs` None: the system's authorities. Raises ConfigError.

    One context serves all connections with the same settings, until one of its files changes: reading the system's
    authorities blocks for some 15 ms.
    """
    settings = _Settings(ca_certs, certfile, keyfile, verify, check_hostname and verify)
    return _client_context(settings, settings.stamps())


class _Settings(NamedTuple):
    """What makes one client context differ from another."""

    ca_certs: str | None
    certfile: str | None
    keyfile: str | None
    verify: bool
    check_hostname: bool

    def stamps(self) -> tuple[object, ...]:
        """Differs as soon as one of the files does. The system's authorities are found anew each time, too: they
        depend on the environment."""
        files = [self.certfile, self.keyfile]
        if self.verify:
            system = ssl.get_default_verify_paths()
            files += [self.ca_certs] if self.ca_certs else [system.cafile, system.capath]
        return tuple(_stamp(path) for path in files if path)


@lru_cache(maxsize=MAX_CONTEXTS)
def _client_context(settings: _Settings, _stamps: tuple[object, ...]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = settings.check_hostname
    if not settings.verify:
        context.verify_mode = ssl.CERT_NONE
    elif settings.ca_certs:
        _load_authorities(context, settings.ca_certs)
    else:
        context.load_default_certs()
    if settings.certfile:
        _load_certificate(context, settings.certfile, settings.keyfile)
    elif settings.keyfile:
        raise ConfigError("ssl_keyfile needs ssl_certfile: the certificate that the key belongs to")
    return context


def _stamp(path: str) -> tuple[object, ...]:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return (path, None)
    return path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class TlsListener(trio.abc.Listener[trio.SSLStream[trio.SocketStream]]):
    """Accepts TLS connections; the handshake itself happens with the first read. `context` may be replaced at any time:
    connections that are there keep theirs."""

    def __init__(self, inner: trio.SocketListener, context: ssl.SSLContext) -> None:
        self.context = context
        self.socket = inner.socket
        self._inner = inner

    async def accept(self) -> trio.SSLStream[trio.SocketStream]:
        return server_stream(await self._inner.accept(), self.context)

    async def aclose(self) -> None:
        await self._inner.aclose()


def server_stream(stream: trio.SocketStream, context: ssl.SSLContext) -> trio.SSLStream[trio.SocketStream]:
    """TLS over an accepted stream. The handshake happens with the first use."""
    return _tapped(stream, context, server_side=True)


def client_stream(
    stream: trio.SocketStream, context: ssl.SSLContext, server_hostname: str
) -> trio.SSLStream[trio.SocketStream]:
    """TLS over a connected stream. The handshake happens with the first use."""
    return _tapped(stream, context, server_hostname=server_hostname)


class _Tap:
    """Stands in for a context, to see what trio's stream works with."""

    session: ssl.SSLObject
    incoming: ssl.MemoryBIO
    outgoing: ssl.MemoryBIO

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, **options: Any) -> ssl.SSLObject:
        self.session = self._context.wrap_bio(incoming, outgoing, **options)
        self.incoming, self.outgoing = incoming, outgoing
        return self.session


_taps: weakref.WeakKeyDictionary[trio.abc.Stream, _Tap] = weakref.WeakKeyDictionary()


def _tapped(stream: trio.SocketStream, context: ssl.SSLContext, **options: Any) -> trio.SSLStream[trio.SocketStream]:
    tap = _Tap(context)
    tls = trio.SSLStream(stream, cast("ssl.SSLContext", tap), https_compatible=True, **options)
    _taps[tls] = tap
    return tls


def take_engine(stream: trio.abc.Stream) -> TlsEngine | None:
    """What reads and writes on the socket of a TLS stream whose handshake is through, instead of the stream. None for
    what is no TLS stream of ours."""
    tap = _taps.pop(stream, None)
    return None if tap is None else TlsEngine(tap.session, tap.incoming, tap.outgoing)


def unsent_alert(stream: trio.abc.Stream) -> bytes:
    """What OpenSSL has to say to the peer about a handshake that failed (RFC 8446, section 6.2). trio leaves it unsent,
    and the peer would see nothing but the end of TCP."""
    tap = _taps.pop(stream, None)
    return b"" if tap is None else tap.outgoing.read()


def peer_certificate(stream: trio.abc.Stream) -> tuple[str, dict[str, Any] | None]:
    """The certificate the other side has shown, as PEM text and as a dict: ``("", None)`` when there is none."""
    if not isinstance(stream, trio.SSLStream):
        return "", None
    try:
        binary = stream.getpeercert(binary_form=True)
        return (ssl.DER_cert_to_PEM_cert(binary), stream.getpeercert()) if binary else ("", None)
    except (trio.NeedHandshakeError, ValueError):
        return "", None


# -- what went wrong on a connection

_PLAIN_HTTP: Final = "HTTP_REQUEST"  # OpenSSL's own look at what came instead of TLS

_WANTS_CERTIFICATE: Final = "the server asks for a client certificate: set ssl_certfile and ssl_keyfile"
_NOT_ACCEPTED: Final = "the other side did not accept our certificate"
_NO_TLS: Final = "the other side speaks no TLS here: a url that begins with wss:// should perhaps begin with ws://"
_ENDED: Final = "the other side has closed the connection; perhaps it speaks no TLS there (ws://)"
_NO_COMMON_VERSION: Final = "no version of TLS in common: 1.2 is the lowest"

_EXPLANATIONS: Final = {
    _PLAIN_HTTP: "plain HTTP where TLS was expected: a url that begins with ws:// should begin with wss://",
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "PACKET_LENGTH_TOO_LONG": _NO_TLS,
    "RECORD_LAYER_FAILURE": _NO_TLS,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _WANTS_CERTIFICATE,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": f"refused; perhaps {_WANTS_CERTIFICATE}",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the client showed no certificate",
    "TLSV1_ALERT_UNKNOWN_CA": _NOT_ACCEPTED,
    "SSLV3_ALERT_BAD_CERTIFICATE": _NOT_ACCEPTED,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _NOT_ACCEPTED,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": f"{_NOT_ACCEPTED}: it has expired",
    "UNSUPPORTED_PROTOCOL": _NO_COMMON_VERSION,
    "TLSV1_ALERT_PROTOCOL_VERSION": _NO_COMMON_VERSION,
    "NO_PROTOCOLS_AVAILABLE": _NO_COMMON_VERSION,
}


_UNKNOWN_AUTHORITY: Final = "; ssl_ca_certs names the file of its authority (in the older half: ssl_verify)"

_REMEDIES: Final = {  # by OpenSSL's X509_V_ERR_*
    9: "; it is valid only later, or the clock of this machine is wrong",
    10: "; it has to be renewed, or the clock of this machine is wrong",
    18: _UNKNOWN_AUTHORITY,
    19: _UNKNOWN_AUTHORITY,
    20: _UNKNOWN_AUTHORITY,
    21: _UNKNOWN_AUTHORITY,
    62: "; the url must name the server as its certificate does",
    64: "; the url must name the server as its certificate does",
}
_NOT_SOON: Final = frozenset({_NO_TLS, _WANTS_CERTIFICATE, _NOT_ACCEPTED, f"{_NOT_ACCEPTED}: it has expired"})


def explain(error: ssl.SSLError) -> str:
    """Why a TLS handshake failed, in words that show nothing of what was sent, and what helps."""
    if isinstance(error, ssl.SSLCertVerificationError):
        said = error.verify_message.rstrip(".")
        return f"TLS certificate not accepted: {said}{_REMEDIES.get(getattr(error, 'verify_code', 0), '')}"
    if isinstance(error, ssl.SSLEOFError):
        return f"TLS handshake failed: {_ENDED}"
    reason = getattr(error, "reason", None) or "connection closed"
    explanation = _EXPLANATIONS.get(reason)
    return f"TLS handshake failed: {explanation} ({reason})" if explanation else f"TLS handshake failed: {reason}"


def is_lasting(error: BaseException | None) -> bool:
    """Whether somebody has to change something before such a handshake can succeed: certificates, or the url."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return True
    return isinstance(error, ssl.SSLError) and _EXPLANATIONS.get(getattr(error, "reason", None) or "") in _NOT_SOON


def speaks_plain_http(error: BaseException) -> bool:
    """Whether a stream broke because its peer sent an HTTP request where TLS was expected."""
    cause = error.__cause__
    return isinstance(cause, ssl.SSLError) and getattr(cause, "reason", None) == _PLAIN_HTTP


# -- files


def _load_certificate(context: ssl.SSLContext, certfile: str, keyfile: str | None) -> None:
    _check_file("ssl_certfile", certfile, _CERTIFICATE_MARK, "certificate")
    if keyfile:
        _check_file("ssl_keyfile", keyfile, _KEY_MARK, "private key")
    try:
        context.load_cert_chain(certfile, keyfile, password=_no_password)
    except ssl.SSLError as error:
        if "KEY_VALUES_MISMATCH" in str(error):
            raise ConfigError(f"ssl_keyfile {keyfile} does not belong to the certificate in {certfile}") from None
        files = f"ssl_certfile {certfile}" if keyfile is None else f"ssl_certfile {certfile} or ssl_keyfile {keyfile}"
        raise ConfigError(f"{files} is damaged{_reason(error)}") from None


def _load_authorities(context: ssl.SSLContext, path: str) -> None:
    _check_file("ssl_ca_certs", path, _CERTIFICATE_MARK, "certificate")
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise ConfigError(f"ssl_ca_certs {path} is damaged{_reason(error)}") from None


def _check_file(name: str, path: str, mark: bytes, what: str) -> None:
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise ConfigError(f"{name} {path} cannot be read: {error.strerror}") from None
    except ValueError as error:  # a NUL in the path
        raise ConfigError(f"{name} cannot be read: {error}") from None
    if mark not in content:
        raise ConfigError(f"{name} {path} holds no {what} in PEM form")


def _no_password() -> str:
    """Without this OpenSSL would ask on the terminal and block the program."""
    raise ConfigError("ssl_keyfile is protected by a password: give an unprotected key that only this user can read")


def _reason(error: ssl.SSLError) -> str:
    return f" ({error.reason.replace('_', ' ').lower()})" if error.reason else ""
