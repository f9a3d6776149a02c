"""Handlers of custom messages: their forms, their coming and going, their mistakes."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.client.checks import Calls
from tests.client.raw import custom, sends, standard

settled = trio.testing.wait_all_tasks_blocked


async def test_custom_handlers_take_one_argument_or_two(network, play):
    one, two = Calls(), Calls()

    def takes_one(payload):
        one(payload)

    def takes_two(payload, metadata):
        two(payload, metadata)

    await play(
        sends(custom("custom_one", {"n": 1}), custom("custom_two", {"n": 2}, msg_id="c-2", sender_user="server"))
    )
    async with network.client(custom_handlers={"one": takes_one, "custom_two": takes_two}) as client:
        assert await client.connect()
        await settled()
        assert one == [({"n": 1},)]
        ((payload, metadata),) = two
        assert payload == {"n": 2}
        assert metadata["message_type"] == "custom_two"
        assert metadata["msg_id"] == "c-2"
        assert metadata["sender_user"] == "server"
        assert client.get_stats()["custom_messages_processed"] == 2


async def test_custom_handlers_come_and_go_on_a_running_client(network, play):
    async def every_second(peer):
        await peer.accept()
        for n in range(5):
            await trio.sleep(1)
            await peer.send(custom("custom_tick", {"n": n}, msg_id=str(n)))
        await peer.serve()

    first, second = Calls(), Calls()
    await play(every_second)
    async with network.client() as client:
        assert await client.connect()
        await trio.sleep(1.5)
        client.register_custom_handler("tick", lambda payload: first(payload["n"]))
        await trio.sleep(1)
        client.register_custom_handler("custom_tick", lambda payload: second(payload["n"]))
        await trio.sleep(1)
        client.unregister_custom_handler("tick")
        await trio.sleep(1)
        client.config.custom_handlers["tick"] = lambda payload, _metadata: first(payload["n"])
        await trio.sleep(1)
    assert first == [(1,), (4,)]
    assert second == [(2,)]


async def test_unregistering_a_handler_that_runs_lets_it_finish(network, play):
    finished = []

    async def slow(payload):
        client.unregister_custom_handler("slow")
        await trio.sleep(1)
        finished.append(payload["n"])

    await play(sends(custom("custom_slow", {"n": 1})))
    async with network.client(custom_handlers={"slow": slow}) as client:
        assert await client.connect()
        await trio.sleep(2)
    assert finished == [1]


async def test_a_callable_that_fits_neither_form_is_refused(network):
    async with network.client() as client:
        for wrong in (lambda: None, lambda a, b, c: None, "text", None):
            with pytest.raises(TypeError):
                client.register_custom_handler("x", wrong)
        for name in ("", "custom_", 5):
            with pytest.raises(ValueError, match="type"):
                client.register_custom_handler(name, print)
        assert client.config.custom_handlers == {}


@pytest.mark.parametrize("wrong", [5, "text", lambda: None, lambda a, b, c: None])
async def test_nonsense_put_into_the_dict_by_hand_is_an_error_of_that_handler_only(network, play, wrong):
    calls = Calls()
    await play(sends(custom("custom_x", {}, msg_id="1"), standard(msg_id="2")))
    async with network.client(on_message=calls) as client:
        client.config.custom_handlers["x"] = wrong
        assert await client.connect()
        await settled()
        assert len(calls) == 1
        assert client.is_connected()
        assert client.get_stats()["handler_errors"] == 1
