"""Each kind of bad input over real sockets.

A clear answer, one log line, a counter, and a good client on the same server that notices nothing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.e2e.conftest import BAD, VICTIM
from tests.server.peer import Peer, message_payload, standard, text_frame
from tests.transport.raw import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame, masked, request

if TYPE_CHECKING:
    from tests.e2e.conftest import Arena


def envelope(**changes: Any) -> bytes:
    """A good standard message with an id, but for `changes`; None removes a member."""
    members = {**standard("m1"), **changes}
    return text_frame({name: value for name, value in members.items() if value is not None})


def payload(path: str, value: Any) -> bytes:
    """A message with something else at a place of its payload; `...` removes what is there."""
    whole = message_payload()
    found: Any = whole
    *outer, last = path.split(".")
    for name in outer:
        found = found.setdefault(name, {})
    if value is ...:
        del found[last]
    else:
        found[last] = value
    return envelope(payload=whole)


def custom(text: bytes) -> bytes:
    """A custom message whose payload is this text."""
    return text_frame(b'{"msg_id": "m1", "type": "custom_x", "payload": ' + text + b"}")


FRAMES = {
    "not JSON": (text_frame(b"hello"), "invalid_json", None),
    "half of JSON": (text_frame(b'{"type": "sys_std", "payload"'), "invalid_json", None),
    "two JSON values": (text_frame(b"{}{}"), "invalid_json", None),
    "an empty frame": (masked(TEXT), "invalid_json", None),
    "an empty binary frame": (masked(BINARY), "invalid_json", None),
    "binary garbage": (masked(BINARY, bytes(range(256))), "invalid_json", None),
    "binary that is no UTF-8": (masked(BINARY, b'{"type": "\xff"}'), "invalid_json", None),
    "an array": (text_frame(b"[]"), "invalid_envelope", None),
    "a string": (text_frame(b'"hello"'), "invalid_envelope", None),
    "a number": (text_frame(b"5"), "invalid_envelope", None),
    "null": (text_frame(b"null"), "invalid_envelope", None),
    "an empty object": (text_frame(b"{}"), "invalid_envelope", None),
    "no type": (envelope(type=None), "invalid_envelope", "m1"),
    "a type that is no string": (envelope(type=5), "invalid_envelope", "m1"),
    "an unknown type": (envelope(type="greeting"), "unknown_type", "m1"),
    "an id that is no string": (envelope(msg_id=5), "invalid_envelope", None),
    "an id of a thousand characters": (envelope(msg_id="m" * 257), "invalid_envelope", None),
    "meta that is no object": (envelope(meta=[1]), "invalid_envelope", "m1"),
    "version 2": (envelope(ver=2), "unsupported_version", "m1"),
    "a version that is no number": (envelope(ver="1"), "invalid_envelope", "m1"),
    "no payload": (envelope(payload=None), "invalid_payload", "m1"),
    "a payload that is no object": (envelope(payload="hello"), "invalid_payload", "m1"),
    "an empty payload": (envelope(payload={}), "invalid_payload", "m1"),
    "no message_info": (payload("message_info", ...), "invalid_payload", "m1"),
    "no message_segment": (payload("message_segment", ...), "invalid_payload", "m1"),
    "no message_dim": (payload("message_dim", ...), "invalid_payload", "m1"),
    "no platform": (payload("message_info.platform", ...), "invalid_payload", "m1"),
    "time that is text": (payload("message_info.time", "now"), "invalid_payload", "m1"),
    "an id that is an object": (payload("message_info.message_id", {}), "invalid_payload", "m1"),
    "a user without id": (payload("message_info.sender_info.user_info", {"platform": "p"}), "invalid_payload", "m1"),
    "a segment without type": (payload("message_segment", {"data": "x"}), "invalid_payload", "m1"),
    "a seglist that is no list": (payload("message_segment.type", "seglist"), "invalid_payload", "m1"),
    "a number in a seglist": (payload("message_segment", {"type": "seglist", "data": [5]}), "invalid_payload", "m1"),
    "a key that is a number": (payload("message_dim.api_key", 5), "invalid_payload", "m1"),
    "an ack of nothing": (envelope(type="sys_ack"), "invalid_envelope", "m1"),
    "a custom payload that is a list": (custom(b"[]"), "invalid_payload", "m1"),
    "NaN": (custom(b'{"a": NaN}'), "invalid_json", "m1"),
    "Infinity": (custom(b'{"a": -Infinity}'), "invalid_json", "m1"),
    "a huge float": (custom(b'{"a": 1e999}'), "invalid_payload", "m1"),
    "a lone surrogate": (custom(b'{"a": "\\ud800"}'), "invalid_json", "m1"),
    "an unescaped line break": (custom(b'{"a": "\n"}'), "invalid_json", "m1"),
    "nesting 10,000 deep": (custom(b"[" * 10_000 + b"]" * 10_000), "too_deep", "m1"),
    "nesting 10,000 deep without end": (custom(b'{"a":' * 10_000), "too_deep", "m1"),
    "65 seglists inside one another": (
        payload("message_segment", json.loads('{"type": "seglist", "data": [' * 65 + "]}" * 65)), "too_deep", "m1",
    ),
}  # fmt: skip


@pytest.mark.server_config(max_message_size=1 << 20)
@pytest.mark.parametrize(("data", "code", "failed"), FRAMES.values(), ids=FRAMES)
async def test_a_frame_that_cannot_be_taken_is_answered_and_the_connection_lives(
    arena: Arena, log: Any, data: bytes, code: str, failed: str | None
) -> None:
    peer = await arena.joined()
    await peer.send(data)
    answer = await peer.hear()
    assert (answer["type"], answer["payload"]["code"]) == ("sys_error", code)
    assert 0 < len(answer["payload"]["message"]) <= 300
    assert answer["meta"].get("failed_msg_id") == failed
    await peer.say(standard("m2"))
    assert await peer.hear_acks(1) == ["m2"]
    assert len(log.having("invalid frame from bad", "WARNING")) == 1
    assert arena.server.get_stats()["invalid_frames"] == 1
    await arena.good_client_notices_nothing()


async def test_huge_integers_are_refused_or_kept_exactly(arena: Arena) -> None:
    peer = await arena.joined()
    for digits in (19, 20, 25, 300, 900):
        await peer.send(custom(b'{"a": ' + b"9" * digits + b"}"))
        answer = await peer.hear()
        assert answer["type"] == "sys_ack" or answer["payload"]["code"] == "invalid_payload"
    await arena.good_client_notices_nothing()


async def test_unknown_members_and_later_types_are_no_mistake(arena: Arena) -> None:
    peer = await arena.joined()
    await peer.send(
        envelope(colour="red", meta={"a": [1]}) + envelope(type="sys_later", msg_id="m2") + envelope(msg_id="m3")
    )
    assert await peer.hear_acks(2) == ["m1", "m3"]
    assert arena.server.get_stats()["invalid_frames"] == 0
    await arena.good_client_notices_nothing()


@pytest.mark.server_config(max_invalid_frames=20)
async def test_too_many_of_them_end_the_connection(arena: Arena, log: Any) -> None:
    peer = await arena.joined()
    await peer.send(text_frame(b"x") * 100)
    assert len(await peer.hear_all()) == 21
    assert await peer.closed() == (1008, "too many invalid frames")
    await peer.aclose()
    await arena.until(lambda: "bad" not in arena.server.get_connections())
    assert len(log.having("too many invalid frames and is closed (1008)", "WARNING")) == 1
    assert arena.server.get_stats()["invalid_frames"] == 21
    await arena.good_client_notices_nothing()


FILLER = b"x" * 600

VIOLATIONS = {
    "invalid UTF-8 in a text frame": (masked(TEXT, b'{"type": "\xff"}'), 1007),
    "a character cut in two": (masked(TEXT, b"\xe2\x82"), 1007),
    "a message over the limit": (masked(TEXT, b"x" * 1025), 1009),
    "the announcement of 2 exabytes": (b"\x81\xff" + (1 << 61).to_bytes(8, "big"), 1009),
    "fragments that add up to more": (masked(TEXT, FILLER, final=False) + masked(CONTINUATION, FILLER), 1009),
    "a frame without mask": (frame(TEXT, b"{}"), 1002),
    "a reserved bit": (frame(TEXT, b"{}", mask=b"abcd", reserved=0x40), 1002),
    "an unknown opcode": (masked(3, b""), 1002),
    "a ping of 126 bytes": (masked(PING, b"x" * 126), 1002),
    "a ping in two parts": (masked(PING, b"x", final=False), 1002),
    "a continuation of nothing": (masked(CONTINUATION, b"x"), 1002),
    "a new message in the middle of one": (masked(TEXT, b"x", final=False) + masked(TEXT, b"y"), 1002),
    "a close code that may not be sent": (masked(CLOSE, b"\x03\xed"), 1002),
    "a close frame of one byte": (masked(CLOSE, b"\x03"), 1002),
    "a close reason that is no UTF-8": (masked(CLOSE, b"\x03\xe8\xff"), 1007),
}  # fmt: skip


@pytest.mark.parametrize(("data", "code"), VIOLATIONS.values(), ids=VIOLATIONS)
async def test_what_breaks_the_websocket_protocol_ends_its_own_connection(
    arena: Arena, log: Any, data: bytes, code: int
) -> None:
    peer = await arena.joined()
    await peer.send(envelope() + data)
    assert await peer.hear_acks(1) == ["m1"]
    assert (await peer.closed())[0] == code
    await peer.aclose()
    await arena.until(lambda: log.having("disconnected bad"))
    assert len(log.having(f"disconnected bad: {code} ", "INFO")) == 1
    assert arena.server.get_stats()["invalid_frames"] == 1
    await arena.good_client_notices_nothing()


async def test_fragments_with_control_frames_between_them_are_one_message(arena: Arena) -> None:
    text = json.dumps(standard("m1", "ü" * 50)).encode()
    parts = [text[start : start + 7] for start in range(0, len(text), 7)]
    data = masked(TEXT, parts[0], final=False)
    for part in parts[1:]:
        data += masked(PING, b"p") + masked(CONTINUATION, part, final=False) + masked(PONG, b"unasked")
    peer = await arena.joined()
    await peer.send(data + masked(CONTINUATION))
    opcodes = []
    while TEXT not in opcodes:
        received = await peer.frame()
        opcodes.append(received.opcode)
    assert set(opcodes) == {PONG, TEXT}
    assert json.loads(received.payload)["meta"]["acked_msg_id"] == "m1"
    assert arena.server.get_stats()["invalid_frames"] == 0
    await arena.good_client_notices_nothing()


BIG_HEAD = request(*(b"x-filler-%d: " % number + b"x" * 1000 for number in range(100)), target=b"/ws")

REQUESTS = {
    "a wrong path": (request(target=b"/elsewhere?api_key=" + BAD.encode()), 404, "404: not_found"),
    "plain HTTP": (b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n", 426, "426: upgrade_required"),
    "plain HTTP elsewhere": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 404, "404: not_found"),
    "a missing key": (request(target=b"/ws"), 401, "401: unauthorized"),
    "a wrong key": (request(target=b"/ws?api_key=wrong_key_00004"), 401, "401: unauthorized"),
    "a control character in the key": (request(target=b"/ws?api_key=a%01b"), 400, "400: bad_request"),
    "a control character in a header": (request(b"x-apikey: a\x01b", target=b"/ws"), 400, "400: bad_request"),
    "a NUL in a header": (request(b"x-color: a\x00b", target=b"/ws"), 400, "malformed header line"),
    "a folded header": (request(b"x-color: a\r\n b", target=b"/ws"), 400, "malformed header line"),
    "a header without colon": (request(b"nonsense", target=b"/ws"), 400, "malformed header line"),
    "100 KiB of headers": (BIG_HEAD, 431, "head over"),
    "no key of WebSocket": (request(target=b"/ws", key=None), 400, "Sec-WebSocket-Key"),
    "a short key of WebSocket": (request(target=b"/ws", key=b"c2hvcnQ="), 400, "Sec-WebSocket-Key"),
    "an old version of WebSocket": (request(target=b"/ws", version=b"8"), 426, "WebSocket version"),
    "an undecodable subprotocol": (request(b"Sec-WebSocket-Protocol: \xff", target=b"/ws"), 400, "malformed WebSocket"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "HTTP version"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50), 400, "TLS where plain HTTP"),
    "something else altogether": (b"\x00\x01\x02\x03\r\n\r\n", 400, "not HTTP"),
}  # fmt: skip


@pytest.mark.parametrize(("head", "status", "line"), REQUESTS.values(), ids=REQUESTS)
async def test_a_handshake_that_cannot_be_is_refused_with_a_status(
    arena: Arena, log: Any, head: bytes, status: int, line: str
) -> None:
    peer = await arena.peer()
    answer = await refused(peer, head)
    assert answer.status == status
    assert answer.code
    await arena.until(lambda: arena.server.get_stats()["failed_connects"] == 1)
    assert len(log.having(line, "INFO")) == 1
    assert BAD not in log.text
    assert arena.server.get_connection_count() == 1
    await arena.good_client_notices_nothing()


async def refused(peer: Peer, head: bytes) -> Any:
    """The answer, also when it comes before everything was sent."""
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            try:
                await peer.send(head)
            except trio.BrokenResourceError:
                assert len(head) > 10_000  # it was cut short

        nursery.start_soon(send)
        answer = await peer.answer()
    await peer.aclose()
    return answer


async def test_one_byte_of_a_header_now_and_then_is_not_waited_for(arena: Arena, log: Any) -> None:
    peer = await arena.peer()

    async def drip() -> None:
        for byte in request(target=b"/ws"):
            try:
                await peer.send(bytes([byte]))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
            await trio.sleep(0.05)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip)
        answer = await peer.answer()
        nursery.cancel_scope.cancel()
    await peer.aclose()
    assert answer.status == 408
    await arena.until(lambda: arena.server.get_stats()["failed_connects"] == 1)
    assert len(log.having("no complete head within 0.5 s", "INFO")) == 1
    await arena.good_client_notices_nothing()


async def test_half_a_handshake_and_then_silence_or_nothing_at_all_is_ended(arena: Arena, log: Any) -> None:
    half, nothing = await arena.peer(), await arena.peer()
    await half.send(b"GET /ws HTTP/1.1\r\nHost: x\r\n")
    assert (await half.answer()).status == 408
    await half.aclose()
    assert await nothing.until_end() == b""
    await arena.until(lambda: arena.server.get_stats()["failed_connects"] == 2)
    assert len(log.having("no complete head within 0.5 s", "INFO")) == 2
    await arena.good_client_notices_nothing()


async def test_a_reset_before_during_and_after_the_handshake_ends_nothing_else(arena: Arena) -> None:
    for sent in (b"", b"GET /ws", request(target=b"/ws?api_key=" + BAD.encode())):
        peer = await arena.peer()
        await peer.send(sent)
        await peer.reset()
    joined = await arena.joined()
    await joined.send(envelope() + masked(TEXT, b"half a message")[:5])
    await joined.reset()
    await arena.until(lambda: arena.server.get_connection_count() == 1)
    await arena.good_client_notices_nothing()


async def test_the_connection_id_of_another_user_takes_nothing_from_its_owner(arena: Arena, log: Any) -> None:
    victim = await arena.joined(key=VICTIM, uuid="id of the victim")
    thief = await arena.peer()
    answer = await thief.upgrade(key=BAD, uuid="id of the victim")
    assert (answer.status, "x-maim-resumed" in answer.headers) == (101, False)
    await arena.server.send_custom_message("secret", {}, connection_uuid="id of the victim")
    assert (await victim.hear())["type"] == "custom_secret"
    await thief.say(standard("m1"))
    assert await thief.hear_acks(1) == ["m1"]
    await thief.aclose()
    await arena.until(lambda: arena.server.get_connection_count() == 2)
    await victim.say(standard("m2"))
    assert await victim.hear_acks(1) == ["m2"]
    assert len(log.having("connection id of another user was asked for", "WARNING")) == 1
    await arena.good_client_notices_nothing()


async def test_everything_at_once(arena: Arena) -> None:
    """All of the above, from many peers at the same time."""

    async def one(data: bytes, *, joined: bool) -> None:
        peer = await arena.peer()
        if joined:
            await peer.upgrade(key=BAD)
        try:
            await peer.send(data)
        except trio.BrokenResourceError:
            return
        with trio.move_on_after(0.2):
            await peer.until_end()
        await peer.reset()

    async with trio.open_nursery() as nursery:
        for data, *_ in [*FRAMES.values(), *VIOLATIONS.values()]:
            nursery.start_soon(lambda data=data: one(data, joined=True))
        for data, *_ in REQUESTS.values():
            nursery.start_soon(lambda data=data: one(data, joined=False))
    await arena.until(lambda: arena.server.get_connection_count() == 1)
    await arena.good_client_notices_nothing()
    assert arena.server.get_stats()["handler_errors"] == 0
