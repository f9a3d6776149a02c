"""HTTP/1.1 heads of the opening handshake, pure: parsing requests and answers, writing refusals.

Stricter than the standard where that costs no honest peer anything: no line folding, exactly one Host, visible ASCII
targets.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "Accept",
    "BadHead",
    "HandshakeFailed",
    "Refuse",
    "Request",
    "Response",
    "find_end",
    "parse_request",
    "parse_response",
]

Headers = list[tuple[bytes, bytes]]

# For `translate` to take out: faster than a pattern, and nothing to be compiled when a client is imported.
_TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_VISIBLE = bytes(range(0x21, 0x7F))
_ILLEGAL_IN_VALUE = b"\x00\r\n\x0b\x0c"

_NO_ANSWER = "the answer is not HTTP"
_STATUS_LINE = rb"HTTP/1\.\d ([1-9]\d\d)(?: [^\x00\r\n]*)?"
_BLANK_LINES = (b"\n\r\n", b"\n\n")
_TLS_RECORDS = (0x15, 0x16)  # alert and handshake

_OF_HANDSHAKE = frozenset(
    (
        b"host",
        b"upgrade",
        b"connection",
        b"sec-websocket-key",
        b"sec-websocket-version",
        b"sec-websocket-protocol",
        b"sec-websocket-extensions",
    )
)
"""What decides about an upgrade."""


class BadHead(Exception):
    """A head that is not what HTTP/1.1 or the handshake asks for.

    `status` is the answer that fits, 0 when an answer makes no sense; `reason` is one short clause without anything the
    peer has sent.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason


class HandshakeFailed(Exception):
    """The server has not opened the link.

    `status` is the HTTP status of its refusal, 0 when there was none; `message` says in short what happened, without
    anything secret. `body` (at most 64 KiB) and `headers` (names in lower case) are the refusal's. `no_http`: what
    came, if anything, was no HTTP. `lasting`: trying again soon is of no use, as with a certificate that does not fit.
    """

    def __init__(
        self,
        status: int,
        message: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        no_http: bool = False,
        lasting: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.body = body
        self.headers: Mapping[str, str] = headers or {}
        self.no_http = no_http
        self.lasting = lasting


class Request:
    """The head of a request.

    `target` is path and query as they were sent (ASCII), `headers` all headers in order, names in lower case;
    `remote` and `remote_ip` the peer's address ("" when unknown). The repr shows neither headers nor query: they hold
    keys.
    """

    __slots__ = ("_values", "headers", "http_version", "is_upgrade", "method", "remote", "remote_ip", "target")

    def __init__(
        self, method: str, target: str, headers: Headers, http_version: str, remote: str = "", remote_ip: str = ""
    ) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.http_version = http_version
        self.remote = remote
        self.remote_ip = remote_ip
        values: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            if name in values:
                values[name].append(value)
            else:
                values[name] = [value]
        self._values = values
        self.is_upgrade = self._says(b"upgrade", b"websocket") and self._says(b"connection", b"upgrade")
        """Whether the request asks for a WebSocket (RFC 6455 §4.2.1)."""

    def values(self, name: bytes) -> Sequence[bytes]:
        """The values of all headers of that name (lower case)."""
        return self._values.get(name, ())

    def _says(self, name: bytes, token: bytes) -> bool:
        said = b",".join(self._values.get(name, ())).lower()
        return said == token or token in [part.strip() for part in said.split(b",")]

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.target.partition('?')[0]} from {self.remote or 'a stream'}>"


class Accept(msgspec.Struct, frozen=True):
    """The request becomes a link; `headers` go into the 101. `ValueError` for a header that cannot be written."""

    headers: Headers = []

    def __post_init__(self) -> None:
        check_headers(self.headers)

    def __repr__(self) -> str:
        return "Accept()"


class Refuse(msgspec.Struct, frozen=True):
    """The request is answered with `status`, one line of JSON and further `headers`, then TCP is closed.

    `ValueError` for a status outside 400 to 599 or a header that cannot be written.
    """

    status: int
    body: Mapping[str, Any]
    headers: Headers = []

    def __post_init__(self) -> None:
        if not 400 <= self.status <= 599:
            raise ValueError(f"{self.status} is no status of a refusal")
        check_headers(self.headers)

    def __repr__(self) -> str:
        return f"Refuse(status={self.status!r}, body={self.body!r})"

    def encoded(self, *, body: bool = True) -> bytes:
        """The whole answer; without its body for a HEAD request."""
        import json  # no client needs it

        text = json.dumps(self.body).encode() + b"\n"
        upgrade = any(name.lower() == b"upgrade" for name, _ in self.headers)
        headers: Headers = [
            (b"Content-Type", b"application/json"),
            (b"Content-Length", b"%d" % len(text)),
            # An Upgrade header must be named in Connection (RFC 9110 §7.8).
            (b"Connection", b"Upgrade, close" if upgrade else b"close"),
            *self.headers,
        ]
        lines = [b"HTTP/1.1 %d %b" % (self.status, _phrase(self.status)), *(b"%b: %b" % pair for pair in headers)]
        return b"\r\n".join(lines) + b"\r\n\r\n" + (text if body else b"")


class Response(msgspec.Struct, frozen=True):
    """The head of an answer; header names in lower case, of several with one name the last."""

    status: int
    headers: dict[str, str]

    def __repr__(self) -> str:
        return f"Response(status={self.status!r})"


def check_headers(headers: Sequence[tuple[bytes, bytes]]) -> None:
    """`ValueError`, naming the header but never its value, for what cannot be written into a head."""
    for name, value in headers:
        if not _is_token(name):
            raise ValueError("a header name is not a token")
        if value.translate(None, _ILLEGAL_IN_VALUE) != value or value != value.strip(b" \t"):
            raise ValueError(f"the value of header {name.decode()} holds a line break, NUL or outer blanks")


