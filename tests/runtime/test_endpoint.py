"""Handlers and hooks: called, bounded and fenced. A server and raw peers in virtual time."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from tests.server.peer import KEY, Peer, custom, joined, standard, text_frame
from tests.transport.raw import request

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.memory import Network

SETTLED = trio.testing.wait_all_tasks_blocked


class Calls:
    """A handler that notes what it was called with."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, dict[str, Any]]] = []

    async def __call__(self, argument: Any, metadata: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        self.seen.append((argument, metadata))


class TestWhatHandlersAreTold:
    async def test_the_message_and_who_sent_it_as_the_handshake_found_out(self, network: Network) -> None:
        calls = Calls()
        async with network.server(on_auth=lambda _: True, on_auth_extract_user=_alice, on_message=calls):
            peer = await joined(network, b"x-color: red", uuid="u1", platform="qq")
            claims = {
                "sender_user": "mallory",
                "platform": "wx",
                "uuid": "u2",
                "user_id": "bob",
                "timestamp": 7,
                "n": [1],
            }
            await peer.say({**standard("m1", "hello"), "meta": claims})
            await peer.hear()
            await SETTLED()
        ((message, metadata),) = calls.seen
        assert message.message_segment.data == "hello"
        assert {name: metadata[name] for name in ("uuid", "api_key", "platform", "user_id", "msg_id", "timestamp")} == {
            "uuid": "u1", "api_key": KEY, "platform": "qq", "user_id": "alice", "msg_id": "m1", "timestamp": 7,
        }  # fmt: skip
        assert (metadata["message_type"], metadata["meta"], metadata["resumed"]) == ("sys_std", claims, False)
        assert metadata["headers"]["x-color"] == "red"
        assert metadata["client_cert"] == ""
        assert metadata["connected_at"] > 1.7e9

    async def test_each_call_gets_a_dict_of_its_own(self, network: Network) -> None:
        seen = []

        def on_message(_message: Any, metadata: dict[str, Any]) -> None:
            seen.append(dict(metadata))
            metadata.clear()

        async with network.server(on_message=on_message):
            peer = await joined(network)
            await peer.send(text_frame(standard()) * 2)
            await SETTLED()
        assert seen[0] == seen[1]
        assert seen[0]["api_key"] == KEY

    async def test_a_custom_message_comes_as_its_payload(self, network: Network) -> None:
        both, only = Calls(), []
        handlers = {"both": both, "custom_only": only.append}
        async with network.server(custom_handlers=handlers) as server:
            peer = await joined(network)
            await peer.say(custom("custom_both", {"a": [1, "ü"]}, "m1", colour="red"))
            await peer.say(custom("custom_only", {"b": None}, "m2"))
            await peer.hear_acks(2)
            await SETTLED()
            assert server.get_stats()["custom_messages_processed"] == 2
        ((payload, metadata),) = both.seen
        assert (payload, only) == ({"a": [1, "ü"]}, [{"b": None}])
        assert (metadata["message_type"], metadata["meta"]) == ("custom_both", {"colour": "red"})


def _alice(_metadata: Any) -> str:
    return "alice"


class TestLiveAssignment:
    async def test_hooks_and_handlers_can_be_set_while_it_runs(self, network: Network) -> None:
        calls, pings = Calls(), []
        async with network.server() as server:
            peer = await joined(network)
            server.config.on_message = calls
            server.register_custom_handler("ping", pings.append)
            server.config.custom_handlers["pong"] = lambda payload: pings.append(payload)
            await peer.send(
                text_frame(standard()) + text_frame(custom("custom_ping")) + text_frame(custom("custom_pong"))
            )
            await SETTLED()
            assert (len(calls.seen), len(pings)) == (1, 2)
            server.unregister_custom_handler("custom_ping")
            server.config.on_message = None
            await peer.send(text_frame(standard()) + text_frame(custom("custom_ping")))
            await SETTLED()
            assert (len(calls.seen), len(pings)) == (1, 2)
            server.config.on_auth = lambda _: False
            assert (await Peer(network.connect()).upgrade()).status == 401

    @pytest.mark.parametrize("wrong", [5, "on_message", lambda: None, lambda one, two, three: None])
    async def test_what_cannot_be_called_is_an_error_of_the_call_and_of_nothing_else(
        self, network: Network, log: Any, wrong: Any
    ) -> None:
        async with network.server() as server:
            server.config.on_message = wrong
            server.config.custom_handlers["x"] = wrong
            server.config.log_level = "debug"
            peer = await joined(network)
            await peer.say(standard("m1"))
            await peer.say(custom("custom_x", {}, "m2"))
            assert await peer.hear_acks(2) == ["m1", "m2"]
            await SETTLED()
            assert server.get_stats()["handler_errors"] == 2
        assert len(log.having("raised TypeError", "ERROR")) == 2

    async def test_handler_timeout_is_read_anew_for_each_call(self, network: Network) -> None:
        async with network.server(on_message=_forever) as server:
            peer = await joined(network)
            server.config.handler_timeout = 3.0
            await peer.say(standard())
            await trio.sleep(3.1)
            assert server.get_stats()["handler_timeouts"] == 1


async def _forever(*_: Any) -> None:
    await trio.sleep_forever()


def _raise(error: BaseException) -> Callable[..., Any]:
    async def handler(*_: Any) -> None:
        raise error

    return handler


async def _untidy(*_: Any) -> None:
    """Raises while it is cancelled, from a nursery: the error comes in one group with the cancellation."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("while tidying up")


class TestFences:
    @pytest.mark.parametrize(
        "error",
        [
            ValueError("bad"),
            ExceptionGroup("", [ValueError("bad"), TypeError("bad")]),
            BaseExceptionGroup("", [ValueError("bad")]),
            StopIteration(),
            trio.BrokenResourceError(),
            RecursionError("bad"),
            MemoryError(),
            AssertionError(),
        ],
        ids=repr,
    )
    async def test_a_handler_that_raises_is_logged_and_counted_and_harms_nobody(
        self, network: Network, log: Any, error: Exception
    ) -> None:
        calls = Calls()
        async with network.server(on_message=_raise(error), custom_handlers={"ok": calls}) as server:
            peer = await joined(network)
            await peer.say(standard("m1"))
            await peer.say(custom("custom_ok", {}, "m2"))
            assert await peer.hear_acks(2) == ["m1", "m2"]
            await SETTLED()
            stats = server.get_stats()
            assert (stats["handler_errors"], stats["messages_processed"]) == (1, 0)
            assert server.get_connection_count() == len(calls.seen) == 1
            assert server.get_coroutine_status()["active_handler_tasks"] == 0
        assert len(log.having("on_message raised", "ERROR")) == 1
        assert "Traceback" in log.text

    async def test_a_plain_function_that_raises_is_no_worse(self, network: Network, log: Any) -> None:
        async with network.server(on_message=lambda *_: 1 / 0) as server:
            peer = await joined(network)
            await peer.send(text_frame(standard()) * 3)
            await SETTLED()
            assert server.get_stats()["handler_errors"] == 3
        assert log.text.count("ZeroDivisionError") >= 3

    @pytest.mark.parametrize("bound", [{"handler_timeout": 1.0}, {"shutdown_timeout": 1.0}, {"shutdown_timeout": 0}])
    async def test_an_error_in_the_middle_of_a_cancellation_is_one_too(
        self, network: Network, log: Any, bound: dict[str, float]
    ) -> None:
        async with network.server(on_message=_untidy, **bound) as server:
            peer = await joined(network)
            await peer.say(standard("m1"))
            await peer.hear()
            await SETTLED()
        assert server.get_stats()["handler_errors"] == 1
        assert "while tidying up" in log.text

    async def test_an_error_of_a_handler_that_is_cancelled_from_outside_changes_nothing(self, network: Network) -> None:
        with trio.CancelScope() as scope:
            async with network.server(on_message=_untidy) as server:
                peer = await joined(network)
                await peer.say(standard("m1"))
                await peer.hear()
                await SETTLED()
                scope.cancel()
        assert scope.cancelled_caught
        assert server.get_stats()["handler_errors"] == 1

    @pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
    @pytest.mark.parametrize("wrap", [lambda error: error, lambda error: BaseExceptionGroup("", [error, ValueError()])])
    async def test_what_ends_programs_ends_the_server(
        self, network: Network, end: type[BaseException], wrap: Any
    ) -> None:
        async with trio.open_nursery() as nursery:
            other = await _listen_until_closed(network, nursery, on_message=_raise(wrap(end())), expected=end)
        assert other == [(1001, "server stopping")]

    async def test_where_all_of_a_program_is_run_it_comes_out_alone(self, network: Network) -> None:
        server = network.server(on_auth=_raise(KeyboardInterrupt()))

        async def connect() -> None:
            await SETTLED()
            await Peer(network.connect()).send(request(target=b"/ws"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(connect)
            with pytest.raises(KeyboardInterrupt):
                await server.run()
        assert not server.is_running()

    async def test_and_also_when_a_hook_raises_it(self, network: Network) -> None:
        server = network.server(on_auth=_raise(KeyboardInterrupt()))
        with pytest.RaisesGroup(KeyboardInterrupt, flatten_subgroups=True):
            async with server:
                await Peer(network.connect()).send(request(target=b"/ws"))
                await trio.sleep_forever()
        assert not server.is_running()


async def _listen_until_closed(network: Network, nursery: trio.Nursery, *, on_message: Any, expected: Any) -> list[Any]:
    closes: list[Any] = []

    async def listen(peer: Peer) -> None:
        closes.append(await peer.closed())
        await peer.aclose()

    with pytest.RaisesGroup(expected, flatten_subgroups=True):
        async with network.server(on_message=on_message) as server:
            peer, other = await joined(network), await joined(network)
            nursery.start_soon(listen, other)
            await peer.say(standard())
            await trio.sleep_forever()
    assert not server.is_running()
    return closes


class TestBounds:
    async def test_a_handler_past_its_timeout_is_cancelled_and_counted(self, network: Network, log: Any) -> None:
        ended = []

        async def on_message(message: Any, _metadata: Any) -> None:
            try:
                await trio.sleep(message.message_segment.data)
            finally:
                ended.append((message.message_segment.data, trio.current_time()))

        async with network.server(on_message=on_message, handler_timeout=5) as server:
            peer = await joined(network)
            for seconds in (4, 6, 100):
                await peer.say(standard(text=seconds))
            await trio.sleep(10)
            stats = server.get_stats()
        assert sorted(ended) == [(4, 4.0), (6, 5.0), (100, 5.0)]
        assert (stats["handler_timeouts"], stats["messages_processed"], stats["handler_errors"]) == (2, 1, 0)
        assert len(log.having("on_message took longer than handler_timeout (5 s)", "ERROR")) == 2

    async def test_no_more_handlers_at_once_than_allowed_and_none_is_forgotten(self, network: Network) -> None:
        running, most = 0, 0

        async def on_message(*_: Any) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await trio.sleep(1)
            running -= 1

        async with network.server(on_message=on_message, max_concurrent_handlers=7) as server:
            for _ in range(4):
                await (await joined(network)).send(text_frame(standard()) * 10)
            await trio.sleep(10)
            assert server.get_stats()["messages_processed"] == 40
        assert most == 7

    async def test_one_connection_gets_no_more_than_its_share_and_starves_nobody(self, network: Network) -> None:
        begun: dict[str, int] = {}

        async def on_message(_message: Any, metadata: dict[str, Any]) -> None:
            begun[metadata["uuid"]] = begun.get(metadata["uuid"], 0) + 1
            await trio.sleep_forever()

        bounds = {"max_concurrent_handlers": 10, "max_concurrent_handlers_per_connection": 4, "shutdown_timeout": 0}
        async with network.server(on_message=on_message, **bounds):
            for uuid in ("flood", "quiet"):
                peer = await joined(network, uuid=uuid)
                await peer.send(text_frame(standard()) * 50)
                await SETTLED()
            third = await joined(network, uuid="third")
            await third.say(standard())
            await SETTLED()
            assert begun == {"flood": 4, "quiet": 4, "third": 1}

    async def test_slots_go_round_between_connections(self, network: Network) -> None:
        order = []

        async def on_message(_message: Any, metadata: dict[str, Any]) -> None:
            order.append(metadata["uuid"])
            await trio.sleep(1)

        async with network.server(on_message=on_message, max_concurrent_handlers=1):
            flood = await joined(network, uuid="flood")
            await flood.send(text_frame(standard()) * 30)
            await SETTLED()
            for uuid in ("a", "b"):
                await (await joined(network, uuid=uuid)).send(text_frame(standard()) * 2)
                await SETTLED()
            await trio.sleep(8.5)
            assert order[:8] == ["flood", "flood", "a", "b", "flood", "a", "b", "flood"]


class TestOrder:
    async def test_one_at_a_time_and_in_order_of_arrival(self, network: Network) -> None:
        order = []

        async def on_message(message: Any, _metadata: Any) -> None:
            order.append(message.message_segment.data)
            await trio.sleep(10 - message.message_segment.data)
            order.append(-message.message_segment.data)

        async with network.server(on_message=on_message, handler_ordering="per_connection", shutdown_timeout=100):
            peer = await joined(network)
            for number in (1, 2, 3):
                await peer.say(standard(text=number))
            await SETTLED()
        assert order == [1, -1, 2, -2, 3, -3]

    @pytest.mark.parametrize("how", ["replaced", "closed", "lost"])
    async def test_the_order_of_an_identity_outlives_its_connection(self, network: Network, how: str) -> None:
        order = []

        async def on_message(message: Any, _metadata: Any) -> None:
            order.append(message.message_segment.data)
            await trio.sleep(5)
            order.append(-message.message_segment.data)

        config = {"handler_ordering": "per_connection", "shutdown_timeout": 100, "on_message": on_message}
        async with network.server(**config) as server:
            peer = await joined(network, uuid="u1")
            for number in (1, 2):
                await peer.say(standard(text=number))
            await SETTLED()
            if how == "closed":
                await peer.close(1001)
            elif how == "lost":
                await peer.aclose()
            await SETTLED()
            newer = Peer(network.connect())
            answer = await newer.upgrade(uuid="u1")
            assert answer.headers["x-maim-resumed"] == "1"
            await newer.say(standard(text=3))
            await SETTLED()
            assert server.get_connection_count() == 1
            assert order == [1]
        assert order == [1, -1, 2, -2, 3, -3]

    @pytest.mark.parametrize("how", ["closed with 1000", "lost"])
    async def test_once_all_is_handled_the_identity_of_one_that_stays_away_is_forgotten(
        self, network: Network, how: str
    ) -> None:
        config = {"message_cache_ttl": 10, "message_cache_cleanup_interval": 1}
        async with network.server(on_message=functools.partial(_sleep, 5), **config) as server:
            peer = await joined(network, uuid="u1")
            await peer.say(standard())
            await SETTLED()
            await (peer.aclose() if how == "lost" else peer.close(1000))
            await trio.sleep(12 if how == "lost" else 6)
            answer = await Peer(network.connect()).upgrade(uuid="u1")
            assert "x-maim-resumed" not in answer.headers
            assert server.get_stats()["messages_processed"] == 1

    async def test_a_handler_is_not_cancelled_when_its_connection_drops(self, network: Network) -> None:
        async with network.server(on_message=functools.partial(_sleep, 5)) as server:
            peer = await joined(network)
            await peer.send(b"".join(text_frame(standard(f"m{number}")) for number in range(3)))
            await peer.hear_acks(3)
            await peer.aclose()
            await SETTLED()
            assert server.get_connection_count() == 0
            await trio.sleep(6)
            assert server.get_stats()["messages_processed"] == 3

    async def test_two_identities_do_not_wait_for_each_other(self, network: Network) -> None:
        begun = []

        async def on_message(_message: Any, metadata: Any) -> None:
            begun.append(metadata["uuid"])
            await trio.sleep_forever()

        async with network.server(on_message=on_message, handler_ordering="per_connection", shutdown_timeout=0):
            for uuid in ("a", "b"):
                peer = await joined(network, uuid=uuid)
                await peer.send(text_frame(standard()) * 3)
                await SETTLED()
        assert begun == ["a", "b"]


async def _sleep(seconds: float, *_: Any) -> None:
    await trio.sleep(seconds)


class TestNobodyHandles:
    async def test_it_is_acked_and_counted_with_one_warning_per_kind(self, network: Network, log: Any) -> None:
        async with network.server() as server:
            peer = await joined(network)
            for number in range(3):
                await peer.say(standard(f"s{number}"))
                await peer.say(custom("custom_a", {}, f"a{number}"))
                await peer.say(custom("custom_b", {}, f"b{number}"))
            assert len(await peer.hear_acks(9)) == 9
            await SETTLED()
            stats = server.get_stats()
            assert (stats["unhandled_messages"], stats["messages_processed"]) == (9, 0)
        assert len(log.having("nothing handles them", "WARNING")) == 3

    async def test_types_made_up_by_a_peer_fill_neither_log_nor_memory(self, network: Network, log: Any) -> None:
        async with network.server() as server:
            peer = await joined(network)
            for number in range(150):
                await peer.say(custom(f"custom_{number}\nERROR {'x' * 10_000}"))
            await SETTLED()
            assert server.get_stats()["unhandled_messages"] == 150
            assert sum(map(len, server._unhandled_said)) < 20_000
        assert len(log.having("nothing handles them")) == 100
        assert max(map(len, log.lines())) < 400
        assert all(line.isprintable() for line in log.lines())


class TestStatus:
    async def test_the_tree_of_tasks_names_what_runs(self, network: Network) -> None:
        server = network.server(on_message=_forever, custom_handlers={"x": _forever}, shutdown_timeout=0)
        before = server.get_coroutine_status()
        assert before == {
            "server_running": False, "active_connections": 0, "registered_users": 0, "active_handler_tasks": 0,
            "custom_handlers": ["custom_x"], "tasks": None,
        }  # fmt: skip
        async with server:
            peer = await joined(network)
            await peer.say(standard())
            await peer.say(custom("custom_x"))
            await SETTLED()
            status = server.get_coroutine_status()
        assert {**status, "tasks": None} == {
            **before, "server_running": True, "active_connections": 1, "registered_users": 1, "active_handler_tasks": 2,
        }  # fmt: skip
        names = set(_names(status["tasks"]))
        assert {"on_message", "custom_x", "writer", "keepalive", "flusher"} <= names
        assert server.get_coroutine_status()["tasks"] is None

    async def test_stats_are_there_in_every_state_and_serialisable(self, network: Network) -> None:
        server = network.server()
        states = [server.get_stats()]
        async with server:
            peer = await joined(network)
            await peer.say(standard("m1"))
            await peer.hear()
            await trio.sleep(5)
            states.append(server.get_stats())
        states.append(server.get_stats())
        for stats in states:
            assert set(stats) >= DOCUMENTED
            assert json.loads(json.dumps(stats)) == stats
        before, during, after = states
        assert (before["uptime"], during["uptime"], after["uptime"]) == (0.0, 5.0, 0.0)
        assert (during["active_connections"], after["active_connections"]) == (1, 0)
        assert during["bytes_received"] > 0
        assert during["bytes_sent"] > 0
        assert after["bytes_received"] >= during["bytes_received"]
        assert during["last_activity"] > 1.7e9

    async def test_what_it_returns_is_no_live_reference(self, network: Network) -> None:
        async with network.server(custom_handlers={"x": _forever}) as server:
            server.get_stats().clear()
            server.get_coroutine_status()["custom_handlers"].clear()
            assert set(server.get_stats()) >= DOCUMENTED
            assert server.get_coroutine_status()["custom_handlers"] == ["custom_x"]


DOCUMENTED = {
    "total_connections", "active_connections", "total_messages", "successful_connects", "failed_connects",
    "messages_sent", "messages_received", "uptime", "last_activity", "active_handler_tasks", "last_error",
    "error_count", "current_users", "current_connections", "total_auth_requests", "successful_auths", "failed_auths",
    "messages_processed", "custom_messages_processed", "invalid_frames", "bytes_received", "bytes_sent",
    "handler_errors", "handler_timeouts", "messages_acked", "slow_consumers_closed",
}  # fmt: skip


def _names(tree: dict[str, Any]) -> list[str]:
    return [tree["name"], *(name for child in tree["children"] for name in _names(child))]
