"""Every row of the table of opening handshakes (wire protocol, section 1)."""

from __future__ import annotations

import functools
import hashlib
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import trio

from maim_trio.server import AuthResult
from tests.server.peer import KEY, Answer, Peer, joined
from tests.transport.raw import request

if TYPE_CHECKING:
    from tests.memory import Network


async def knock(network: Network, *headers: bytes, **credentials: str) -> Answer:
    return await Peer(network.connect()).upgrade(*headers, **credentials)


async def send_request(network: Network, data: bytes) -> Answer:
    return await Peer(network.connect()).ask(data)


def yes(_metadata: dict[str, Any]) -> bool:
    return True


class TestAccepted:
    async def test_the_answer_names_the_protocol_and_nothing_is_resumed(self, network: Network) -> None:
        async with network.server(on_auth=yes):
            answer = await knock(network)
        assert answer.status == 101
        assert answer.headers["x-maim-protocol"] == "1"
        assert "x-maim-resumed" not in answer.headers

    async def test_a_client_that_names_no_id_gets_a_uuid4(self, network: Network) -> None:
        async with network.server(on_auth=yes) as server:
            await joined(network)
            (given,) = server.get_connections()
        assert uuid.UUID(given).version == 4

    async def test_query_wins_over_header_and_absent_platform_is_unknown(self, network: Network) -> None:
        seen = []
        async with network.server(on_auth=lambda metadata: not seen.append(metadata)):
            target = b"/ws?api_key=from+query%2B%C3%BC&platform="
            await send_request(network, request(b"X-ApiKey: header", b"x-platform: qq", target=target))
            await send_request(network, request(b"X-APIKEY: caf\xe9", target=b"/ws"))
        assert [(metadata["api_key"], metadata["platform"]) for metadata in seen] == [
            ("from query+ü", "qq"),
            ("café", "unknown"),
        ]

    async def test_on_auth_is_told_who_asks_but_not_what_is_secret_twice(self, network: Network) -> None:
        seen = []
        async with network.server(on_auth=lambda metadata: not seen.append(metadata)):
            await knock(network, b"Authorization: x", b"Cookie: y", b"User-Agent: bot", b"x-color: red", uuid="u1")
        (metadata,) = seen
        assert {name: metadata[name] for name in ("uuid", "api_key", "platform", "user_id", "user_agent")} == {
            "uuid": "u1", "api_key": KEY, "platform": "unknown", "user_id": "", "user_agent": "bot",
        }  # fmt: skip
        assert (metadata["client_cert"], metadata["client_cert_info"], metadata["resumed"]) == ("", None, False)
        assert metadata["headers"]["x-color"] == "red"
        assert not {"authorization", "cookie", "x-apikey"} & set(metadata["headers"])


class Door:
    def __call__(self, metadata: dict[str, Any]) -> bool:
        return metadata["api_key"] == KEY


async def async_door(metadata: dict[str, Any]) -> bool:
    await trio.lowlevel.checkpoint()
    return metadata["api_key"] == KEY


def plain_door(metadata: dict[str, Any]) -> bool:
    return metadata["api_key"] == KEY


def door_with_argument(wanted: str, metadata: dict[str, Any]) -> bool:
    return metadata["api_key"] == wanted


async def door_of_result(metadata: dict[str, Any]) -> AuthResult:
    return AuthResult(metadata["api_key"] == KEY)


class AsyncDoor:
    async def __call__(self, metadata: dict[str, Any]) -> bool:
        await trio.lowlevel.checkpoint()
        return metadata["api_key"] == KEY


@pytest.mark.parametrize(
    "on_auth",
    [
        plain_door,
        async_door,
        door_of_result,
        lambda metadata: metadata["api_key"] == KEY,
        lambda metadata: async_door(metadata),
        functools.partial(door_with_argument, KEY),
        Door(),
        Door().__call__,
        AsyncDoor(),
    ],
    ids=[
        "function",
        "coroutine",
        "result",
        "lambda",
        "lambda of coroutine",
        "partial",
        "object",
        "method",
        "async call",
    ],
)
async def test_on_auth_may_be_any_callable(network: Network, on_auth: Any) -> None:
    async with network.server(on_auth=on_auth):
        assert (await knock(network)).status == 101
        assert (await knock(network, key="another key")).status == 401


