"""What the server says to a request, byte for byte: the libraries below must not change it.

Which library takes the request is our business; the peers' is what comes back.
"""

from __future__ import annotations

import json

import pytest
import trio

from maim_trio._transport.handshake import Accept, accept_link
from maim_trio._transport.limits import Limits

from .raw import ACCEPT, KEY, memory_pair, request, switching

WITHOUT = {
    "Upgrade": request().replace(b"Upgrade: websocket\r\n", b""),
    "Connection": request().replace(b"Connection: Upgrade\r\n", b""),
    "version": request().replace(b"Sec-WebSocket-Version: 13\r\n", b""),
}
MALFORMED = "malformed WebSocket handshake"
UNDECODABLE = f"{MALFORMED} (UnicodeDecodeError)"
NO_KEY = "Sec-WebSocket-Key is not 16 bytes in base64"

ACCEPTED = {
    "usual": request(),
    "subprotocols": request(b"Sec-WebSocket-Protocol: chat, superchat"),
    "empty subprotocol": request(b"Sec-WebSocket-Protocol:"),
    "extensions": request(b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"),
    "extension with a comma in quotes": request(b'Sec-WebSocket-Extensions: a; b="c,d"'),
    "strange headers": request(b"X: \xff\x01", b"Y:", b"Z:  padded \t", b"Cookie: a=b", b"Sec-WebSocket-Foo: \xff"),
    "many bytes of headers": request(*[b"X-%d: " % number + b"y" * 100 for number in range(100)]),
    "bare line feeds": request().replace(b"\r\n", b"\n"),
    "names in other cases": request().replace(b"Sec-WebSocket", b"SEC-websocket").replace(b"Host", b"hOST"),
    "values in other cases": request()
    .replace(b": websocket", b": WebSocket")
    .replace(b": Upgrade", b": keep-alive, UPGRADE"),
    "closing and upgrading": request().replace(b": Upgrade", b": Upgrade, close"),
    "two Connection headers": request().replace(b"Connection", b"Connection: keep-alive\r\nConnection"),
    "two Upgrade headers": request().replace(b"Upgrade: w", b"Upgrade: h2c\r\nUpgrade: w"),
    "two equal versions": request(b"Sec-WebSocket-Version: 13"),
    "the last version counts": request(b"Sec-WebSocket-Version: 13", version=b"8"),
    "absolute target": request(target=b"http://x/ws"),
    "HTTP/1.2": request().replace(b"HTTP/1.1", b"HTTP/1.2"),
    "empty body": request(b"Content-Length: 0"),
    "expecting": request(b"Expect: 100-continue"),
    "no host name": request(host=b""),
    "punycode": request(host=b"xn--bcher-kva.example"),
}
REFUSED = {
    "no version": (WITHOUT["version"], MALFORMED),
    "empty version": (request(version=b""), MALFORMED),
    "upgrade that does not come last": (request(b"Upgrade: h2c"), MALFORMED),
    "upgrade among others": (request().replace(b": websocket", b": websocket, h2c"), MALFORMED),
    "Connection that does not come last": (request(b"Connection: keep-alive"), MALFORMED),
    "POST": (request().replace(b"GET", b"POST"), MALFORMED),
    "CONNECT": (request(target=b"x:1").replace(b"GET", b"CONNECT"), MALFORMED),
    "undecodable subprotocol": (request(b"Sec-WebSocket-Protocol: \xff"), UNDECODABLE),
    "undecodable extension": (request(b"Sec-WebSocket-Extensions: \xff"), UNDECODABLE),
    "undecodable Connection": (request().replace(b": Upgrade", b": Upgrade, \xff"), UNDECODABLE),
    "undecodable host": (request(host=b"xn--\xff"), f"{MALFORMED} (UnicodeDecodeError)"),
    "no punycode": (request(host=b"xn--a"), f"{MALFORMED} (UnicodeError)"),
    "two keys": (request(b"Sec-WebSocket-Key: " + KEY), NO_KEY),
    "no key": (request(key=None), NO_KEY),
    "body": (request(b"Content-Length: 5"), "upgrade request with a body"),
    "folded line": (request(b" folded"), "malformed header line"),
    "blank before the colon": (request(b"X : y"), "malformed header line"),
    "vertical tab": (request(b"X: a\x0bb"), "malformed header line"),
    "second host": (request(b"Host: y"), "not exactly one Host header"),
    "HTTP/1.0": (request().replace(b"HTTP/1.1", b"HTTP/1.0"), "upgrade in HTTP/1.0"),
}


async def answer_to(data, answer=None):
    """(what the server says to a request, its reports, what was glued to the request or None)."""
    ours, theirs = memory_pair()
    said, reports = bytearray(), []

    async def decide(_):
        return answer or Accept()

    async def converse():
        await theirs.send_all(data)
        await theirs.send_eof()
        async for more in theirs:
            said.extend(more)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(converse)
        link = await accept_link(ours, decide, Limits(), report=reports.append)
        received = None
        if link is not None:
            received = await link.receive() if data[-4:] != b"\r\n\r\n" and data[-2:] != b"\n\n" else []
            await ours.send_eof()
    return bytes(said), reports, received


def refusal(status, code, error, *headers, connection=b"close"):
    body = json.dumps({"error": error, "code": code}).encode() + b"\n"
    lines = [b"HTTP/1.1 " + status, b"Content-Type: application/json", b"Content-Length: %d" % len(body)]
    return b"\r\n".join([*lines, b"Connection: " + connection, *headers]) + b"\r\n\r\n" + body


@pytest.mark.parametrize("name", ACCEPTED)
async def test_an_accepted_request_gets_the_same_bytes_whatever_else_it_says(name):
    assert await answer_to(ACCEPTED[name]) == (switching(ACCEPT), [], [])


@pytest.mark.parametrize("name", REFUSED)
async def test_a_refused_request_gets_the_same_words(name):
    data, reason = REFUSED[name]
    assert await answer_to(data) == (refusal(b"400 Bad Request", "bad_request", reason), [reason], None)


@pytest.mark.parametrize("version", [b"8", b"12", b"13, 8", b"013", b"\xff"])
async def test_another_version_is_told_ours(version):
    said, reports, _ = await answer_to(request(version=version))
    upgrade = (b"Upgrade: websocket", b"Sec-WebSocket-Version: 13")
    text = "WebSocket version 13 is needed here"
    expected = refusal(b"426 Upgrade Required", "unsupported_version", text, *upgrade, connection=b"Upgrade, close")
    assert (said, reports) == (expected, ["unsupported WebSocket version"])


@pytest.mark.parametrize("name", ["Upgrade", "Connection"])
async def test_what_asks_for_no_upgrade_is_told_to(name):
    said, reports, _ = await answer_to(WITHOUT[name])
    text, upgrade = "a WebSocket is needed here", b"Upgrade: websocket"
    expected = refusal(b"426 Upgrade Required", "upgrade_required", text, upgrade, connection=b"Upgrade, close")
    assert (said, reports) == (expected, [])


async def test_the_decisions_headers_come_behind_those_of_the_handshake():
    said, _, _ = await answer_to(request(), Accept([(b"x-maim-protocol", b"1"), (b"X-A", b"\x01\xff")]))
    assert said == switching(ACCEPT, b"x-maim-protocol: 1", b"X-A: \x01\xff")


async def test_what_is_glued_to_the_request_is_the_links():
    said, _, received = await answer_to(request() + b"\x81\x82\0\0\0\0hi")
    assert (said, received) == (switching(ACCEPT), [b"hi"])
