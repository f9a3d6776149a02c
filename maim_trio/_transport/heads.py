"""HTTP/1.1 heads of the opening handshake, pure: parsing requests and answers, writing refusals.

Stricter than the standard where that costs no honest peer anything: no line folding, exactly one Host, visible ASCII
targets.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Accept", "BadHead", "Refuse", "Request", "Response", "find_end", "parse_request", "parse_response"]

Headers = list[tuple[bytes, bytes]]

_TOKEN = rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+"
_NAME = re.compile(_TOKEN)
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e]+) HTTP/(\d\.\d)")
_STATUS_LINE = re.compile(rb"HTTP/1\.\d ([1-9]\d\d)(?: [^\x00\r\n]*)?")
_TARGET = re.compile(r"/[\x21-\x7e]*")
_BLANK_LINE = re.compile(rb"\n\r?\n")
_TLS_RECORDS = (0x15, 0x16)  # alert and handshake
_ILLEGAL_IN_VALUE = re.compile(rb"[\x00\r\n\x0b\x0c]")


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


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """The head of a request.

    `target` is path and query as they were sent (ASCII), `headers` all headers in order, names in lower case;
    `remote` and `remote_ip` the peer's address ("" when unknown). The repr shows neither headers nor query: they hold
    keys.
    """

    method: str
    target: str
    headers: Headers
    http_version: str
    remote: str = ""
    remote_ip: str = ""
    is_upgrade: bool = field(init=False)
    """Whether the request asks for a WebSocket (RFC 6455 §4.2.1)."""
    _values: dict[bytes, list[bytes]] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        values: dict[bytes, list[bytes]] = {}
        for name, value in self.headers:
            if name in values:
                values[name].append(value)
            else:
                values[name] = [value]
        object.__setattr__(self, "_values", values)
        object.__setattr__(
            self, "is_upgrade", self._says(b"upgrade", b"websocket") and self._says(b"connection", b"upgrade")
        )

    def values(self, name: bytes) -> Sequence[bytes]:
        """The values of all headers of that name (lower case)."""
        return self._values.get(name, ())

    def _says(self, name: bytes, token: bytes) -> bool:
        return token in [said.strip() for said in b",".join(self.values(name)).lower().split(b",")]

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.target.partition('?')[0]} from {self.remote or 'a stream'}>"


@dataclass(frozen=True, slots=True)
class Accept:
    """The request becomes a link; `headers` go into the 101. `ValueError` for a header that cannot be written."""

    headers: Headers = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        check_headers(self.headers)


@dataclass(frozen=True, slots=True)
class Refuse:
    """The request is answered with `status`, one line of JSON and further `headers`, then TCP is closed.

    `ValueError` for a status outside 400 to 599 or a header that cannot be written.
    """

    status: int
    body: Mapping[str, Any]
    headers: Headers = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        if not 400 <= self.status <= 599:
            raise ValueError(f"{self.status} is no status of a refusal")
        check_headers(self.headers)

    def encoded(self, *, body: bool = True) -> bytes:
        """The whole answer; without its body for a HEAD request."""
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


@dataclass(frozen=True, slots=True)
class Response:
    """The head of an answer; header names in lower case, of several with one name the last."""

    status: int
    headers: dict[str, str] = field(repr=False)


def check_headers(headers: Sequence[tuple[bytes, bytes]]) -> None:
    """`ValueError`, naming the header but never its value, for what cannot be written into a head."""
    for name, value in headers:
        if not _NAME.fullmatch(name):
            raise ValueError("a header name is not a token")
        if _ILLEGAL_IN_VALUE.search(value) or value != value.strip(b" \t"):
            raise ValueError(f"the value of header {name.decode()} holds a line break, NUL or outer blanks")


def check_target(target: str) -> None:
    """`ValueError` for a path and query that cannot stand in a request line; they are not shown."""
    if not _TARGET.fullmatch(target):
        raise ValueError("the target is not visible ASCII beginning with a slash")


def find_end(buffer: bytes | bytearray, start: int = 0) -> int:
    """Where the head in `buffer` ends, its blank line included; -1 when that has not come yet."""
    found = _BLANK_LINE.search(buffer, start)
    return -1 if found is None else found.end()


def check_start(buffer: bytes | bytearray) -> None:
    """Raises BadHead as soon as the first bytes cannot become HTTP, so that nobody waits for the rest."""
    if buffer and not _NAME.match(buffer[:1]):
        raise BadHead(400, "TLS where plain HTTP was expected" if buffer[0] in _TLS_RECORDS else "this is not HTTP")


def parse_request(head: bytes, remote: str = "", remote_ip: str = "") -> Request:
    """A request from its head. Raises BadHead (400, or 505 for a version that is not HTTP/1.x)."""
    first, headers = _parse(head)
    line = _REQUEST_LINE.fullmatch(first)
    if line is None:
        raise BadHead(400, "malformed request line")
    method, target, version = (group.decode() for group in line.groups())
    if not version.startswith("1."):
        raise BadHead(505, "HTTP version not supported")
    request = Request(method, target, headers, version, remote, remote_ip)
    if version != "1.0" and len(request.values(b"host")) != 1:
        raise BadHead(400, "not exactly one Host header")
    return request


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
    line = _STATUS_LINE.fullmatch(first)
    if line is None:
        raise BadHead(0, "the answer is not HTTP")
    return Response(int(line[1]), {name.decode(): value.decode("latin-1") for name, value in headers})


def _parse(head: bytes) -> tuple[bytes, Headers]:
    lines = [line.removesuffix(b"\r") for line in head.split(b"\n")]
    headers: Headers = []
    for line in lines[1:-2]:  # without the blank line, and what stands behind its end
        name, colon, value = line.partition(b":")
        value = value.strip(b" \t")
        if not colon or not _NAME.fullmatch(name) or _ILLEGAL_IN_VALUE.search(value):
            raise BadHead(400, "malformed header line")
        headers.append((name.lower(), value))
    return lines[0], headers


def _phrase(status: int) -> bytes:
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
