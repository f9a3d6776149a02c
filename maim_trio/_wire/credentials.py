"""Who connects: API key, platform and connection id, to and from the opening handshake."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote_to_bytes, urlsplit

import msgspec

from maim_trio.errors import ConfigError
from maim_trio.message._mask import mask

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "BadCredentials",
    "Credentials",
    "check",
    "clean_headers",
    "mask",
    "origin_refused",
    "read",
    "read_legacy",
    "write",
    "write_legacy",
]

API_KEY_HEADER: Final = "x-apikey"
PLATFORM_HEADER: Final = "x-platform"
UUID_HEADER: Final = "x-uuid"
LEGACY_PLATFORM_HEADER: Final = "platform"
LEGACY_TOKEN_HEADER: Final = "authorization"  # noqa: S105 - the name of a header; the value is the bare token
LEGACY_TOKEN_PARAMETER: Final = "token"  # noqa: S105
API_KEY_PARAMETER: Final = "api_key"
PLATFORM_PARAMETER: Final = "platform"

UNKNOWN_PLATFORM: Final = "unknown"
MAX_API_KEY: Final = 4096
"""Characters; roomy enough for a signed token."""
MAX_NAME: Final = 256
"""Characters of a platform or connection id: both become keys of registries and parts of log lines."""

_SAY_WHO: Final = {
    name.encode(): name
    for name in (API_KEY_HEADER, PLATFORM_HEADER, UUID_HEADER, LEGACY_PLATFORM_HEADER, LEGACY_TOKEN_HEADER)
}
_SECRET_HEADERS: Final = frozenset({"authorization", API_KEY_HEADER, "cookie", "proxy-authorization"})
# What the WebSocket library writes itself; a second copy would break or falsify the handshake.
_HANDSHAKE_HEADERS: Final = frozenset({"host", "connection", "upgrade", "content-length", "transfer-encoding"})
# Compiled when first needed (`re` keeps them), as it takes longer than all else that is done when this is imported.
_HEADER_NAME: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # RFC 9110 section 5.6.2
_CONTROL: Final = r"[\x00-\x1f\x7f-\x9f]"
_ABSOLUTE_FORM: Final = r"\A[A-Za-z][A-Za-z0-9+.-]*://[^/?]*"
_SAFE_IN_TARGET: Final = "%/?:@!$&'()*+,;=-._~[]"


class BadCredentials(Exception):
    """The handshake names a key, platform or connection id that cannot be one: HTTP 400. The text holds no secret."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Credentials(msgspec.Struct, frozen=True, gc=False):
    """What a client says about itself in the opening handshake; nothing of it is verified here.

    `api_key` is "" when none was sent, `connection_uuid` None when the client leaves the choice to the server.
    """

    api_key: str
    platform: str = UNKNOWN_PLATFORM
    connection_uuid: str | None = None

    def __repr__(self) -> str:
        key = mask(self.api_key)
        return f"Credentials(api_key={key!r}, platform={self.platform!r}, connection_uuid={self.connection_uuid!r})"


def read(target: str, headers: Sequence[tuple[bytes, bytes]]) -> tuple[str, Credentials]:
    """The percent-decoded path and the credentials of a request head; raises `BadCredentials`.

    The query wins over headers, the first value over repetitions, and an empty value counts as absent.
    """
    path, _, query = _origin_form(target).partition("?")
    parameters, named = _parse_query(query), _first_values(headers)
    credentials = Credentials(
        api_key=_find("API key", MAX_API_KEY, parameters, API_KEY_PARAMETER, named, API_KEY_HEADER) or "",
        platform=_find("platform", MAX_NAME, parameters, PLATFORM_PARAMETER, named, PLATFORM_HEADER)
        or UNKNOWN_PLATFORM,
        connection_uuid=_find("connection id", MAX_NAME, {}, "", named, UUID_HEADER),
    )
    # A path that is not UTF-8 matches no configured one; the caller's 404 says so better than a 400.
    return unquote_to_bytes(path or "/").decode(errors="replace"), credentials