class TestIdentity:
    async def test_a_user_id_in_the_result_counts_and_the_extractor_is_not_asked(self, network: Network) -> None:
        asked = []
        on_auth = functools.partial(_result, user_id="alice")
        async with network.server(on_auth=on_auth, on_auth_extract_user=asked.append) as server:
            await joined(network)
            assert server.get_user_connections("alice") == set(server.get_connections())
        assert asked == []

    async def test_the_extractor_names_the_user_after_on_auth(self, network: Network) -> None:
        order = []

        def on_auth(_metadata: Any) -> bool:
            order.append("on_auth")
            return True

        async def extract(metadata: dict[str, Any]) -> str:
            order.append("extract")
            await trio.lowlevel.checkpoint()
            return "user of " + metadata["platform"]

        async with network.server(on_auth=on_auth, on_auth_extract_user=extract) as server:
            await joined(network, platform="qq")
            assert len(server.get_user_connections("user of qq")) == 1
        assert order == ["on_auth", "extract"]

    async def test_without_extractor_the_user_is_derived_from_the_key(self, network: Network) -> None:
        async with network.server(on_auth=yes) as server:
            await joined(network)
            derived = "user_" + hashlib.sha256(KEY.encode()).hexdigest()[:16]
            assert len(server.get_user_connections(derived)) == 1

    async def test_where_nobody_is_authenticated_everybody_is_one_user(self, network: Network) -> None:
        async with network.server() as server:
            await joined(network)
            await joined(network, key="")
            assert len(server.get_user_connections("sys_default")) == 2

    @pytest.mark.parametrize("user", ["", None, 17, b"alice", ["alice"]])
    async def test_no_usable_user_id_is_a_401(self, network: Network, user: Any) -> None:
        async with network.server(on_auth=yes, on_auth_extract_user=lambda _: user) as server:
            answer = await knock(network)
            assert (answer.status, answer.code) == (401, "unauthorized")
            assert server.get_connection_count() == 0


def _result(_metadata: Any, **fields: Any) -> AuthResult:
    return AuthResult(True, **fields)


