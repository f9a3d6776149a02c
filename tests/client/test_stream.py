"""messages(): received messages as an async iterator."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from maim_trio.errors import NotConnected
from tests.client.raw import custom, drops, hangs_up, numbered, refuses, sends, standard, welcomes
from tests.memory import text_message

settled = trio.testing.wait_all_tasks_blocked


def text_of(message):
    return message.message_segment.data


async def take(messages, count):
    return [text_of((await anext(messages))[0]) for _ in range(count)]


# -- drawing


async def test_messages_come_in_order_with_their_metadata(network, play):
    peers = await play(sends(*numbered(500)))
    async with network.client() as client:
        messages = client.messages()
        assert await client.connect()
        got = []
        async for message, metadata in messages:
            assert metadata["msg_id"] == str(text_of(message))
            assert metadata["message_type"] == "sys_std"
            assert metadata["api_key"] == "key_of_client"
            assert metadata["connection_uuid"] == client.get_connection_uuid()
            got.append(text_of(message))
            if len(got) == 500:
                break
        assert got == list(range(500))
        await settled()
        assert peers[0].acked == [str(n) for n in range(500)]
        assert client.get_stats()["messages_processed"] == 500


async def test_it_subscribes_when_called_and_not_when_first_drawn_from(network, play):
    await play(sends(*numbered(3)))
    async with network.client() as client:
        messages = client.messages()
        assert await client.connect()
        await trio.sleep(10)
        assert await take(messages, 3) == [0, 1, 2]


async def test_it_may_be_called_before_start(network, play):
    await play(sends(*numbered(3)))
    client = network.client()
    messages = client.messages()
    async with client:
        assert await client.connect()
        assert await take(messages, 3) == [0, 1, 2]


async def test_it_waits_for_what_has_not_come_yet(network, play):
    async def every_second(peer):
        await peer.accept()
        for message in numbered(3):
            await trio.sleep(1)
            await peer.send(message)
        await peer.serve()

    await play(every_second)
    async with network.client() as client:
        messages = client.messages()
        assert await client.connect()
        start = trio.current_time()
        assert await take(messages, 3) == [0, 1, 2]
        assert trio.current_time() - start == pytest.approx(3)


async def test_it_goes_on_across_reconnects(network, play):
    async def sends_and_drops(peer):
        await peer.accept()
        await peer.send(standard("first", msg_id="1"))
        await trio.sleep(1)

    await play(sends_and_drops, sends(standard("second", msg_id="2")))
    async with network.client() as client:
        messages = client.messages()
        assert await client.connect()
        assert await take(messages, 2) == ["first", "second"]


async def test_a_cancelled_draw_takes_nothing(network, play):
    async def late(peer):
        await peer.accept()
        await trio.sleep(5)
        for message in numbered(3):
            await peer.send(message)
        await peer.serve()

    await play(late)
    async with network.client() as client:
        messages = client.messages()
        assert await client.connect()
        for _ in range(10):
            with trio.move_on_after(1):
                await anext(messages)
                break
        assert await take(messages, 2) == [1, 2]
        with trio.CancelScope() as scope:
            scope.cancel()
            await anext(messages)


async def test_a_cancelled_draw_takes_nothing_even_when_something_waits(network, play):
    await play(sends(*numbered(2)))
    async with network.client() as client:
        messages = client.messages()
        assert await client.connect()
        await settled()
        with trio.CancelScope() as scope:
            scope.cancel()
            await anext(messages)
        assert await take(messages, 2) == [0, 1]


async def test_each_draw_is_a_checkpoint(network, play):
    await play(sends(*numbered(10)))
    async with network.client() as client:
        messages = client.messages()
        assert await client.connect()
        await settled()
        for _ in range(10):
            with trio.testing.assert_checkpoints():
                await anext(messages)


async def test_custom_handlers_go_on_while_nobody_draws(network, play):
    called = []
    peers = await play(sends(*numbered(25), custom("custom_x", {"n": 1}, msg_id="c")))
    async with network.client(inbox_size=10, custom_handlers={"x": called.append}) as client:
        messages = client.messages()
        assert await client.connect()
        await settled()
        # 10 in the inbox, 10 unacked in the waiting room; the rest has not been read
        assert peers[0].acked == [str(n) for n in range(10)]
        assert called == []
        assert await take(messages, 6) == list(range(6))
        await settled()
        assert called == [{"n": 1}]
        assert await take(messages, 19) == list(range(6, 25))
        await settled()
        assert [id for id in peers[0].acked if id != "c"] == [str(n) for n in range(25)]


async def test_custom_handlers_are_called_at_once_behind_a_few_undrawn_messages(network, play):
    called = []
    await play(sends(*numbered(15), custom("custom_x", {"n": 1})))
    async with network.client(inbox_size=10, custom_handlers={"x": called.append}) as client:
        messages = client.messages()
        assert await client.connect()
        await settled()
        assert called == [{"n": 1}]
        assert messages is not None


async def test_a_full_inbox_keeps_the_connection_alive_and_nothing_is_lost(network, play):
    peers = await play(sends(*numbered(50)))
    async with network.client(inbox_size=5, ping_interval=5, ping_timeout=5) as client:
        messages = client.messages()
        assert await client.connect()
        await trio.sleep(1000)
        assert client.is_connected()
        assert await client.send_message(text_message())
        assert await take(messages, 50) == list(range(50))
        assert len(peers) == 1


async def test_stop_while_the_inbox_is_full_is_clean(network, play):
    await play(sends(*numbered(50)))
    async with network.client(inbox_size=5) as client:
        messages = client.messages()
        assert await client.connect()
        await settled()
        start = trio.current_time()
        await client.stop()
        assert trio.current_time() - start < 1
        assert (await take(messages, 5)) == list(range(5))
    assert not network.open_streams


# -- ends


async def test_it_ends_with_stop(network, play):
    await play(welcomes)
    ended = []

    async def listen(messages):
        async for _ in messages:
            raise AssertionError("nothing was sent")
        ended.append(True)

    async with network.client() as client, trio.open_nursery() as nursery:
        nursery.start_soon(listen, client.messages())
        assert await client.connect()
        await trio.sleep(1)
        await client.stop()
    assert ended == [True]


async def test_it_ends_with_stop_after_what_waits_was_drawn(network, play):
    await play(sends(*numbered(3)))
    async with network.client() as client:
        messages = client.messages()
        assert await client.connect()
        await settled()
    assert [text_of(message) async for message, _ in messages] == [0, 1, 2]


async def test_it_ends_when_the_surroundings_are_cancelled(network, play):
    await play(sends(*numbered(3)))
    with trio.move_on_after(1):
        async with network.client() as client:
            messages = client.messages()
            assert await client.connect()
            await trio.sleep_forever()
    assert [text_of(message) async for message, _ in messages] == [0, 1, 2]


async def test_it_goes_on_after_a_restart(network, play):
    await play(sends(standard("first", msg_id="1")), sends(standard("second", msg_id="2")))
    client = network.client()
    messages = client.messages()
    async with client:
        assert await client.connect()
        await settled()
    async with client:
        assert await client.connect()
        assert await take(messages, 2) == ["first", "second"]


async def test_a_refused_client_raises_not_connected(network, play):
    await play(refuses(401, body=b'{"error": "unknown key"}'))
    raised = []

    async def listen(messages):
        with pytest.raises(NotConnected, match="unknown key") as caught:
            await anext(messages)
        raised.append(caught.value)

    async with network.client() as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen, client.messages())
            await settled()
            assert not await client.connect()
        assert raised


async def test_a_client_that_gave_up_raises_not_connected_after_what_waits(network, play):
    async def sends_and_drops(peer):
        await peer.accept()
        for message in numbered(2):
            await peer.send(message)

    await play(sends_and_drops, hangs_up)
    async with network.client(max_reconnect_attempts=1) as client:
        messages = client.messages()
        assert await client.connect()
        await trio.sleep(100)
        assert await take(messages, 2) == [0, 1]
        for _ in range(2):
            with pytest.raises(NotConnected):
                await anext(messages)


async def test_disconnecting_ends_the_wait_too(network, play):
    """There will be nothing more: whoever waits has to hear of it, whether it was connected or not."""
    for script in (welcomes, drops(), hangs_up):
        await play(script)
        heard = []

        async def listen(messages):
            with pytest.raises(NotConnected, match="disconnected"):
                await anext(messages)
            heard.append(True)  # noqa: B023 - called within this turn of the loop

        async with (
            network.client(connect_timeout=1, max_reconnect_attempts=0) as client,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(listen, client.messages())
            await client.connect()
            await client.disconnect()
            await settled()
            assert heard == [True]


async def test_after_giving_up_another_connect_goes_on(network, play):
    await play(refuses(401), sends(*numbered(2)))
    async with network.client() as client:
        messages = client.messages()
        assert not await client.connect()
        with pytest.raises(NotConnected):
            await anext(messages)
        assert await client.connect()
        assert await take(messages, 2) == [0, 1]
