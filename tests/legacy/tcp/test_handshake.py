"""How connections of the TCP mode begin, or do not: both sides against a raw peer."""

from __future__ import annotations

import dataclasses
import json
import struct
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from maim_trio._legacy._tcp.handshake import HandshakeFailed, RegistrationRefused, accept_tcp, open_tcp
from maim_trio._transport.frames import TOO_BIG
from maim_trio._transport.limits import LinkClosed

from . import raw
from .conftest import LIMITS, Client, Server, in_memory

if TYPE_CHECKING:
    from .conftest import Served
    from .raw import TcpPeer


async def is_refused(peer: TcpPeer, served: Served) -> str:
    """Waits for the end of both sides; what was reported."""
    rest = await peer.until_end()
    assert raw.split_frames(rest)[1] == b""
    assert not peer.was_reset
    await peer.aclose()
    await served.finished.wait()
    assert served.link is None
    assert served.stream.closed
    return " | ".join(served.reports)


class TestServer:
    async def test_a_client_that_registers_gets_a_link(self, server: Server) -> None:
        peer, served = await server.dial()
        await peer.exchange_keys()
        await peer.register("qq", token="right", version=1)
        await served.opened.wait()
        assert served.registration is not None
        assert (served.registration.platform, served.registration.token) == ("qq", "right")
        assert await peer.tcp_frame() == (raw.HEARTBEAT, b"")  # not asked for: it says that the client is in
        await peer.say(b'{"a": 1}')
        await peer.aclose()
        await served.finished.wait()
        assert served.messages == [b'{"a": 1}']

    async def test_what_comes_in_one_segment_with_the_registration_is_not_lost(self, server: Server) -> None:
        peer, served = await server.dial()
        await peer.exchange_keys()
        large = b"x" * (server.limits.max_head + 1)
        await peer.send(peer.keys.seal(b'{"platform": "qq"}') + peer.keys.seal(b"1") + peer.keys.seal(large))
        await peer.aclose()
        await served.finished.wait()
        assert served.messages == [b"1", large]

    async def test_it_may_come_byte_by_byte(self, server: Server) -> None:
        peer, served = await server.dial()
        for byte in raw.frame(raw.HANDSHAKE, peer.keys.public):
            await peer.send(bytes([byte]))
            await trio.sleep(0.01)
        peer.keys.agree((await peer.tcp_frame())[1])
        for byte in peer.keys.seal(b'{"platform": "qq"}'):
            await peer.send(bytes([byte]))
            await trio.sleep(0.01)
        await served.opened.wait()

    async def test_who_is_refused_is_told_nothing_and_sees_the_end(self, server: Server) -> None:
        peer, served = await server.dial()
        await peer.exchange_keys()
        await peer.register("qq", token="wrong")
        assert await is_refused(peer, served) == ""

    @pytest.mark.parametrize(
        ("said", "reason"),
        [
            (b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n", "speaks HTTP or WebSocket"),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01", "speaks TLS"),
            (b"SSH-2.0-OpenSSH_9.9\r\n", "no handshake of the TCP mode"),
            (raw.frame(raw.DATA, b"x" * 50), "no handshake of the TCP mode"),
            (raw.frame(raw.HEARTBEAT), "no handshake of the TCP mode"),
            (struct.pack("!IB", 2**32 - 1, raw.HANDSHAKE), "a handshake frame of 4294967295 bytes, and not of 37"),
            (raw.frame(raw.HANDSHAKE, b"k" * 31), "a handshake frame of 36 bytes, and not of 37"),
            (raw.frame(raw.ANSWER, b"k" * 32), "no handshake of the TCP mode"),
        ],
        ids=["http", "tls", "ssh", "data", "heartbeat", "huge", "short key", "answer"],
    )
    async def test_anything_but_a_key_is_refused(self, server: Server, said: bytes, reason: str) -> None:
        peer, served = await server.dial()
        await peer.send(said)
        assert reason in await is_refused(peer, served)
        assert peer.unread == b""

    @pytest.mark.parametrize("key", raw.LOW_ORDER_KEYS, ids=lambda key: key.hex()[:8])
    async def test_a_key_with_which_everybody_could_read_is_refused(self, server: Server, key: bytes) -> None:
        peer, served = await server.dial()
        await peer.send(raw.frame(raw.HANDSHAKE, key))
        assert "all zero, or of low order" in await is_refused(peer, served)

    @pytest.mark.parametrize("size", [0, 1, 4, 5, 20, 36])
    async def test_a_handshake_that_breaks_off_is_refused(self, server: Server, size: int) -> None:
        peer, served = await server.dial()
        await peer.send(raw.frame(raw.HANDSHAKE, peer.keys.public)[:size])
        await peer.stream.send_eof()
        assert await is_refused(peer, served) == "connection closed during the handshake"

    @pytest.mark.parametrize("size", [0, 3, 20])
    async def test_a_registration_that_breaks_off_is_refused(self, server: Server, size: int) -> None:
        peer, served = await server.dial()
        await peer.exchange_keys()
        await peer.send(peer.keys.seal(b'{"platform": "qq"}')[:size])
        await peer.stream.send_eof()
        assert await is_refused(peer, served) == "connection closed during the handshake"

    async def test_a_client_that_is_gone_is_noticed(self, server: Server) -> None:
        peer, served = await server.dial()
        await peer.aclose()
        await served.finished.wait()
        assert served.reports == ["connection closed during the handshake"]

    @pytest.mark.parametrize("begun", ["nothing", "a byte", "the key"])
    async def test_keys_and_registration_have_one_deadline(self, server: Server, begun: str) -> None:
        started = trio.current_time()
        peer, served = await server.dial()
        await trio.sleep(LIMITS.handshake_timeout - 1)
        if begun == "a byte":
            await peer.send(b"\x00")
        elif begun == "the key":
            await peer.exchange_keys()
        assert await is_refused(peer, served) == "no complete handshake within 5 s"
        assert trio.current_time() - started < LIMITS.handshake_timeout + 3

    async def test_the_time_of_the_decision_is_not_counted(self, server: Server) -> None:
        async def slow(_: object) -> bool:
            await trio.sleep(60)
            return True

        server.decide = slow
        peer, served = await server.dial()
        await peer.exchange_keys()
        await peer.register()
        await served.opened.wait()
        assert served.reports == []

    @pytest.mark.parametrize(
        ("message", "reason"),
        [
            (b"not json", "the registration is no JSON"),
            (b"\xff", "the registration is no JSON"),
            (b"{}", "the registration names no platform"),
            (b'{"platform": 1}', "the registration names no platform"),
        ],
    )
    async def test_a_registration_without_platform_is_refused(
        self, server: Server, message: bytes, reason: str
    ) -> None:
        peer, served = await server.dial()
        await peer.exchange_keys()
        await peer.say(message)
        assert await is_refused(peer, served) == reason

    async def test_a_registration_that_does_not_decrypt_is_refused(self, server: Server) -> None:
        peer, served = await server.dial()
        await peer.exchange_keys()
        await peer.send(raw.frame(raw.DATA, b"x" * 60))
        assert "does not decrypt" in await is_refused(peer, served)

    async def test_a_heartbeat_is_no_registration(self, server: Server) -> None:
        peer, served = await server.dial()
        await peer.exchange_keys()
        await peer.send(raw.frame(raw.HEARTBEAT))
        assert await is_refused(peer, served) == "a heartbeat instead of the registration"

    async def test_the_registration_is_bounded(self, server: Server) -> None:
        peer, served = await server.dial()
        await peer.exchange_keys()
        await peer.send(struct.pack("!IB", 5 + 36 + 4097, raw.DATA))
        assert await is_refused(peer, served) == "message over 4096 bytes"

    async def test_a_client_that_reads_nothing_cannot_stall_it(self, server: Server) -> None:
        peer, served = await server.dial()
        await peer.send(b"G" * 100_000)
        with trio.fail_after(10):
            await served.finished.wait()

    async def test_what_the_decision_raises_is_not_swallowed(self, nursery: trio.Nursery, server: Server) -> None:
        ours, theirs = await in_memory()
        peer = raw.TcpPeer(theirs)

        async def broken(_: object) -> bool:
            raise KeyError("a bug")

        async def join() -> None:
            await peer.exchange_keys()
            await peer.register()

        nursery.start_soon(join)
        with pytest.raises(KeyError, match="a bug"):
            await accept_tcp(ours, broken, LIMITS)
        assert ours.closed

    async def test_over_a_socket_it_knows_where_the_client_is(self, socket_server: Server) -> None:
        peer, served = await socket_server.opened()
        assert served.registration is not None
        assert served.link is not None
        name = f"127.0.0.1:{peer.stream.socket.getsockname()[1]}"
        assert (served.registration.remote, served.registration.remote_ip) == (name, "127.0.0.1")
        assert (served.link.remote, served.link.remote_ip) == (name, "127.0.0.1")
        await peer.aclose()
        await served.finished.wait()

    async def test_over_a_socket_garbage_sees_an_end_and_no_reset(self, socket_server: Server) -> None:
        peer, served = await socket_server.dial()
        await peer.send(b"GET / HTTP/1.1\r\n" + b"x" * 10_000)
        assert await peer.until_end() == b""
        assert not peer.was_reset
        await peer.aclose()
        await served.finished.wait()
        assert served.reports == ["the peer speaks HTTP or WebSocket (ws://) and not the TCP mode (tcp://)"]