class TestRefused:
    async def test_a_wrong_key_is_401_with_one_line_of_json(self, network: Network) -> None:
        async with network.server(on_auth=lambda _: False) as server:
            answer = await knock(network)
            stats = server.get_stats()
        assert (answer.status, answer.code) == (401, "unauthorized")
        assert answer.headers["content-type"] == "application/json"
        assert KEY.encode() not in answer.body
        assert (stats["failed_auths"], stats["failed_connects"], stats["successful_auths"]) == (1, 1, 0)

    async def test_the_error_message_of_a_result_is_told(self, network: Network) -> None:
        async with network.server(on_auth=lambda _: AuthResult(False, error_message="unpaid\nbill")):
            answer = await knock(network)
        assert (answer.status, answer.code) == (401, "unauthorized")
        assert b"unpaid\\nbill" in answer.body

    async def test_an_error_message_that_is_no_string_is_told_all_the_same(self, network: Network) -> None:
        error: Any = ValueError("unpaid")
        async with network.server(on_auth=lambda _: AuthResult(False, error_message=error)):
            answer = await knock(network)
        assert answer.status == 401
        assert b'"unpaid"' in answer.body

    async def test_a_user_id_in_a_negative_result_lets_nobody_in(self, network: Network) -> None:
        async with network.server(on_auth=lambda _: AuthResult(False, user_id="alice")):
            assert (await knock(network)).status == 401

    async def test_nothing_returned_is_a_no(self, network: Network) -> None:
        async with network.server(on_auth=lambda _: None):
            assert (await knock(network)).status == 401

    @pytest.mark.parametrize("answer", [(False, "no"), {"success": False}, "no", 1, AuthResult("no")])  # type: ignore[arg-type]
    async def test_an_answer_that_is_neither_yes_nor_no_lets_nobody_in(
        self, network: Network, log: Any, answer: Any
    ) -> None:
        async with network.server(on_auth=lambda _: answer) as server:
            assert (await knock(network)).status == 500
            assert server.get_stats()["failed_auths"] == 1
        assert len(log.having("on_auth must return True, False or an AuthResult", "ERROR")) == 1

    async def test_another_path_is_404(self, network: Network) -> None:
        async with network.server(path="/bus") as server:
            answer = await send_request(network, request(target=b"/ws?api_key=x"))
            assert (answer.status, answer.code) == (404, "not_found")
            assert (await send_request(network, request(target=b"/b%75s?api_key=x"))).status == 101
            assert server.get_stats()["failed_connects"] == 1

    @pytest.mark.parametrize("method", [b"GET", b"POST"])
    async def test_plain_http_on_the_path_is_426(self, network: Network, method: bytes) -> None:
        async with network.server(on_auth=yes):
            answer = await send_request(network, method + b" /ws HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (answer.status, answer.code) == (426, "upgrade_required")
        assert answer.headers["upgrade"] == "websocket"
        assert "upgrade" in answer.headers["connection"]

    async def test_a_head_request_gets_no_body(self, network: Network) -> None:
        async with network.server(on_auth=yes):
            answer = await send_request(network, b"HEAD /ws HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (answer.status, answer.body) == (426, b"")

    @pytest.mark.parametrize(
        "head",
        [
            request(target=b"/ws?api_key=a%00b"),
            request(target=b"/ws?api_key=a%0d%0ab"),
            request(target=b"/ws?api_key=%ff"),
            request(target=b"/ws?api_key=x&platform=%1b"),
            request(target=b"/ws?api_key=" + b"k" * 4097),
            request(b"x-apikey: a\x01b", target=b"/ws"),
            request(b"x-apikey: a\xc2\x85b", target=b"/ws"),
            request(b"x-apikey: " + b"k" * 4097, target=b"/ws"),
            request(b"x-platform: " + b"p" * 257, target=b"/ws?api_key=x"),
            request(b"x-uuid: " + b"u" * 257, target=b"/ws?api_key=x"),
            request(b"x-uuid: a\x7fb", target=b"/ws?api_key=x"),
        ],
    )
    async def test_malformed_credentials_are_400_before_anybody_is_asked(self, network: Network, head: bytes) -> None:
        asked = []
        async with network.server(on_auth=asked.append):
            answer = await send_request(network, head)
        assert (answer.status, answer.code) == (400, "bad_request")
        assert asked == []

    async def test_a_key_of_4096_characters_is_fine(self, network: Network) -> None:
        async with network.server(on_auth=yes):
            assert (await send_request(network, request(target=b"/ws?api_key=" + b"k" * 4096))).status == 101


class TestOrigin:
    @pytest.mark.parametrize("origin", [b"http://evil.example", b"null", b"http://x.evil.example", b"garbage"])
    async def test_a_foreign_page_does_not_reach_an_open_server(self, network: Network, origin: bytes) -> None:
        async with network.server():
            answer = await knock(network, b"Origin: " + origin)
        assert (answer.status, answer.code) == (403, "origin_refused")

    async def test_a_page_of_this_very_host_does_on_any_port(self, network: Network) -> None:
        async with network.server():
            for origin in (b"http://x", b"https://X:8080"):
                assert (await knock(network, b"Origin: " + origin)).status == 101

    async def test_any_page_with_a_key_reaches_a_server_that_authenticates(self, network: Network) -> None:
        async with network.server(on_auth=yes):
            assert (await knock(network, b"Origin: http://elsewhere.example")).status == 101

    async def test_only_allowed_pages_do_once_some_are_named(self, network: Network) -> None:
        asked = []
        async with network.server(on_auth=lambda m: not asked.append(m), allowed_origins=["https://chat.example/"]):
            assert (await knock(network, b"Origin: https://Chat.example")).status == 101
            assert (await knock(network)).status == 101
            assert (await knock(network, b"Origin: http://chat.example")).status == 403
            assert (await knock(network, b"Origin: http://x")).status == 403
        assert len(asked) == 2


class TestLimits:
    async def test_a_full_server_answers_503_with_retry_after_and_asks_nobody(self, network: Network) -> None:
        asked = []
        async with network.server(on_auth=lambda m: not asked.append(m), max_connections=1):
            first = await joined(network)
            answer = await knock(network)
            assert (answer.status, answer.code) == (503, "too_many_connections")
            assert int(answer.headers["retry-after"]) > 0
            assert len(asked) == 1
            await first.close()
            assert (await knock(network)).status == 101

    async def test_one_user_may_have_so_many_and_others_are_not_touched(self, network: Network) -> None:
        async with network.server(on_auth=yes, max_connections_per_user=1):
            first = await joined(network)
            answer = await knock(network)
            assert (answer.status, answer.code) == (503, "too_many_connections")
            assert (await knock(network, key="somebody else")).status == 101
            await first.close()
            assert (await knock(network)).status == 101

    async def test_who_replaces_its_own_connection_is_not_one_more(self, network: Network) -> None:
        async with network.server(on_auth=yes, max_connections_per_user=1) as server:
            await joined(network, uuid="u1")
            assert (await knock(network, uuid="u1")).status == 101
            assert server.get_connection_count() == 1

    @pytest.mark.parametrize("limit", [{"max_connections": 2}, {"max_connections_per_user": 2}])
    async def test_handshakes_at_the_same_time_do_not_slip_under_a_limit(
        self, network: Network, limit: dict[str, int]
    ) -> None:
        statuses = []

        async def one() -> None:
            statuses.append((await knock(network)).status)

        async with network.server(on_auth=yes, **limit) as server:
            async with trio.open_nursery() as nursery:
                for _ in range(6):
                    nursery.start_soon(one)
            assert server.get_connection_count() == 2
        assert sorted(statuses) == [101] * 2 + [503] * 4

    async def test_a_handshake_that_fails_after_its_admission_gives_its_place_back(self, network: Network) -> None:
        async with network.server(on_auth=yes, max_connections=1, max_connections_per_user=1):
            for _ in range(3):
                gone = network.connect()
                await gone.send_all(request(b"x-apikey: k", target=b"/ws"))
                await trio.aclose_forcefully(gone)
                await trio.testing.wait_all_tasks_blocked()
            assert (await knock(network)).status == 101


class TestHooksThatFail:
    @pytest.mark.parametrize("name", ["on_auth", "on_auth_extract_user"])
    async def test_a_raising_hook_is_500_and_the_reason_stays_here(self, network: Network, log: Any, name: str) -> None:
        def fails(_metadata: Any) -> Any:
            raise RuntimeError("the database is on fire")

        async with network.server(**{"on_auth": yes, name: fails}) as server:
            answer = await knock(network)
            assert (answer.status, answer.code) == (500, "auth_error")
            assert b"fire" not in answer.body
            assert "the database is on fire" in log.text
            stats = server.get_stats()
            assert (stats["handler_errors"], stats["failed_auths"], stats["failed_connects"]) == (1, 1, 1)
            assert stats["last_error"] == f"{name} raised RuntimeError"

    async def test_hooks_that_outrun_their_bound_together_are_503(self, network: Network) -> None:
        async def slow_yes(_metadata: Any) -> bool:
            await trio.sleep(5)
            return True

        async def slow_name(_metadata: Any) -> str:
            await trio.sleep(5)
            return "alice"

        async with network.server(on_auth=slow_yes, on_auth_extract_user=slow_name, auth_timeout=8) as server:
            start = trio.current_time()
            answer = await knock(network)
            assert trio.current_time() - start == pytest.approx(8)
            assert (answer.status, answer.code) == (503, "auth_timeout")
            assert "retry-after" in answer.headers
            assert server.get_stats()["handler_timeouts"] == 1

    async def test_a_hook_that_fails_while_it_is_cancelled_is_still_answered(self, network: Network, log: Any) -> None:
        async def untidy(_metadata: Any) -> bool:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                try:
                    await trio.sleep_forever()
                finally:
                    raise ValueError("while tidying up")
            return True

        async with network.server(on_auth=untidy, auth_timeout=1) as server:
            assert (await knock(network)).status in (500, 503)
            assert server.is_running()
            assert "while tidying up" in log.text

    async def test_a_slow_hook_delays_nobody_else(self, network: Network) -> None:
        async def slow_for_one(metadata: dict[str, Any]) -> bool:
            if metadata["api_key"] == "slow":
                await trio.sleep(7)
            return True

        slow: list[Answer] = []

        async def knock_slowly() -> None:
            slow.append(await knock(network, key="slow"))

        async with network.server(on_auth=slow_for_one), trio.open_nursery() as nursery:
            nursery.start_soon(knock_slowly)
            await trio.testing.wait_all_tasks_blocked()
            start = trio.current_time()
            for number in range(50):
                await joined(network, key=f"key {number}")
            assert trio.current_time() == start
            assert slow == []
        assert slow[0].status == 101

    async def test_who_gives_up_while_on_auth_thinks_is_not_registered(self, network: Network) -> None:
        entered, go_on = trio.Event(), trio.Event()

        async def on_auth(_metadata: Any) -> bool:
            entered.set()
            await go_on.wait()
            return True

        async with network.server(on_auth=on_auth) as server:
            stream = network.connect()
            await stream.send_all(request(target=b"/ws"))
            await entered.wait()
            await trio.aclose_forcefully(stream)
            go_on.set()
            await trio.testing.wait_all_tasks_blocked()
            assert server.get_connection_count() == 0
            assert network.served_streams == set()
            assert server.get_stats()["failed_connects"] == 1


class TestStopping:
    async def test_handshakes_that_wait_for_a_hook_are_answered_503_at_once(self, network: Network) -> None:
        entered = trio.Event()

        async def on_auth(_metadata: Any) -> bool:
            entered.set()
            await trio.sleep_forever()
            return True

        answers = []

        async def one() -> None:
            answers.append(await knock(network))

        async with trio.open_nursery() as nursery, network.server(on_auth=on_auth, auth_timeout=100) as server:
            nursery.start_soon(one)
            await entered.wait()
            start = trio.current_time()
            await server.stop()
            assert trio.current_time() - start < 3
        (answer,) = answers
        assert (answer.status, answer.code) == (503, "stopping")
        assert "retry-after" in answer.headers

    @pytest.mark.parametrize("outcome", [True, ValueError("too late")], ids=repr)
    async def test_a_hook_that_does_not_let_itself_be_cancelled_changes_nothing(
        self, network: Network, outcome: Any
    ) -> None:
        entered = trio.Event()

        async def on_auth(_metadata: Any) -> bool:
            entered.set()
            with trio.CancelScope(shield=True):
                await trio.sleep(2)
            if isinstance(outcome, Exception):
                raise outcome
            return True

        answers = []

        async def one() -> None:
            answers.append(await knock(network))

        async with trio.open_nursery() as nursery, network.server(on_auth=on_auth) as server:
            nursery.start_soon(one)
            await entered.wait()
            await server.stop()
        assert (answers[0].status, answers[0].code) == (503, "stopping")

    @pytest.mark.parametrize("ticks", range(8))
    async def test_who_comes_in_the_very_moment_of_a_stop_does_not_hold_it_up(
        self, network: Network, ticks: int
    ) -> None:
        async with network.server(on_auth=yes, handshake_timeout=50, shutdown_timeout=50) as server:
            start = trio.current_time()
            network.connect()
            for _ in range(ticks):
                await trio.lowlevel.checkpoint()
            await server.stop()
            assert trio.current_time() == start

    async def test_half_a_request_is_cut_off(self, network: Network) -> None:
        async with network.server(on_auth=yes) as server:
            peer = Peer(network.connect())
            await peer.send(b"GET /ws HTTP/1.1\r\nHost")
            await trio.testing.wait_all_tasks_blocked()
            await server.stop()
            assert await peer.until_end() == b""
            assert network.served_streams == set()
