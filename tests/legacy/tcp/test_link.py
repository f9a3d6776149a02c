"""One connection of the TCP mode after its handshake: a raw peer on the other end, mostly in virtual time."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from maim_trio._legacy._tcp.handshake import open_tcp
from maim_trio._transport.frames import INVALID_DATA, PROTOCOL_ERROR, TOO_BIG
from maim_trio._transport.limits import LinkClosed
from maim_trio._transport.link import Link, running
from maim_trio._transport.writer import MAX_PONGS

from . import raw
from .conftest import LIMITS, Client, Server, collect

if TYPE_CHECKING:
    from maim_trio._legacy._tcp.link import TcpLink

    from .conftest import Served

SETTLED = trio.testing.wait_all_tasks_blocked
BEAT = raw.frame(raw.HEARTBEAT)


async def wait(_: Served, __: TcpLink) -> None:
    """A handler that never reads."""
    await trio.sleep_forever()


class TestReceiving:
    async def test_messages_come_in_order_and_in_batches(self, server: Server) -> None:
        peer, served = await server.opened()
        await peer.send(b"".join(peer.keys.seal(b"%d" % number) for number in range(5)))
        await peer.aclose()
        await served.finished.wait()
        assert served.messages == [b"0", b"1", b"2", b"3", b"4"]
        assert served.end == (1005, "the peer has closed the connection", True)
        assert served.link is not None
        assert served.link.peer_closed

    async def test_it_is_a_link_like_any_other(self, server: Server) -> None:
        _, served = await server.opened()
        assert isinstance(served.link, Link)
        assert repr(served.link) == "<Link from a stream, open>"

    async def test_a_cancelled_receive_has_taken_nothing(self, client: Client) -> None:
        peer, link = await client.opened()
        with trio.move_on_after(1) as scope:
            await link.receive()
        assert scope.cancelled_caught
        await peer.say(b"late")
        assert await link.receive() == [b"late"]
        await link.aclose()

    async def test_two_tasks_cannot_receive_at_once(self, client: Client, nursery: trio.Nursery) -> None:
        _, link = await client.opened()
        nursery.start_soon(collect, link, [])
        await SETTLED()
        with pytest.raises(trio.BusyResourceError):
            await link.receive()
        await link.aclose()

    @pytest.mark.parametrize(
        ("wire", "code", "reason"),
        [
            (raw.frame(raw.HANDSHAKE, b"k" * 32), PROTOCOL_ERROR, "a second handshake"),
            (raw.frame(200), PROTOCOL_ERROR, "unknown frame type 200"),
            (raw.frame(raw.HEARTBEAT, b"!"), PROTOCOL_ERROR, "a heartbeat of 6 bytes, and not of 5"),
            (raw.frame(raw.DATA, b"x" * 40), PROTOCOL_ERROR, "does not decrypt"),
            (raw.frame(raw.DATA, b"x" * 35), PROTOCOL_ERROR, "a data frame of 40 bytes is too short"),
            (struct.pack("!IB", 2**32 - 1, raw.DATA), TOO_BIG, f"message over {LIMITS.max_message} bytes"),
        ],
    )
    async def test_garbage_ends_the_connection_after_what_came_before_it(
        self, server: Server, wire: bytes, code: int, reason: str
    ) -> None:
        async def echo(served: Served, link: TcpLink) -> None:
            try:
                while True:
                    for message in await link.receive():
                        served.messages.append(message)
                        link.send_text_nowait(message)
            except LinkClosed as ended:
                served.ended = ended

        server.handler = echo
        peer, served = await server.opened()
        await peer.send(peer.keys.seal(b"good") + wire + b"more of it" * 100)
        assert await peer.hear() == b"good"
        assert await peer.until_end() == b""
        await peer.aclose()
        await served.finished.wait()
        assert served.messages == [b"good"]
        assert served.end[0] == code
        assert reason in served.end[1]
        assert not served.end[2]

    async def test_a_replayed_message_ends_the_connection(self, server: Server) -> None:
        peer, served = await server.opened()
        frame = peer.keys.seal(b"pay")
        await peer.send(frame)
        await SETTLED()
        await peer.send(frame)
        await served.finished.wait()
        assert served.messages == [b"pay"]
        assert served.end == (PROTOCOL_ERROR, "message 1 after message 1: replayed or reordered", False)

    async def test_a_replayed_registration_is_no_message(self, server: Server) -> None:
        peer, served = await server.dial()
        await peer.exchange_keys()
        frame = peer.keys.seal(b'{"platform": "qq"}')
        await peer.send(frame + frame)
        await served.finished.wait()
        assert served.messages == []
        assert "replayed" in served.end[1]

    async def test_numbers_may_go_on_from_an_earlier_connection(self, server: Server) -> None:
        peer, served = await server.dial()
        await peer.exchange_keys()
        peer.keys.sequence = 12
        await peer.register()
        await peer.say(b"13")
        await peer.say(b"20", sequence=20)
        await peer.aclose()
        await served.finished.wait()
        assert served.messages == [b"13", b"20"]

    async def test_our_own_frame_sent_back_ends_the_connection(self, server: Server) -> None:
        peer, served = await server.opened()
        assert served.link is not None
        for _ in range(3):
            served.link.send_text_nowait(b"to you")
        frames = [await peer.tcp_frame() for _ in range(3)]
        await peer.send(raw.frame(*frames[2]))  # its number would fit
        await served.finished.wait()
        assert served.end[1] == "a message of ours has come back as the peer's"

    async def test_a_message_that_is_no_text_ends_the_connection(self, server: Server) -> None:
        peer, served = await server.opened()
        await peer.say(b"\xff")
        await served.finished.wait()
        assert served.end == (INVALID_DATA, "message is not UTF-8", False)

    async def test_an_end_in_the_middle_of_a_frame_is_a_lost_connection(self, server: Server) -> None:
        peer, served = await server.opened()
        await peer.send(peer.keys.seal(b"never whole")[:-1])
        await peer.aclose()
        await served.finished.wait()
        assert served.end == (1006, "connection lost", False)
        assert served.messages == []

    async def test_one_bad_peer_does_not_disturb_another(self, server: Server) -> None:
        bad, bad_served = await server.opened()
        good, good_served = await server.opened("wechat")
        await bad.send(b"\xff" * 100)
        await bad_served.finished.wait()
        await good.say(b"still here")
        await SETTLED()
        assert good_served.messages == [b"still here"]
        assert good_served.ended is None


class TestLiveness:
    async def test_a_server_answers_each_heartbeat(self, server: Server) -> None:
        peer, _ = await server.opened()
        await peer.send(BEAT * 3)
        assert [await peer.tcp_frame() for _ in range(3)] == [(raw.HEARTBEAT, b"")] * 3

    async def test_waiting_answers_are_bounded(self, server: Server) -> None:
        server.handler = wait
        peer, served = await server.opened()
        assert served.link is not None
        link = served.link
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(collect, link, [])
                await peer.send(BEAT * 500)
                await SETTLED()
                scope.cancel()
        assert len(raw.split_frames(await self._all(peer))[0]) == MAX_PONGS

    async def _all(self, peer: raw.TcpPeer) -> bytes:
        with trio.move_on_after(0.1):
            await peer.until_end()
        return peer.unread

    async def test_a_client_answers_no_heartbeat(self, client: Client, nursery: trio.Nursery) -> None:
        peer, link = await client.opened()
        await peer.tcp_frame()
        nursery.start_soon(link.run_writer)
        nursery.start_soon(collect, link, [])
        await peer.send(BEAT)
        with trio.move_on_after(30) as scope:
            await peer.tcp_frame()
        assert scope.cancelled_caught
        link.abort()

    @pytest.mark.parametrize("role", ["server", "client"])
    async def test_silence_ends_the_connection(
        self, role: str, server: Server, client: Client, nursery: trio.Nursery
    ) -> None:
        if role == "server":
            peer, served = await server.opened()
            started = trio.current_time()
            await served.finished.wait()
            ended = served.ended
        else:
            peer, link = await client.opened()
            started = trio.current_time()
            ended = await collect(link, [])
            await link.aclose()
        assert ended is not None
        assert (ended.code, ended.reason) == (1006, "silent for 45 s")
        assert trio.current_time() - started == pytest.approx(45)
        await peer.aclose()

    async def test_heartbeats_keep_a_connection_alive(self, server: Server) -> None:
        peer, served = await server.opened()
        for _ in range(20):
            await trio.sleep(15)
            await peer.send(BEAT)
        assert served.ended is None
        await peer.aclose()

    async def test_while_nobody_reads_silence_is_not_the_peers(self, server: Server) -> None:
        async def read_late(served: Served, link: TcpLink) -> None:
            await trio.sleep(100)
            await served.read(link)

        server.handler = read_late
        peer, served = await server.opened()
        await peer.say(b"waiting")
        await trio.sleep(120)
        assert served.messages == [b"waiting"]
        assert served.ended is None
        await peer.aclose()

    async def test_a_client_pings_with_a_heartbeat(self, client: Client, nursery: trio.Nursery) -> None:
        peer, link = await client.opened()
        await peer.tcp_frame()

        async def answer() -> None:
            assert await peer.tcp_frame() == (raw.HEARTBEAT, b"")
            await trio.sleep(0.5)
            await peer.send(BEAT)

        nursery.start_soon(answer)
        nursery.start_soon(link.run_writer)
        nursery.start_soon(collect, link, [])
        assert await link.ping(10) == pytest.approx(0.5)
        await link.aclose()

    async def test_a_client_notices_that_nobody_answers(self, client: Client, nursery: trio.Nursery) -> None:
        _, link = await client.opened()
        nursery.start_soon(link.run_writer)
        nursery.start_soon(collect, link, [])
        with pytest.raises(trio.TooSlowError):
            await link.ping(10)
        assert link.closed is None
        link.abort()

    async def test_a_server_waits_for_the_next_sign_of_life(self, server: Server) -> None:
        peer, served = await server.opened()
        assert served.link is not None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._beat_after, peer, 14.0)
            assert await served.link.ping(5) == pytest.approx(14)
        await peer.aclose()

    async def _beat_after(self, peer: raw.TcpPeer, seconds: float) -> None:
        await trio.sleep(seconds)
        await peer.send(BEAT)

    async def test_a_server_that_does_not_read_does_not_wait_for_ever(self, server: Server) -> None:
        server.handler = wait
        _, served = await server.opened()
        assert served.link is not None
        started = trio.current_time()
        with pytest.raises(trio.TooSlowError):
            await served.link.ping(5)
        assert trio.current_time() - started == pytest.approx(45 + 5)
        served.link.abort()

    @pytest.mark.parametrize("role", ["server", "client"])
    async def test_an_end_wakes_who_pings(
        self, role: str, server: Server, client: Client, nursery: trio.Nursery
    ) -> None:
        if role == "server":
            peer, served = await server.opened()
            link: Any = served.link
        else:
            peer, link = await client.opened()
            nursery.start_soon(link.run_writer)
            nursery.start_soon(collect, link, [])

        async def end() -> None:
            await trio.sleep(1)
            await peer.aclose()

        nursery.start_soon(end)
        with pytest.raises(LinkClosed):
            await link.ping(10)
        with pytest.raises(LinkClosed):
            await link.ping(10)
        await link.aclose()


class TestSending:
    async def test_numbers_count_from_zero_on_a_server_too(self, server: Server) -> None:
        peer, served = await server.opened()
        assert served.link is not None
        for message in (b"a", b"b" * 50_000, b"c"):
            served.link.send_text_nowait(message)
        heard = [peer.keys.open((await peer.tcp_frame())[1]) for _ in range(3)]
        assert heard == [(0, b"a"), (1, b"b" * 50_000), (2, b"c")]

    async def test_a_full_queue_refuses_without_using_up_a_number(self, client: Client) -> None:
        peer, link = await client.opened()
        await peer.tcp_frame()
        half = b"x" * (LIMITS.max_queued // 2)
        link.send_text_nowait(half)
        assert link.queued_bytes == len(half) + 41
        with pytest.raises(trio.WouldBlock):
            link.send_text_nowait(half)
        assert not link.has_space(len(half))
        link.send_text_nowait(b"small")
        async with running(link):
            numbers = [peer.keys.open((await peer.tcp_frame())[1])[0] for _ in range(2)]
            await link.wait_space(len(half))
            await peer.aclose()
        assert numbers == [1, 2]  # 0 was the registration

    async def test_one_larger_message_may_stand_alone(self, client: Client) -> None:
        peer, link = await client.opened()
        await peer.tcp_frame()
        large = b"x" * (2 * LIMITS.max_queued)
        link.send_text_nowait(large)
        with pytest.raises(trio.WouldBlock):
            link.send_text_nowait(b"")
        async with running(link):
            assert await peer.hear() == large
            await peer.aclose()

    async def test_a_frame_of_a_websocket_is_not_taken(self, client: Client) -> None:
        _, link = await client.opened()
        with pytest.raises(TypeError, match="send_text_nowait"):
            link.send_nowait(b"\x81\x01x")
        with pytest.raises(TypeError, match="send_text_nowait"):
            link.offer((b"\x81\x01x",))
        await link.aclose()

    async def test_after_the_end_nothing_is_taken(self, client: Client) -> None:
        _, link = await client.opened()
        link.abort("enough")
        with pytest.raises(LinkClosed, match="1006 enough"):
            link.send_text_nowait(b"x")
        await link.aclose()

    async def test_a_peer_that_does_not_read_is_cut_off(self, server: Server) -> None:
        server.handler = wait
        peer, served = await server.opened()
        assert served.link is not None
        link = served.link
        theirs = peer.stream
        blocked = trio.Event()

        async def stuck(_: object) -> None:
            blocked.set()
            await trio.sleep_forever()

        served.stream.send_all = stuck
        link.send_text_nowait(b"x")
        await blocked.wait()
        await trio.sleep(LIMITS.send_timeout + 1)
        assert link.closed == (1006, "peer does not read", False)
        assert await theirs.receive_some(10) == b""


class TestTheEnd:
    async def test_what_is_queued_still_leaves_and_then_tcp_ends(self, server: Server) -> None:
        async def say_goodbye(_: Served, link: TcpLink) -> None:
            for number in range(10):
                link.send_text_nowait(b"%d" % number * 20_000)
            await link.aclose(1001, "server stopping")
            assert link.closed == (1001, "server stopping", False)

        server.handler = say_goodbye
        peer, served = await server.opened()
        frames, rest = raw.split_frames(await peer.until_end())
        await peer.aclose()
        await served.finished.wait()
        assert [peer.keys.open(payload) for _, payload in frames] == [(n, b"%d" % n * 20_000) for n in range(10)]
        assert rest == b""

    async def test_a_peer_that_does_not_end_is_waited_for_but_not_long(self, client: Client) -> None:
        _, link = await client.opened()
        started = trio.current_time()
        await link.aclose()
        assert trio.current_time() - started == pytest.approx(1)
        assert client.stream.closed

    async def test_a_peer_that_never_stops_cannot_hold_up_the_end(self, client: Client, nursery: trio.Nursery) -> None:
        peer, link = await client.opened()

        async def chatter() -> None:
            while True:
                await trio.sleep(0.5)
                await peer.pour(BEAT)

        nursery.start_soon(chatter)
        started = trio.current_time()
        await link.aclose()
        assert trio.current_time() - started == pytest.approx(LIMITS.close_timeout)
        nursery.cancel_scope.cancel()

    async def test_who_receives_meanwhile_still_gets_what_comes(self, client: Client, nursery: trio.Nursery) -> None:
        peer, link = await client.opened()
        messages: list[bytes] = []
        nursery.start_soon(collect, link, messages)
        nursery.start_soon(link.aclose)
        await peer.tcp_frame()
        assert not await peer.read_more()  # our half has ended
        await peer.say(b"one more")
        await peer.aclose()
        await SETTLED()
        assert messages == [b"one more"]

    async def test_the_second_close_waits_for_the_same_end(self, client: Client) -> None:
        _, link = await client.opened()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.aclose, 1000, "first")
            await trio.sleep(0.1)
            await link.aclose(1001, "second")
            assert client.stream.closed
        assert link.closed == (1000, "first", False)

    async def test_a_code_that_no_close_may_have_is_refused(self, client: Client) -> None:
        _, link = await client.opened()
        with pytest.raises(ValueError, match="1006"):
            await link.aclose(1006)
        await link.aclose()

    async def test_a_cancelled_close_leaves_no_stream_open(self, client: Client) -> None:
        _, link = await client.opened()
        with trio.move_on_after(0.1):
            await link.aclose()
        assert client.stream.closed

    async def test_abort_ends_it_at_once_and_wakes_the_reader(self, client: Client, nursery: trio.Nursery) -> None:
        _, link = await client.opened()
        ended: list[LinkClosed] = []

        async def read() -> None:
            ended.append(await collect(link, []))

        nursery.start_soon(read)
        await SETTLED()
        link.abort("no patience")
        await SETTLED()
        assert [str(end) for end in ended] == ["1006 no patience"]
        await link.aclose()
        assert client.stream.closed

    async def test_an_end_by_the_peer_is_answered_with_ours(self, server: Server) -> None:
        peer, served = await server.opened()
        await peer.stream.send_eof()
        assert await peer.until_end() == b""
        await served.finished.wait()
        assert served.end == (1005, "the peer has closed the connection", True)


class TestSockets:
    async def test_large_messages_go_both_ways_at_once(self, socket_server: Server, nursery: trio.Nursery) -> None:
        large = "😀".encode() * (LIMITS.max_message // 4)
        peer, served = await socket_server.dial()
        link = await open_tcp(peer.stream, "qq", None, LIMITS)
        await served.opened.wait()
        assert served.link is not None
        got: list[bytes] = []
        nursery.start_soon(link.run_writer)
        nursery.start_soon(collect, link, got)
        for _ in range(3):
            link.send_text_nowait(large)
            served.link.send_text_nowait(large)
            await link.wait_space(len(large))
            await served.link.wait_space(len(large))
        await link.aclose()
        await served.finished.wait()
        assert served.messages == [large] * 3
        assert got == [large] * 3
        assert link.bytes_out == served.link.bytes_in > 3 * len(large)

    async def test_last_words_arrive_although_the_peer_talks_on(self, socket_server: Server) -> None:
        async def answer_and_end(_: Served, link: TcpLink) -> None:
            await link.receive()
            link.send_text_nowait(b"last words")
            await link.aclose()

        socket_server.handler = answer_and_end
        peer, served = await socket_server.opened()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.pour, peer.keys.seal(b"x" * 1000) + BEAT * 1000, 50)
            assert await peer.hear() == b"last words"
            await peer.until_end()
            assert not peer.was_reset
            await peer.aclose()
        await served.finished.wait()

    async def test_a_reset_is_a_lost_connection(self, socket_server: Server) -> None:
        peer, served = await socket_server.opened()
        await peer.reset()
        await served.finished.wait()
        assert served.end == (1006, "connection lost", False)
