"""The TCP mode as users have it: servers, clients and routers of ours, and raw peers, in virtual time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from maim_trio import MessageClient, MessageServer, RouteConfig, TargetConfig
from maim_trio._legacy.dial import make_target
from maim_trio.errors import ConfigError
from tests.legacy.memory import (
    TOKEN,
    Heard,
    MemoryMessageClient,
    MemoryMessageServer,
    MemoryRouter,
    text,
)
from tests.legacy.tcp import raw
from tests.legacy.tcp.raw import TcpPeer
from tests.memory import MemoryListener

if TYPE_CHECKING:
    from tests.memory import Network

SETTLED = trio.testing.wait_all_tasks_blocked
URL = "tcp://memory:80"


def guarded(network: Network, **settings: Any) -> MemoryMessageServer:
    """A server that wants a token."""
    server = MemoryMessageServer(network, mode="tcp", enable_token=True, **settings)
    server.add_valid_token(TOKEN)
    return server


async def joined(network: Network, platform: str = "qq", token: str | None = TOKEN) -> TcpPeer:
    """A raw client that was let in."""
    peer = TcpPeer(network.connect())
    await peer.exchange_keys()
    await peer.register(platform, token)
    assert await peer.tcp_frame() == (raw.HEARTBEAT, b"")
    return peer


async def say(peer: TcpPeer, words: Any, sequence: int | None = None) -> None:
    await peer.say(json.dumps(text(words).to_dict()).encode(), sequence)


async def hear(peer: TcpPeer) -> Any:
    return json.loads(await peer.hear())["message_segment"]["data"]


class TestBothOfOurs:
    async def test_a_client_is_let_in_at_once_and_messages_go_both_ways(self, network: Network) -> None:
        up, down = Heard(), Heard()
        async with guarded(network) as server, MemoryMessageClient(network, mode="tcp") as client:
            server.register_message_handler(up)
            client.register_message_handler(down)
            started = trio.current_time()
            assert await client.connect(URL, "qq", TOKEN)
            assert trio.current_time() == started
            assert await client.send_message(text("up"))
            assert await server.send_message(text("down"))
            await SETTLED()
            assert (up.words, down.words) == (["up"], ["down"])
            assert server.get_platforms() == {"qq"}
        assert network.open_streams == set()
        assert network.served_streams == set()

    @pytest.mark.parametrize("token", ["not-the-token-123456", None])
    async def test_a_refusal_is_told_at_once_and_shows_no_token(self, network: Network, log: Any, token: Any) -> None:
        async with guarded(network) as server, MemoryMessageClient(network) as client:
            assert await client.connect(URL, "qq", token) is False
            error = client.get_last_error()
            assert error is not None
            assert "it does not let this client in" in error
            assert ("this client sends no token" in error) is (token is None)
            assert server.get_stats()["failed_auths"] == 1
            assert log.having("refused a peer with 401: unauthorized (platform qq)")
        assert "not-the-token" not in log.text
        assert TOKEN not in log.text

    async def test_a_client_that_was_refused_tries_again_when_the_server_has_learnt_its_token(
        self, network: Network
    ) -> None:
        async with guarded(network) as server, MemoryMessageClient(network) as client:
            assert not await client.connect(URL, "qq", "new-token-1234567890")
            server.add_valid_token("new-token-1234567890")
            await trio.sleep(client.config.max_reconnect_delay)
            assert client.is_connected()

    async def test_heartbeats_keep_an_idle_connection(self, network: Network) -> None:
        settings = {"ping_interval": 0}  # the protocol needs them all the same
        async with guarded(network, **settings) as server, MemoryMessageClient(network, **settings) as client:
            assert await client.connect(URL, "qq", TOKEN)
            await trio.sleep(600)
            assert client.is_connected()
            stats = server.get_stats()
            assert (stats["total_connections"], stats["messages_received"]) == (1, 0)

    async def test_a_server_that_is_stuck_is_noticed_and_left(self, network: Network, nursery: trio.Nursery) -> None:
        """It accepts, and then says nothing more."""
        network.listener = MemoryListener()

        async def stuck() -> None:
            peer = TcpPeer(await network.listener.accept())
            await peer.exchange_keys()
            await trio.sleep_forever()

        nursery.start_soon(stuck)
        async with MemoryMessageClient(network) as client:
            assert await client.connect(URL, "qq", TOKEN)
            await trio.sleep(30)
            assert not client.is_connected()
        nursery.cancel_scope.cancel()

    async def test_what_is_sent_while_the_server_is_away_arrives_when_it_is_back(self, network: Network) -> None:
        heard = Heard()
        async with MemoryMessageClient(network) as client:
            async with guarded(network):
                assert await client.connect(URL, "qq", TOKEN)
            await SETTLED()
            assert not client.is_connected()
            assert await client.send_message(text("kept"))
            async with guarded(network) as server:
                server.register_message_handler(heard)
                await trio.sleep(60)
                assert heard.words == ["kept"]

    async def test_a_router_takes_tcp_targets(self, network: Network) -> None:
        heard = Heard()
        config = RouteConfig({"qq": TargetConfig(URL, TOKEN), "wechat": TargetConfig("tcps://memory:80", TOKEN)})
        async with guarded(network) as server, MemoryRouter({"memory": network}, config) as router:
            server.register_message_handler(heard)
            await SETTLED()
            assert server.get_platforms() == {"qq", "wechat"}
            assert router.check_connection("wechat")
            assert await router.send_message(text("by tcps", platform="wechat"))
            await SETTLED()
            assert heard.words == ["by tcps"]

    async def test_tcps_is_said_to_be_no_tls(self, network: Network, log: Any) -> None:
        async with guarded(network), MemoryMessageClient(network) as client:
            assert await client.connect("tcps://memory:80", "qq", TOKEN)
        assert log.having("tcps:// is not TLS", "WARNING")

    async def test_a_broadcast_reaches_everybody(self, network: Network) -> None:
        async with guarded(network) as server:
            peers = [await joined(network, name) for name in ("qq", "wechat")]
            await SETTLED()
            await server.broadcast_message(text("all").to_dict())
            assert [await hear(peer) for peer in peers] == ["all", "all"]


class TestServer:
    async def test_the_newer_connection_of_a_platform_wins_and_stays(self, network: Network) -> None:
        async with guarded(network) as server:
            older, newer = await joined(network), await joined(network)
            assert await older.until_end() == b""
            await older.aclose()
            await trio.sleep(5)
            assert server.get_platforms() == {"qq"}
            assert await server.send_message(text("for the newer"))
            assert await hear(newer) == "for the newer"

    async def test_a_client_that_is_silent_too_long_is_gone(self, network: Network, log: Any) -> None:
        async with guarded(network) as server:
            await joined(network)
            await trio.sleep(44)
            assert server.get_platforms() == {"qq"}
            await trio.sleep(2)
            assert server.get_platforms() == set()
        assert log.having("silent for 45 s")

    async def test_a_full_server_lets_nobody_else_in(self, network: Network) -> None:
        async with guarded(network, max_connections=1) as server:
            await joined(network)
            late = TcpPeer(network.connect())
            await late.exchange_keys()
            await late.register("wechat", TOKEN)
            assert await late.until_end() == b""
            assert server.get_platforms() == {"qq"}

    async def test_a_platform_that_is_no_name_is_refused(self, network: Network, log: Any) -> None:
        async with guarded(network) as server:
            peer = TcpPeer(network.connect())
            await peer.exchange_keys()
            await peer.register("q\nq", TOKEN)
            assert await peer.until_end() == b""
            assert server.get_stats()["failed_connects"] == 1
        assert log.having("a handshake failed: the platform contains a control character, in the registration")

    async def test_what_is_no_message_is_dropped_and_the_connection_goes_on(self, network: Network) -> None:
        heard = Heard()
        async with guarded(network) as server:
            server.register_message_handler(heard)
            peer = await joined(network)
            await peer.say(b"not json")
            await peer.say(b"[1, 2]")
            await say(peer, "fine")
            await SETTLED()
            assert heard.words == ["fine"]
            assert server.get_stats()["invalid_frames"] == 2

    @pytest.mark.parametrize(
        ("wire", "reason"),
        [
            (b"\xff" * 64, "unknown frame type 255"),
            (raw.frame(raw.DATA, b"x" * 60), "a message does not decrypt"),
            (raw.frame(raw.DATA, length=2**32 - 1), "message over 1048576 bytes"),
        ],
    )
    async def test_garbage_ends_one_connection_and_is_told_in_the_log(
        self, network: Network, log: Any, wire: bytes, reason: str
    ) -> None:
        async with guarded(network, max_message_size=1024 * 1024) as server:
            bad, good = await joined(network, "bad"), await joined(network, "good")
            await bad.send(wire)
            await bad.until_end()
            await bad.aclose()
            await SETTLED()
            assert server.get_platforms() == {"good"}
            assert server.get_stats()["invalid_frames"] == 1
            await say(good, "still here")
            assert await server.send_message(text("you too", platform="good"))
            assert await hear(good) == "you too"
        assert log.having(f"disconnected bad (a stream): {1009 if 'over' in reason else 1002} {reason}")

    async def test_a_replay_ends_one_connection_and_is_handled_once(self, network: Network, log: Any) -> None:
        heard = Heard()
        async with guarded(network) as server:
            server.register_message_handler(heard)
            peer = await joined(network)
            frame = peer.keys.seal(json.dumps(text("pay").to_dict()).encode())
            await peer.send(frame)
            await peer.send(frame)
            await peer.until_end()
            await SETTLED()
            assert heard.words == ["pay"]
        assert log.having("message 1 after message 1: replayed or reordered")

    async def test_a_stop_tells_clients_by_the_end_of_the_connection(self, network: Network) -> None:
        async with guarded(network):
            peer = await joined(network)
            silent = network.connect()
        assert await peer.until_end() == b""
        assert not peer.was_reset
        assert await silent.receive_some(10) == b""
        await peer.aclose()
        assert network.served_streams == set()

    async def test_a_stop_does_not_wait_for_handshakes_that_hang(self, network: Network) -> None:
        async with guarded(network):
            peer = TcpPeer(network.connect())
            await peer.exchange_keys()
            stopping_at = trio.current_time()
        assert trio.current_time() - stopping_at < 1
        assert network.served_streams == set()

    async def test_being_cancelled_leaves_no_stream_open(self, network: Network) -> None:
        peers: list[TcpPeer] = []
        with trio.move_on_after(5):
            async with guarded(network):
                peers += [await joined(network), TcpPeer(network.connect())]
                await trio.sleep_forever()
        assert network.served_streams == set()
        assert await peers[0].until_end() == b""

    async def test_tls_is_not_to_be_had_with_it(self, network: Network) -> None:
        with pytest.raises(ConfigError, match="ssl_certfile cannot be used with mode 'tcp'"):
            guarded(network, ssl_certfile="cert.pem")


class TestTargets:
    @pytest.mark.parametrize(
        ("url", "host", "port"),
        [
            ("tcp://example.org", "example.org", 18000),
            ("tcps://127.0.0.1:5", "127.0.0.1", 5),
            ("TCP://[::1]:7/", "::1", 7),
            ("tcp://example.org:80", "example.org", 80),
        ],
    )
    def test_a_url_names_host_and_port(self, url: str, host: str, port: int) -> None:
        target = make_target(url, "qq")
        assert (target.address.host, target.address.port, target.address.secure) == (host, port, False)
        assert target.scheme in ("tcp", "tcps")

    @pytest.mark.parametrize(
        ("url", "error"),
        [
            ("tcp://", "url names no host"),
            ("tcp://x:0", "names a host or port that cannot be"),
            ("tcp://x:99999", "is not a valid URL"),
            ("udp://x", "url must begin with ws:// or wss:// or tcp:// or tcps://, not 'udp'"),
        ],
    )
    def test_a_url_that_cannot_be_is_named(self, url: str, error: str) -> None:
        with pytest.raises(ConfigError, match=error):
            make_target(url, "qq")

    def test_what_cannot_be_sent_is_named(self) -> None:
        with pytest.raises(ConfigError, match="platform contains a control character"):
            make_target("tcp://x", "q\nq")
        with pytest.raises(ConfigError, match="token contains a lone surrogate"):
            make_target("tcp://x", "qq", "\ud800")


async def test_who_comes_with_ws_is_told_of_both_ways_it_may_be_wrong() -> None:
    async with MessageServer("127.0.0.1", 0, mode="tcp") as server, MessageClient(connect_timeout=0.5) as client:
        assert not await client.connect(f"ws://127.0.0.1:{server.port}/ws", "qq")
        said = client.get_last_error()
    assert said is not None
    assert said.endswith(
        "if the server expects TLS, the url must begin with wss://, and with tcp:// if it is in TCP mode"
    )