def check_target(target: str) -> None:
    """`ValueError` for a path and query that cannot stand in a request line; they are not shown."""
    if not (target.startswith("/") and target.isascii() and target.isprintable() and " " not in target):
        raise ValueError("the target is not visible ASCII beginning with a slash")


def find_end(buffer: bytes | bytearray, start: int = 0) -> int:
    """Where the head in `buffer` ends, its blank line included; -1 when that has not come yet."""
    ends = [found + len(blank) for blank in _BLANK_LINES if (found := buffer.find(blank, start)) >= 0]
    return min(ends, default=-1)


def check_start(buffer: bytes | bytearray) -> None:
    """Raises BadHead as soon as the first bytes cannot become HTTP, so that nobody waits for the rest."""
    if buffer and buffer[0] not in _TOKEN:
        raise BadHead(400, "TLS where plain HTTP was expected" if buffer[0] in _TLS_RECORDS else "this is not HTTP")


def check_answer(buffer: bytes | bytearray) -> None:
    """The same for the answer to a request."""
    check_start(buffer)
    if not b"HTTP/".startswith(buffer[:5]):
        raise BadHead(0, _NO_ANSWER)


def parse_request(head: bytes, remote: str = "", remote_ip: str = "") -> Request:
    """A request from its head. Raises BadHead (400, or 505 for a version that is not HTTP/1.x)."""
    first, headers = _parse(head)
    method, target, version = _request_line(first)
    if version[0] != "1":
        raise BadHead(505, "HTTP version not supported")
    request = Request(method, target, headers, version, remote, remote_ip)
    if version != "1.0" and len(request.values(b"host")) != 1:
        raise BadHead(400, "not exactly one Host header")
    return request


def _request_line(line: bytes) -> tuple[str, str, str]:
    """Method, target and version."""
    parts = line.split(b" ")
    if len(parts) == 3:
        method, target, protocol = parts
        major, dot, minor = protocol[5:6], protocol[6:7], protocol[7:]
        is_http = protocol[:5] == b"HTTP/" and dot == b"." and len(minor) == 1 and major.isdigit() and minor.isdigit()
        if is_http and _is_token(method) and target and not target.translate(None, _VISIBLE):
            return method.decode(), target.decode(), protocol[5:].decode()
    raise BadHead(400, "malformed request line")


def _is_token(name: bytes) -> bool:
    return name != b"" and not name.translate(None, _TOKEN)


def check_upgrade(request: Request) -> None:
    """What RFC 6455 §4.2.1 asks for and trio-websocket does not check. Raises BadHead (400)."""
    if request.http_version == "1.0":
        raise BadHead(400, "upgrade in HTTP/1.0")
    if request.values(b"transfer-encoding") or any(value != b"0" for value in request.values(b"content-length")):
        raise BadHead(400, "upgrade request with a body")
    keys = request.values(b"sec-websocket-key")
    try:
        nonce = base64.b64decode(keys[0], validate=True) if len(keys) == 1 else b""
    except binascii.Error:
        nonce = b""
    if len(nonce) != 16:
        raise BadHead(400, "Sec-WebSocket-Key is not 16 bytes in base64")


def handshake_head(request: Request) -> bytes:
    """The head once more, with only those headers that decide about the upgrade: each costs the library that takes it
    several times as much as it costs us."""
    lines = [f"{request.method} {request.target} HTTP/{request.http_version}".encode()]
    lines += [b"%b: %b" % header for header in request.headers if header[0] in _OF_HANDSHAKE]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def parse_response(head: bytes) -> Response:
    """An answer from its head. Raises BadHead."""
    first, headers = _parse(head)
    line = re.fullmatch(_STATUS_LINE, first)
    if line is None:
        raise BadHead(0, _NO_ANSWER)
    return Response(int(line[1]), {name.decode(): value.decode("latin-1") for name, value in headers})


def _parse(head: bytes) -> tuple[bytes, Headers]:
    if head.count(b"\n") == head.count(b"\r\n"):
        lines = head.split(b"\r\n")
    else:
        lines = [line.removesuffix(b"\r") for line in head.split(b"\n")]
    fields = lines[1:-2]  # without the blank line, and what stands behind its end
    headers: Headers = []
    for line in fields:
        name, colon, value = line.partition(b":")
        if not colon or not name:
            raise BadHead(400, "malformed header line")
        headers.append((name.lower(), value.strip(b" \t")))
    text, names = b"".join(fields), b"".join([name for name, _ in headers])  # to look at all of them at one go
    if names.translate(None, _TOKEN) or text.translate(None, _ILLEGAL_IN_VALUE) != text:
        raise BadHead(400, "malformed header line")
    return lines[0], headers


def _phrase(status: int) -> bytes:
    from http import HTTPStatus  # no client needs it

    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b"Refused"


def body_size(response: Response) -> int | None:
    """Bytes of the body as announced; None: until the end of the connection, or chunked."""
    length = response.headers.get("content-length", "")
    return int(length) if length.isdecimal() and length.isascii() and len(length) < 10 else None


def dechunk(data: bytes | bytearray) -> tuple[bytes, bool]:
    """(the body so far, whether it is complete) of a body in chunks (RFC 9112 §7.1). What is malformed ends it."""
    body, pos = bytearray(), 0
    while (eol := data.find(b"\r\n", pos)) >= 0:
        try:
            size = int(data[pos:eol].partition(b";")[0], 16)
        except ValueError:
            return bytes(body), True
        if size <= 0:
            return bytes(body), True
        body += data[eol + 2 : eol + 2 + size]
        pos = eol + 2 + size + 2
    return bytes(body), False