def write(
    target: str,
    api_key: str,
    platform: str,
    connection_uuid: str | None,
    user_headers: Mapping[str, str],
) -> tuple[str, list[tuple[bytes, bytes]]]:
    """The request target and headers of a client's handshake. Ours win over `user_headers` of the same name.

    What a header cannot carry unchanged goes into the query, percent-encoded. Raises `ConfigError` for control
    characters anywhere, for a connection id that is not plain ASCII, and for headers that belong to the handshake.
    """
    _refuse_unsendable(url=target, api_key=api_key, platform=platform, connection_uuid=connection_uuid or "")
    headers: list[tuple[bytes, bytes]] = []
    parameters: list[str] = []
    for value, header, parameter in (
        (api_key, API_KEY_HEADER, API_KEY_PARAMETER),
        (platform, PLATFORM_HEADER, PLATFORM_PARAMETER),
        (connection_uuid, UUID_HEADER, ""),
    ):
        if not value:
            continue
        if _survives_in_header(value):
            headers.append((header.encode(), value.encode()))
        else:
            parameters.append(f"{parameter}={_percent_encode(parameter, value)}")
    return _join(target, parameters), headers + _encode_user_headers(user_headers)


def read_legacy(target: str, headers: Sequence[tuple[bytes, bytes]]) -> tuple[str, str, str]:
    """The percent-decoded path, the platform and the token ("" when there is none) of a legacy request head.

    Headers win: they are what the protocol asks for. The query is for clients that cannot set any, such as web pages.
    Raises `BadCredentials`.
    """
    path, _, query = _origin_form(target).partition("?")
    parameters, named = _parse_query(query), _first_values(headers)

    def find(what: str, max_length: int, header: str, parameter: str) -> str | None:
        found = _find(what, max_length, {}, "", named, header)
        return found or _find(what, max_length, parameters, parameter, {}, "")

    platform = find("platform", MAX_NAME, LEGACY_PLATFORM_HEADER, PLATFORM_PARAMETER) or UNKNOWN_PLATFORM
    token = find("token", MAX_API_KEY, LEGACY_TOKEN_HEADER, LEGACY_TOKEN_PARAMETER) or ""
    return unquote_to_bytes(path or "/").decode(errors="replace"), platform, token


def write_legacy(target: str, platform: str, token: str) -> tuple[str, list[tuple[bytes, bytes]]]:
    """The request target and headers of a legacy client's handshake; what is not ASCII goes as UTF-8, as the peer's.

    Raises `ConfigError` for what a header cannot carry unchanged.
    """
    _refuse_unsendable(url=target, connection_uuid="", platform=platform, token=token)
    headers: list[tuple[bytes, bytes]] = []
    for name, header, value in (
        ("platform", LEGACY_PLATFORM_HEADER, platform),
        ("token", LEGACY_TOKEN_HEADER, token),
    ):
        if value != value.strip():
            raise ConfigError(f"{name} begins or ends with a space, which does not survive in a header")
        if value:
            headers.append((header.encode(), _utf8(name, value)))
    return _join(target, ()), headers