class TestClient:
    async def test_it_sends_its_key_and_registers(self, client: Client) -> None:
        peer, link = await client.opened(platform="qq", token="secret")
        kind, payload = await peer.tcp_frame()
        number, message = peer.keys.open(payload)
        assert (kind, number, json.loads(message)) == (raw.DATA, 0, {"platform": "qq", "token": "secret"})
        assert (link.client, link.closed) == (True, None)
        await link.aclose()

    async def test_what_comes_in_one_segment_with_the_key_is_not_lost(
        self, client: Client, nursery: trio.Nursery
    ) -> None:
        peer = client.peer

        async def answer() -> None:
            peer.keys.agree((await peer.tcp_frame())[1])
            await peer.send(raw.frame(raw.HANDSHAKE, peer.keys.public) + peer.keys.seal(b"welcome"))

        nursery.start_soon(answer)
        link = await client.dial()
        assert await link.receive() == [b"welcome"]
        await link.aclose()

    async def failed(self, client: Client, nursery: trio.Nursery, answer: bytes | None) -> HandshakeFailed:
        peer = client.peer

        async def answer_it() -> None:
            await peer.tcp_frame()
            if answer is not None:
                await peer.send(answer)
                await peer.stream.send_eof()

        nursery.start_soon(answer_it)
        with pytest.raises(HandshakeFailed) as raised:
            await client.dial()
        assert client.stream.closed
        assert raised.value.status == 0
        return raised.value

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            (b"", "connection closed during the handshake"),
            (raw.frame(raw.HANDSHAKE, b"k" * 32)[:-1], "connection closed during the handshake"),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", "speaks HTTP or WebSocket"),
            (b"\x15\x03\x01\x00\x02\x02\x46", "speaks TLS"),
            (raw.frame(raw.HANDSHAKE, raw.ZERO_KEY), "all zero, or of low order"),
            (raw.frame(raw.ANSWER, b"k" * 32), "no handshake of the TCP mode"),
            (None, "no answer within 5 s"),
        ],
    )
    async def test_any_other_answer_is_an_error_that_says_what_came(
        self, client: Client, nursery: trio.Nursery, answer: bytes | None, reason: str
    ) -> None:
        assert reason in (await self.failed(client, nursery, answer)).message

    async def test_an_echo_is_no_server(self, client: Client, nursery: trio.Nursery) -> None:
        async def echo() -> None:
            await client.peer.send(await client.peer.stream.receive_some(1000))

        nursery.start_soon(echo)
        with pytest.raises(HandshakeFailed, match="sends back what we send"):
            await client.dial()

    async def test_a_server_that_is_gone_is_an_error(self, client: Client) -> None:
        await client.peer.aclose()
        with pytest.raises(HandshakeFailed, match="connection lost during the handshake"):
            await client.dial()
        assert client.stream.closed

    async def test_a_platform_that_is_no_text_is_an_error(self, client: Client) -> None:
        with pytest.raises(ValueError, match="surrogates"):
            await client.dial(platform="\ud800")
        assert client.stream.closed

    async def test_a_refusal_is_an_early_end(self, client: Client, nursery: trio.Nursery) -> None:
        async def refuse() -> None:
            await client.peer.exchange_keys()
            await client.peer.tcp_frame()
            await client.peer.aclose()

        nursery.start_soon(refuse)
        with pytest.raises(RegistrationRefused):
            await client.dial(token="wrong")
        assert client.stream.closed

    async def test_a_server_that_is_silent_has_let_it_in_after_half_a_second(self, client: Client) -> None:
        started = trio.current_time()
        _, link = await client.opened()
        assert trio.current_time() - started == pytest.approx(0.5)
        await link.aclose()

    async def test_a_server_that_says_something_has_let_it_in_at_once(
        self, client: Client, nursery: trio.Nursery
    ) -> None:
        async def greet() -> None:
            await client.peer.exchange_keys()
            await client.peer.tcp_frame()
            await client.peer.send(raw.frame(raw.HEARTBEAT) + client.peer.keys.seal(b"hello"))

        nursery.start_soon(greet)
        started = trio.current_time()
        link = await client.dial()
        assert trio.current_time() == started
        assert await link.receive() == [b"hello"]
        await link.aclose()

    async def test_a_deadline_that_passes_meanwhile_is_no_refusal(self, client: Client, nursery: trio.Nursery) -> None:
        async def stay_silent() -> None:
            await client.peer.exchange_keys()
            await client.peer.tcp_frame()
            await trio.sleep(LIMITS.handshake_timeout)

        client.limits = dataclasses.replace(LIMITS, handshake_timeout=0.2)
        nursery.start_soon(stay_silent)
        with pytest.raises(HandshakeFailed, match=r"no answer within 0\.2 s") as raised:
            await client.dial()
        assert not isinstance(raised.value, RegistrationRefused)

    async def test_a_violation_right_after_the_key_ends_the_link(self, client: Client) -> None:
        peer, link = await client.opened()
        await peer.send(struct.pack("!IB", 2**31, raw.DATA))
        with pytest.raises(LinkClosed) as raised:
            await link.receive()
        assert raised.value.code == TOO_BIG
        await peer.aclose()
        await link.aclose()


async def test_both_of_ours_understand_each_other(server: Server, nursery: trio.Nursery) -> None:
    peer, served = await server.dial()
    link = await open_tcp(peer.stream, "qq", "right", LIMITS)
    await served.opened.wait()
    nursery.start_soon(link.run_writer)
    link.send_text_nowait(b"hello")
    await trio.testing.wait_all_tasks_blocked()
    assert served.messages == [b"hello"]
    await link.aclose()
    await served.finished.wait()
    assert served.end == (1005, "the peer has closed the connection", True)
