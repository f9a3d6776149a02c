"""Requests and their answers: who may answer, and how each way of not being answered ends."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from maim_trio._runtime.requests import MAX_ERROR_NAME, Requests, reply, request_id
from maim_trio._wire.codec import Custom
from maim_trio.errors import MaimError, NotConnected, RequestFailed, RequestTimeout
from tests.server.peer import custom, joined
from tests.transport.raw import CLOSE, masked

KEY = "key_of_client"


def envelope(payload=None, **meta):
    return Custom(msg_id="m", type="custom_x", meta=meta, payload={} if payload is None else payload)


# -- the questions of one endpoint


class Identity:
    """Stands for a session: only who it is matters here."""


@pytest.fixture
def asked():
    """(the open requests, a question, whom it was asked)"""
    requests, identity = Requests(), Identity()
    return requests, requests.ask(identity, "custom_x"), identity


async def test_an_answer_goes_to_its_question_once(asked):
    requests, question, identity = asked
    answer = envelope({"n": 1}, reply_to=question.id, status="ok")
    assert requests.answered(identity, answer)
    assert await question.wait() == {"n": 1}
    assert not requests.answered(identity, answer)


async def test_an_answer_of_somebody_else_or_to_something_else_is_not_taken(asked):
    requests, question, identity = asked
    assert not requests.answered(Identity(), envelope(reply_to=question.id, status="ok"))
    for wrong in ("unknown", None, 5, {}, []):
        assert not requests.answered(identity, envelope(reply_to=wrong))
    assert requests.answered(identity, envelope(reply_to=question.id))


async def test_an_error_names_what_went_wrong_and_is_bounded(asked):
    requests, question, identity = asked
    requests.answered(identity, envelope({"error": "E" * 1000}, reply_to=question.id, status="error"))
    with pytest.raises(RequestFailed, match="could not answer custom_x") as caught:
        await question.wait()
    assert caught.value.error == "E" * MAX_ERROR_NAME


@pytest.mark.parametrize("payload", [{}, {"error": None}, {"error": ["x"]}])
async def test_an_error_without_a_name_is_unknown(asked, payload):
    requests, question, identity = asked
    requests.answered(identity, envelope(payload, reply_to=question.id, status="error"))
    with pytest.raises(RequestFailed) as caught:
        await question.wait()
    assert caught.value.error == "unknown error"


async def test_losing_an_identity_ends_its_questions_and_no_others(asked):
    requests, question, identity = asked
    other = requests.ask(Identity(), "custom_y")
    requests.lost(identity, "it has gone")
    with pytest.raises(NotConnected, match="it has gone"):
        await question.wait()
    assert requests.answered(other.session, envelope(reply_to=other.id))


async def test_losing_everybody_ends_all_questions(asked):
    requests, question, _ = asked
    other = requests.ask(Identity(), "custom_y")
    requests.lost(None, "stopped")
    for lost in (question, other):
        with pytest.raises(NotConnected):
            await lost.wait()


@pytest.mark.parametrize(
    ("value", "failure", "expected"),
    [
        ({"a": 1}, None, ({"a": 1}, "ok")),
        (None, None, ({}, "ok")),
        ([1], None, ({"error": "TypeError"}, "error")),
        ("text", None, ({"error": "TypeError"}, "error")),
        (None, "KeyError", ({"error": "KeyError"}, "error")),
    ],
)
def test_what_a_handler_returned_makes_the_answer(value, failure, expected):
    assert reply(value, failure) == expected


@pytest.mark.parametrize(("meta", "expected"), [({"request_id": "r"}, "r"), ({}, None), ({"request_id": 5}, None)])
def test_only_a_message_with_a_request_id_asks_for_an_answer(meta, expected):
    assert request_id(envelope(**meta)) == expected


def test_a_timeout_is_a_timeout_error_and_all_are_of_the_library():
    assert issubclass(RequestTimeout, TimeoutError)
    assert all(issubclass(kind, MaimError) for kind in (RequestTimeout, RequestFailed, NotConnected))


# -- what the client asks, and when


async def test_a_client_that_is_not_connected_says_so_at_once(network):
    client = network.client()
    with pytest.raises(NotConnected, match="connect"):
        await client.request("x", {})
    async with client:
        with pytest.raises(NotConnected, match="connect"):
            await client.request("x", {})
    assert trio.current_time() == 0


async def test_a_request_waits_for_a_connection_that_is_being_made(network, nursery):
    async with network.client() as client:
        nursery.start_soon(client.connect)
        await trio.sleep(1)
        async with network.server(custom_handlers={"x": lambda payload: {"ok": 1}}):
            assert await client.request("x", {}, timeout=100) == {"ok": 1}


async def test_the_timeout_covers_the_waiting_for_a_connection(network, nursery):
    async with network.client(max_reconnect_attempts=0) as client:
        nursery.start_soon(client.connect)
        await trio.sleep(1)
        with pytest.raises(RequestTimeout):
            await client.request("x", {}, timeout=3)
        assert trio.current_time() == 4


async def test_a_request_survives_a_reconnect(network):
    """The handler goes on while the connection is gone, and answers over the next one."""

    async def slow(payload):
        await trio.sleep(8)
        return {"at": trio.current_time()}

    async with network.server(custom_handlers={"slow": slow}) as server, network.client() as client:
        await client.connect()
        async with trio.open_nursery() as nursery:

            async def ask():
                assert await client.request("slow", {}, timeout=100) == {"at": 8}

            nursery.start_soon(ask)
            await trio.sleep(1)
            await server.disconnect(client.get_connection_uuid(), code=1012)
            await trio.sleep(5)
            assert client.is_connected()


@pytest.mark.parametrize("end", ["disconnect", "kicked", "another key"])
async def test_a_session_that_is_lost_ends_its_requests_at_once(network, end):
    async def never(payload):
        await trio.sleep(1000)

    async with network.server(custom_handlers={"never": never}) as server, network.client() as client:
        await client.connect()

        async def ask():
            with pytest.raises(NotConnected):
                await client.request("never", {}, timeout=500)
            assert trio.current_time() < 20

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(1)
            if end == "disconnect":
                await client.disconnect()
            elif end == "kicked":
                await server.disconnect_user("sys_default")
            else:
                client.update_config(api_key="key_of_another")
                await server.disconnect(client.get_connection_uuid(), code=1012)


# -- what the server asks, and whom


async def test_asking_a_connection_that_is_not_there_is_told_at_once(network):
    async with network.server() as server:
        with pytest.raises(NotConnected, match="there is no connection nobody"):
            await server.request("nobody", "x", {})


async def test_a_connection_that_ends_ends_the_requests_to_it_at_once(network):
    async with network.server() as server, trio.open_nursery() as nursery:
        peer = await joined(network, key=KEY, uuid="u1")

        async def ask():
            with pytest.raises(NotConnected, match="u1"):
                await server.request("u1", "x", {}, timeout=500)
            assert trio.current_time() < 5

        nursery.start_soon(ask)
        await peer.hear()
        await peer.close()


async def test_only_the_connection_that_was_asked_can_answer(network):
    async with network.server() as server, trio.open_nursery() as nursery:
        asked = await joined(network, key=KEY, uuid="u1")
        liar = await joined(network, key=KEY, uuid="u2")
        answers = []

        async def ask():
            answers.append(await server.request("u1", "x", {}))

        nursery.start_soon(ask)
        question = await asked.hear()
        reply_to = question["meta"]["request_id"]
        await liar.say(custom("custom_x", {"from": "liar"}, "m1", reply_to=reply_to, status="ok"))
        assert (await liar.hear())["type"] == "sys_ack"
        await trio.testing.wait_all_tasks_blocked()
        assert (answers, server.get_stats()["late_answers"]) == ([], 1)
        await asked.say(custom("custom_x", {"from": "asked"}, "m2", reply_to=reply_to, status="ok"))
        await trio.testing.wait_all_tasks_blocked()
        assert answers == [{"from": "asked"}]
        for peer in (asked, liar):
            await peer.close()


# -- on the wire


async def test_to_an_old_peer_question_and_answer_are_ordinary_custom_messages(network):
    async with network.server(custom_handlers={"x": lambda payload: {"echo": payload}}) as server:
        peer = await joined(network, key=KEY, platform="p", uuid="u1")
        async with trio.open_nursery() as nursery:

            async def ask():
                with pytest.raises(RequestTimeout):
                    await server.request("u1", "tool_call", {"city": "Beijing"}, timeout=5)

            nursery.start_soon(ask)
            question = await peer.hear()
        assert (question["ver"], question["type"], question["payload"]) == (1, "custom_tool_call", {"city": "Beijing"})
        assert question["msg_id"].startswith("custom_")
        assert set(question["meta"]) == {"sender_user", "target_user", "timestamp", "request_id"}
        assert question["meta"]["sender_user"] == "server"

        await peer.say(custom("custom_x", {"n": 1}, "m1", request_id="theirs"))
        got = {envelope["type"]: envelope for envelope in (await peer.hear(), await peer.hear())}
        answer = got["custom_x"]
        assert got["sys_ack"]["meta"]["acked_msg_id"] == "m1"
        assert answer["payload"] == {"echo": {"n": 1}}
        assert (answer["meta"]["reply_to"], answer["meta"]["status"]) == ("theirs", "ok")
        assert answer["msg_id"].startswith("custom_")
        await peer.close()


async def test_a_custom_message_that_asks_nothing_is_not_answered(network):
    async with network.server(custom_handlers={"x": lambda payload: {"echo": payload}}):
        peer = await joined(network, key=KEY)
        await peer.say(custom("custom_x", {}, "m1"))
        await peer.say(custom("custom_nobody", {}, "m2"))
        assert await peer.hear_acks(2) == ["m1", "m2"]
        await trio.testing.wait_all_tasks_blocked()
        await peer.send(masked(CLOSE, b"\x03\xe8"))
        assert await peer.hear_all() == []
        await peer.aclose()
