"""Requests between our ends, in both directions: answers, errors, timeouts, and asking from inside a handler."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from maim_trio.errors import InvalidMessage, NotConnected, RequestFailed, RequestTimeout
from tests.memory import Network


class Pair:
    """A server and a client over memory streams; `ask` asks the side that a test is about, which has the handlers."""

    def __init__(self, direction):
        self.network = Network()
        self.direction = direction
        self.config = {}

    async def __aenter__(self):
        to_server = self.direction == "to the server"
        self.server = self.network.server(**(self.config if to_server else {}))
        self.client = self.network.client(**({} if to_server else self.config))
        await self.server.__aenter__()
        await self.client.__aenter__()
        await self.client.connect()
        self.asker, self.asked = (self.client, self.server) if to_server else (self.server, self.client)
        return self

    async def __aexit__(self, *error):
        await self.client.__aexit__(*error)
        await self.server.__aexit__(*error)

    async def ask(self, kind, payload, **options):
        if self.asker is self.client:
            return await self.client.request(kind, payload, **options)
        return await self.server.request(self.client.get_connection_uuid(), kind, payload, **options)


@pytest.fixture(params=["to the server", "to the client"])
def pair(request, network):
    return Pair(request.param)


async def test_a_dict_that_a_handler_returns_is_the_answer(pair):
    async with pair:
        pair.asked.register_custom_handler("add", lambda payload, metadata: {"sum": payload["a"] + payload["b"]})
        assert await pair.ask("add", {"a": 1, "b": 2}) == {"sum": 3}
        assert await pair.ask("custom_add", {"a": 2, "b": 2}) == {"sum": 4}


async def test_a_handler_that_returns_nothing_answers_with_nothing(pair):
    async with pair:
        pair.asked.register_custom_handler("x", lambda payload: None)
        assert await pair.ask("x", {}) == {}


@pytest.mark.parametrize("value", [5, "text", [1], ("a", 1), object()])
async def test_what_is_no_dict_is_an_error(pair, log, value):
    async with pair:
        pair.asked.register_custom_handler("x", lambda payload: value)
        with pytest.raises(RequestFailed) as caught:
            await pair.ask("x", {})
        assert caught.value.error == "TypeError"
        assert log.having(f"custom_x answered a request with no dict but {type(value).__name__}", "ERROR")
        assert pair.asked.get_stats()["handler_errors"] == 1


@pytest.mark.parametrize("value", [{"x": float("nan")}, {"x": object()}, {"x": "\ud800"}, {5: "x"}])
async def test_what_is_no_json_is_an_error(pair, log, value):
    async with pair:
        pair.asked.register_custom_handler("x", lambda payload: value)
        with pytest.raises(RequestFailed) as caught:
            await pair.ask("x", {})
        assert caught.value.error == "InvalidMessage"
        assert pair.asked.get_stats()["handler_errors"] == 1


class OurOwnError(Exception):
    """One whose text is nobody's business."""


async def test_a_handler_that_raises_answers_with_the_type_and_never_with_the_text(pair, log):
    async def handler(payload):
        raise OurOwnError("the password is sesame")

    async with pair:
        pair.asked.register_custom_handler("x", handler)
        with pytest.raises(RequestFailed) as caught:
            await pair.ask("x", {})
        assert caught.value.error == "OurOwnError"
        assert "sesame" not in str(caught.value)
        assert log.having("custom_x raised OurOwnError", "ERROR")


async def test_a_handler_that_outruns_its_timeout_answers_so(pair):
    async def handler(payload):
        await trio.sleep(100)

    pair.config["handler_timeout"] = 2
    async with pair:
        pair.asked.register_custom_handler("x", handler)
        with pytest.raises(RequestFailed) as caught:
            await pair.ask("x", {})
        assert (caught.value.error, trio.current_time()) == ("HandlerTimeout", 2)


async def test_without_a_handler_the_answer_says_so_at_once(pair):
    async with pair:
        with pytest.raises(RequestFailed) as caught:
            await pair.ask("nobody", {})
        assert (caught.value.error, trio.current_time()) == ("no_handler", 0)


