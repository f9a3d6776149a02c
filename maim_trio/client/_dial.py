"""One attempt to connect: name, TCP, opening handshake."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote

import msgspec
import trio

from maim_trio._runtime.log import without
from maim_trio._transport.exchange import LOST_IN_HANDSHAKE
from maim_trio._transport.handshake import HandshakeFailed, open_link
from maim_trio._transport.tls import client_stream
from maim_trio._wire.close import Verdict, after_refusal
from maim_trio._wire.credentials import API_KEY_PARAMETER, PLATFORM_PARAMETER, write
from maim_trio.client._url import Address, parse_url

if TYPE_CHECKING:
    from collections.abc import Iterable

    from maim_trio._transport.limits import Limits
    from maim_trio._transport.link import Link
    from maim_trio.client._config import ClientConfig


DEFAULT_PLATFORM = "default"

_WANTS_TLS: Final = re.compile(rb"HTTPS (?:port|server)|SSL-enabled")
"""In what nginx, Go and Apache answer to plain HTTP."""

OpenStream = Callable[[Address], Awaitable[trio.abc.Stream]]


async def open_stream(config: ClientConfig, address: Address) -> trio.abc.Stream:
    """A TCP connection to the first address of the host that answers, under TLS where wanted. Raises OSError."""
    context = config.tls_context() if config.uses_tls else None
    stream = await trio.open_tcp_stream(address.host, address.port)
    return stream if context is None else client_stream(stream, context, address.host)


async def dial(config: ClientConfig, connection_uuid: str, limits: Limits, open_stream: OpenStream) -> Link | Verdict:
    """A link to the server, or what to do now that there is none. Never longer than `connect_timeout`."""
    verdict = after_refusal(0, now=time.time(), detail=f"no answer within {config.connect_timeout:g} s")
    with trio.move_on_after(config.connect_timeout):
        try:
            return await _open(config, connection_uuid, limits, open_stream)
        except HandshakeFailed as failure:
            verdict = after_refusal(
                failure.status,
                failure.headers.get("retry-after"),
                now=time.time(),
                detail=_detail(failure, config),
                lasting=failure.lasting,
            )
        except ValueError as error:  # a header that cannot be sent, a name that no resolver can be asked about
            verdict = Verdict(False, f"cannot connect as configured: {error}")
        except OSError as error:
            verdict = after_refusal(0, now=time.time(), detail=reason_of(error))
    return verdict


async def _open(config: ClientConfig, connection_uuid: str, limits: Limits, open_stream: OpenStream) -> Link:
    address = parse_url(config.url)
    target, headers = write(address.target, config.api_key, config.platform, connection_uuid, config.headers)
    stream = await open_stream(address)
    return await open_link(stream, host=address.host_header, target=target, headers=headers, limits=limits)


def _detail(failure: HandshakeFailed, config: ClientConfig) -> str:
    return detail_of(failure, tls=config.uses_tls, secrets=secrets_of(config))


def detail_of(failure: HandshakeFailed, *, tls: bool, secrets: Iterable[str], tcp_mode: str = "") -> str:
    """The server's own words, when it sent the JSON that ours sends, without what is secret in them."""
    if failure.no_http and not tls:
        return f"{failure.message}; if the server expects TLS, the url must begin with wss://{tcp_mode}"
    if failure.no_http and failure.message == LOST_IN_HANDSHAKE:
        return f"{failure.message}; if the server speaks no TLS there, the url must begin with ws://"
    if failure.status == 400 and not tls and _WANTS_TLS.search(failure.body):
        return "this port speaks TLS: the url must begin with wss://"
    if 300 <= failure.status < 400:
        return without(failure.headers.get("location", ""), secrets)
    try:
        body = msgspec.json.decode(failure.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "" if failure.status else failure.message
    error = body.get("error") if isinstance(body, dict) else None
    return without(error, secrets) if isinstance(error, str) else ""


def secrets_of(config: ClientConfig) -> tuple[str, ...]:
    """The keys that the server is sent and may repeat, in every form they travel in."""
    in_query = [value for name, value in parse_qsl(config.url.partition("?")[2]) if name == API_KEY_PARAMETER]
    keys = (config.api_key, *in_query)
    return (*keys, *(quote(key, safe="", errors="replace") for key in keys))


def beaten_by_url(config: ClientConfig) -> list[str]:
    """The fields that say one thing and the query of the URL another: servers go by the query."""
    query: dict[str, str] = {}
    for name, value in parse_qsl(config.url.partition("?")[2]):
        query.setdefault(name, value)
    given = {API_KEY_PARAMETER: config.api_key, PLATFORM_PARAMETER: config.platform}
    if config.platform == DEFAULT_PLATFORM:  # which nobody need have meant
        del given[PLATFORM_PARAMETER]
    return [name for name, value in given.items() if value and query.get(name, value) != value]


def without_key(text: str, config: ClientConfig) -> str:
    """A server's own words without the key."""
    return without(text, secrets_of(config))


def reason_of(error: OSError) -> str:
    """trio says «all attempts to connect failed»; the reason is in the group that caused it, behind the address as a
    tuple, which the url has told already."""
    cause = error.__cause__
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    problem = cause if isinstance(cause, OSError) else error
    if problem.errno is not None and problem.errno > 0:
        return os.strerror(problem.errno)
    return problem.strerror or str(problem)  # of name resolution: its numbers are negative