def clean_headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers as text under lower-case names, without those that carry secrets; repeated ones are joined by ", "."""
    cleaned: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name = raw_name.decode("latin-1").lower()
        if name in _SECRET_HEADERS:
            continue
        value = _decode_header(raw_value)
        cleaned[name] = f"{cleaned[name]}, {value}" if name in cleaned else value
    return cleaned


def origin_refused(origin: str | None, host: str | None, allowed: Sequence[str] | None, anonymous: bool) -> bool:
    """Whether a browser page of this `Origin` is kept out (HTTP 403). A request without Origin is no browser's.

    With `allowed` set, only its members may connect ("*" stands for all). Without it, and when nobody is
    authenticated (`anonymous`), only pages of the very host asked for, on any port: otherwise every page on the web
    could talk to an open server on its visitor's localhost.
    """
    if not origin:
        return False
    if allowed is not None:
        return "*" not in allowed and _normal_origin(origin) not in map(_normal_origin, allowed)
    if not anonymous:
        return False
    page = _hostname(origin.partition("://")[2])
    return page is None or page != _hostname(host or "")


def _parse_query(query: str) -> dict[str, bytes]:
    """The first non-empty value of each parameter, as bytes. ``+`` is a space: URLSearchParams writes it so."""
    parameters: dict[str, bytes] = {}
    if not query:
        return parameters
    for pair in query.split("&"):
        raw_name, _, raw_value = pair.partition("=")
        if raw_value:
            name = unquote_to_bytes(raw_name.replace("+", " ")).decode(errors="replace")
            parameters.setdefault(name, unquote_to_bytes(raw_value.replace("+", " ")))
    return parameters


def _first_values(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, bytes]:
    """The first value that is not empty of each header that says who connects."""
    found: dict[str, bytes] = {}
    for raw_name, value in headers:
        name = _SAY_WHO.get(raw_name.lower())
        if name is not None and name not in found and value.strip(b" \t"):
            found[name] = value
    return found


def _find(
    what: str,
    max_length: int,
    parameters: Mapping[str, bytes],
    parameter: str,
    headers: Mapping[str, bytes],
    header: str,
) -> str | None:
    """The value of one credential from query or headers, checked; None when it is absent."""
    raw = parameters.get(parameter)
    if raw is not None:
        try:
            value = raw.decode()
        except UnicodeDecodeError:
            raise BadCredentials(f"the {what} in the query is not valid UTF-8") from None
    else:
        value = _decode_header(headers.get(header, b""))
    check(what, value, max_length)
    return value or None


def check(what: str, value: str, max_length: int) -> None:
    """Raises `BadCredentials` for what is too long, or would break a line of the log."""
    if len(value) > max_length:
        raise BadCredentials(f"the {what} is longer than {max_length} characters")
    if _has_control(value):
        raise BadCredentials(f"the {what} contains a control character")


def _has_control(value: str) -> bool:
    return not value.isprintable() and re.search(_CONTROL, value) is not None


def _origin_form(target: str) -> str:
    """Path and query of a request target, which may be a whole URL."""
    return target if target.startswith("/") else re.sub(_ABSOLUTE_FORM, "", target, count=1)


def _decode_header(raw: bytes) -> str:
    raw = raw.strip(b" \t")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _survives_in_header(value: str) -> bool:
    # HTTP strips white space around a header's value.
    return value.isascii() and value == value.strip()


def _refuse_unsendable(*, connection_uuid: str, **others: str) -> None:
    for name, value in (*others.items(), ("connection_uuid", connection_uuid)):
        if _has_control(value):
            raise ConfigError(f"{name} contains a control character")
    if not _survives_in_header(connection_uuid):
        # Unlike key and platform it has no place in the query.
        raise ConfigError("connection_uuid must be plain ASCII without spaces around it")


def _percent_encode(name: str, value: str) -> str:
    try:
        return quote(value, safe="")
    except UnicodeEncodeError:
        raise ConfigError(f"{name} contains a lone surrogate") from None


def _utf8(name: str, value: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{name} contains a lone surrogate") from None


def _join(target: str, parameters: Sequence[str]) -> str:
    try:
        target = quote(target, safe=_SAFE_IN_TARGET)
    except UnicodeEncodeError:
        raise ConfigError("url contains a lone surrogate") from None
    if not parameters:
        return target
    separator = "" if target.endswith(("?", "&")) else "&" if "?" in target else "?"
    return target + separator + "&".join(parameters)


def _encode_user_headers(user_headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    encoded: list[tuple[bytes, bytes]] = []
    for name, value in user_headers.items():
        lower = name.lower()
        if not re.fullmatch(_HEADER_NAME, name):
            raise ConfigError(f"headers: {name!r:.80} is not a header name")
        if lower in _HANDSHAKE_HEADERS or lower.startswith("sec-websocket-"):
            raise ConfigError(f"headers: {name!r:.80} belongs to the handshake itself")
        if _has_control(value.replace("\t", " ")):
            raise ConfigError(f"headers: the value of {name!r:.80} contains a control character")
        if lower in (API_KEY_HEADER, PLATFORM_HEADER, UUID_HEADER):
            continue
        try:
            encoded.append((name.encode(), value.encode()))
        except UnicodeEncodeError:
            raise ConfigError(f"headers: the value of {name!r:.80} contains a lone surrogate") from None
    return encoded


def _normal_origin(origin: str) -> str:
    return origin.strip().rstrip("/").lower()


def _hostname(authority: str) -> str | None:
    """The host without port, in lower case; None when there is none or it cannot be read."""
    try:
        hostname = urlsplit(f"//{authority}").hostname
    except ValueError:
        return None
    return hostname.rstrip(".") if hostname else None
