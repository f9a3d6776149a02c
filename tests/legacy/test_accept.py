"""Who is let in by a legacy server, and what the others are told before any upgrade."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
import trio
import trio.testing

from tests.legacy.memory import TOKEN, LegacyPeer, MemoryMessageServer, joined, text
from tests.transport.raw import request

if TYPE_CHECKING:
    from tests.memory import Network

SETTLED = trio.testing.wait_all_tasks_blocked


def guarded(network: Network, **settings: object) -> MemoryMessageServer:
    server = MemoryMessageServer(network, enable_token=True, **settings)
    server.add_valid_token(TOKEN)
    return server


async def test_a_token_is_checked_before_the_upgrade(network):
    async with guarded(network) as server:
        answer = await LegacyPeer(network.connect()).join(platform="qq", token=TOKEN)
        assert (answer.status, answer.headers["x-maim-legacy"]) == (101, "1")
        for token, words in (("wrong-token-9876543210", "not valid"), ("", "a token is needed")):
            answer = await LegacyPeer(network.connect()).join(platform="qq", token=token)
            assert (answer.status, answer.code) == (401, "unauthorized")
            assert words in json.loads(answer.body)["error"]
        stats = server.get_stats()
        assert (stats["total_auth_requests"], stats["successful_auths"], stats["failed_auths"]) == (3, 1, 2)
        assert (stats["total_connections"], stats["failed_connects"]) == (1, 2)


async def test_who_is_refused_disturbs_nobody(network):
    async with guarded(network) as server:
        peer = await joined(network, "qq", TOKEN)
        await SETTLED()
        assert (await LegacyPeer(network.connect()).join(platform="qq", token="wrong")).status == 401
        await SETTLED()
        assert server.get_platforms() == {"qq"}
        assert await server.send_message(text("still there"))
        assert await peer.hear_text() == "still there"


async def test_a_token_may_be_added_and_taken_back_while_it_runs(network):
    async with MemoryMessageServer(network, enable_token=True) as server:
        assert (await LegacyPeer(network.connect()).join(platform="qq", token=TOKEN)).status == 401
        server.add_valid_token(TOKEN)
        peer = await joined(network, "qq", TOKEN)
        await SETTLED()
        server.remove_valid_token(TOKEN)
        assert (await LegacyPeer(network.connect()).join(platform="qq", token=TOKEN)).status == 401
        assert await server.send_message(text("stays"))
        assert await peer.hear_text() == "stays"


async def test_tokens_stand_in_no_line_of_the_log(network, log):
    def raises(_message):
        raise KeyError(TOKEN)

    async with guarded(network) as server:
        server.register_message_handler(raises)
        peer = await joined(network, "qq", TOKEN)
        await peer.say_text("hi")
        await LegacyPeer(network.connect()).join(platform="wrong", token="another-token-123")
        await SETTLED()
    assert TOKEN not in log.text
    assert "another-token-123" not in log.text
    assert log.having("raised KeyError")


async def test_the_query_will_do_where_headers_cannot_be_set(network):
    async with guarded(network) as server:
        target = f"/ws?platform={quote('微信')}&token={TOKEN}".encode()
        assert (await LegacyPeer(network.connect()).join(target=target)).status == 101
        await SETTLED()
        assert server.get_platforms() == {"微信"}


async def test_headers_win_over_the_query(network):
    async with guarded(network) as server:
        target = b"/ws?platform=query&token=wrong"
        assert (await LegacyPeer(network.connect()).join(platform="qq", token=TOKEN, target=target)).status == 101
        await SETTLED()
        assert server.get_platforms() == {"qq"}


@pytest.mark.parametrize("name", ["微信", "qq group", "a" * 256])
async def test_platforms_have_any_name(network, name):
    async with MemoryMessageServer(network) as server:
        peer = await joined(network, name)
        await SETTLED()
        assert await server.send_message(text("hi", platform=name))
        assert await peer.hear_text() == "hi"


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b"platform: a\x01b", "the platform contains a control character"),
        (b"platform: " + b"a" * 257, "the platform is longer than 256 characters"),
        (b"authorization: " + b"a" * 4097, "the token is longer than 4096 characters"),
    ],
)
async def test_a_platform_or_token_that_cannot_be_is_a_bad_request(network, header, words):
    async with MemoryMessageServer(network):
        answer = await LegacyPeer(network.connect()).join(header)
        assert (answer.status, answer.code) == (400, "bad_request")
        assert words in json.loads(answer.body)["error"]


async def test_another_path_is_not_found_and_plain_http_is_asked_to_upgrade(network):
    async with MemoryMessageServer(network, path="/bus"):
        answer = await LegacyPeer(network.connect()).join(platform="qq")
        assert (answer.status, answer.code) == (404, "not_found")
        assert (await LegacyPeer(network.connect()).join(platform="qq", target=b"/bus")).status == 101
        answer = await LegacyPeer(network.connect()).ask(b"GET /bus HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (answer.status, answer.code, answer.headers["upgrade"]) == (426, "upgrade_required", "websocket")


async def test_pages_of_other_origins_stay_outside_of_an_open_server(network):
    async with MemoryMessageServer(network):
        for origin, status in ((b"https://evil.example", 403), (b"http://x:3000", 101)):
            assert (await LegacyPeer(network.connect()).join(b"Origin: " + origin, platform="qq")).status == status


async def test_with_tokens_pages_come_in_unless_origins_are_named(network):
    async with guarded(network):
        assert (await LegacyPeer(network.connect()).join(b"Origin: https://a.example", token=TOKEN)).status == 101
    async with guarded(network, allowed_origins=["https://b.example"]):
        answer = await LegacyPeer(network.connect()).join(b"Origin: https://a.example", token=TOKEN)
        assert (answer.status, answer.code) == (403, "origin_refused")
        assert (await LegacyPeer(network.connect()).join(b"Origin: https://b.example", token=TOKEN)).status == 101


async def test_there_are_so_many_places_and_no_more(network):
    async with MemoryMessageServer(network, max_connections=2) as server:
        peers = [await joined(network, name) for name in ("a", "b")]
        answer = await LegacyPeer(network.connect()).join(platform="c")
        assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "too_many_connections", "2")
        await peers[0].close()
        await joined(network, "c")
        await SETTLED()
        assert server.get_platforms() == {"b", "c"}
        assert server.promised == 0


async def test_a_promised_place_is_given_back_when_the_client_has_gone(network):
    async with MemoryMessageServer(network, max_connections=1) as server:
        for _ in range(3):
            peer = LegacyPeer(network.connect())
            await peer.send(request(b"platform: gone", target=b"/ws"))
            await peer.aclose()
            await SETTLED()
        assert server.promised == 0
        await joined(network, "qq")


async def test_a_peer_that_never_asks_is_sent_away(network):
    async with MemoryMessageServer(network, handshake_timeout=5) as server:
        peer = LegacyPeer(network.connect())
        await peer.until_end()
        assert trio.current_time() >= 5
        assert server.get_stats()["failed_connects"] == 1


async def test_an_open_server_says_so_once(network, log):
    async with MemoryMessageServer(network):
        pass
    assert log.having("no tokens are asked for (enable_token is off), so everybody is let in", "WARNING")
    log.clear()
    async with guarded(network):
        pass
    assert log.lines("WARNING") == []