async def test_no_answer_in_time_is_a_timeout_and_a_late_answer_is_counted_and_dropped(pair):
    async def handler(payload):
        await trio.sleep(5)
        return {"late": True}

    async with pair:
        pair.asked.register_custom_handler("x", handler)
        with pytest.raises(TimeoutError, match="no answer to custom_x within 3 s") as caught:
            await pair.ask("x", {}, timeout=3)
        assert isinstance(caught.value, RequestTimeout)
        assert trio.current_time() == 3
        await trio.sleep(5)
        stats = pair.asker.get_stats()
        assert (stats["late_answers"], stats["unhandled_messages"]) == (1, 0)


async def test_a_request_that_is_cancelled_drops_its_answer(pair):
    async def handler(payload):
        await trio.sleep(5)

    async with pair:
        pair.asked.register_custom_handler("x", handler)
        with trio.move_on_after(1) as scope:
            await pair.ask("x", {})
        assert scope.cancelled_caught
        await trio.sleep(10)
        assert pair.asker.get_stats()["late_answers"] == 1


async def test_many_requests_at_once_get_each_its_own_answer(pair):
    async def handler(payload):
        await trio.sleep(10 - payload["n"] % 10)
        return {"n": payload["n"]}

    async with pair:
        pair.asked.register_custom_handler("x", handler)
        answers = {}

        async def ask(number):
            answers[number] = (await pair.ask("x", {"n": number}, timeout=100))["n"]

        async with trio.open_nursery() as nursery:
            for number in range(90):
                nursery.start_soon(ask, number)
        assert answers == {number: number for number in range(90)}
        assert trio.current_time() == 10


@pytest.mark.parametrize("payload", [{"x": float("nan")}, {"x": {1, 2}}, [1], "text", None])
async def test_a_payload_that_cannot_be_sent_is_refused_at_once(pair, payload):
    async with pair:
        with pytest.raises(InvalidMessage):
            await pair.ask("x", payload)
        assert pair.asker.requests._open == {}


@pytest.mark.parametrize("kind", ["", "custom_", None, 5])
async def test_a_type_that_is_none_is_refused(pair, kind):
    async with pair:
        with pytest.raises(ValueError, match="type"):
            await pair.ask(kind, {})


# -- from inside handlers


async def test_a_handler_may_ask_whoever_asked_it(pair):
    async with pair:

        async def relay(payload, metadata):
            if pair.asked is pair.client:
                return await pair.client.request("back", payload)
            return await pair.server.request(metadata["uuid"], "back", payload)

        pair.asked.register_custom_handler("forth", relay)
        pair.asker.register_custom_handler("back", lambda payload: {"n": payload["n"] + 1})
        assert await pair.ask("forth", {"n": 1}) == {"n": 2}


@pytest.mark.parametrize("limit", [{"max_concurrent_handlers": 1}, {"handler_ordering": "per_connection"}])
async def test_an_answer_needs_no_slot(pair, limit):
    """All slots are taken by handlers that wait for answers: they get them."""
    pair.config.update(limit)
    async with pair:

        async def relay(payload, metadata):
            if pair.asked is pair.client:
                return await pair.client.request("back", payload)
            return await pair.server.request(metadata["uuid"], "back", payload)

        pair.asked.register_custom_handler("forth", relay)
        pair.asker.register_custom_handler("back", lambda payload: payload)
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(pair.ask, "forth", {"n": number})
        assert trio.current_time() == 0


async def test_answers_are_still_read_while_the_asker_stops(pair):
    """A handler that is given its time to finish gets the answers it waits for, and may even ask again."""
    done = []

    async with pair:

        async def slow(payload):
            await trio.sleep(2)
            return {"n": payload["n"] + 1}

        async def handler(payload):
            first = await pair.ask("slow", {"n": 1})
            done.append(await pair.ask("slow", first))

        pair.asked.register_custom_handler("slow", slow)
        pair.asker.register_custom_handler("begin", handler)
        if pair.asker is pair.server:
            await pair.client.send_custom_message("begin", {})
        else:
            await pair.server.broadcast_custom_message("begin", {})
        await trio.sleep(1)
        await pair.asker.stop()
        assert done == [{"n": 3}]
        assert trio.current_time() == 4


async def test_a_request_that_is_open_when_the_asker_has_stopped_ends_at_once(pair):
    async with pair:

        async def never(payload):
            await trio.sleep(1000)

        pair.asked.register_custom_handler("never", never)

        async def ask():
            with pytest.raises(NotConnected):
                await pair.ask("never", {}, timeout=500)
            assert trio.current_time() < 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(pair.asker.stop)
