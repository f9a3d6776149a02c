"""messages(): one iterator at a time, and who gets what came between two."""

from __future__ import annotations

import gc
import logging

import pytest
import trio
import trio.testing

from tests.client.raw import numbered, sends, standard

settled = trio.testing.wait_all_tasks_blocked


def text_of(message):
    return message.message_segment.data


async def take(messages, count):
    return [text_of((await anext(messages))[0]) for _ in range(count)]


async def test_with_on_message_set_it_is_refused(network):
    async with network.client(on_message=print) as client:
        with pytest.raises(RuntimeError, match="on_message"):
            client.messages()


async def test_a_second_one_at_a_time_is_refused(network):
    async with network.client() as client:
        first = client.messages()
        with pytest.raises(RuntimeError, match="aclose"):
            client.messages()
        await first.aclose()
        second = client.messages()
        with pytest.raises(RuntimeError):
            client.messages()
        await first.aclose()  # closing the old one again frees nothing
        with pytest.raises(RuntimeError):
            client.messages()
        del second
        gc.collect()
        client.messages()


async def test_leaving_a_loop_and_calling_again_loses_nothing(network, play):
    await play(sends(*numbered(30)))
    got = []
    async with network.client() as client:
        messages = client.messages()
        assert await client.connect()
        while len(got) < 30:
            async for message, _ in messages:
                got.append(text_of(message))
                if len(got) % 7 == 0 or len(got) == 30:
                    break
            del messages
            gc.collect()
            await trio.sleep(1)
            messages = client.messages()
    assert got == list(range(30))


async def test_what_comes_between_two_iterators_is_kept(network, play):
    async def every_second(peer):
        await peer.accept()
        for message in numbered(6):
            await peer.send(message)
            await trio.sleep(1)
        await peer.serve()

    await play(every_second)
    async with network.client() as client:
        messages = client.messages()
        assert await client.connect()
        assert await take(messages, 2) == [0, 1]
        del messages
        gc.collect()
        await trio.sleep(3)
        assert await take(client.messages(), 4) == [2, 3, 4, 5]


async def test_after_aclose_on_message_takes_over_with_what_was_left(network, play):
    async def one_more_later(peer):
        await peer.accept()
        for message in numbered(5):
            await peer.send(message)
        await trio.sleep(5)
        await peer.send(standard(5, msg_id="5"))
        await peer.serve()

    got = []
    await play(one_more_later)
    async with network.client(handler_ordering="per_connection") as client:
        messages = client.messages()
        assert await client.connect()
        assert await take(messages, 2) == [0, 1]
        await messages.aclose()
        client.config.on_message = lambda message, _metadata: got.append(text_of(message))
        await trio.sleep(6)
        assert sorted(got) == [2, 3, 4, 5]


async def test_a_dropped_iterator_leaves_the_place_to_on_message(network, play):
    async def every_second(peer):
        await peer.accept()
        for message in numbered(4):
            await peer.send(message)
            await trio.sleep(1)
        await peer.serve()

    got = []
    await play(every_second)
    async with network.client() as client:
        messages = client.messages()
        assert await client.connect()
        assert await take(messages, 1) == [0]
        del messages
        gc.collect()
        client.config.on_message = lambda message, _metadata: got.append(text_of(message))
        await trio.sleep(5)
        assert got == [1, 2, 3]


async def test_closing_a_full_iterator_lets_reading_go_on(network, play):
    got = []
    await play(sends(*numbered(50)))
    async with network.client(inbox_size=5) as client:
        messages = client.messages()
        assert await client.connect()
        await settled()
        client.config.on_message = lambda message, _metadata: got.append(text_of(message))
        await messages.aclose()
        await trio.sleep(1)
        assert sorted(got) == list(range(50))


async def test_with_neither_messages_are_acked_counted_and_one_warning_says_so(network, play, caplog):
    peers = await play(sends(*numbered(20)))
    async with network.client() as client:
        assert await client.connect()
        await settled()
        assert len(peers[0].acked) == 20
        assert client.get_stats()["messages_received"] == 20
        assert client.get_stats()["unhandled_messages"] == 20
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1
