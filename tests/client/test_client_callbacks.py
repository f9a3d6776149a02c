"""Handlers of messages: what they are given, how many run, what their mistakes cost."""

from __future__ import annotations

import functools
import logging

import pytest
import trio
import trio.testing

from tests.client.checks import Calls
from tests.client.raw import custom, sends, standard, welcomes
from tests.memory import text_message

settled = trio.testing.wait_all_tasks_blocked


async def test_on_message_gets_message_and_metadata(network, play):
    peers = await play(sends(standard("hi", msg_id="m-7", sender_user="bob", timestamp=5.5, extra={"a": 1})))
    calls = Calls()
    async with network.client(platform="wechat", on_message=calls) as client:
        assert await client.connect()
        await settled()
        ((message, metadata),) = calls
        assert message.message_segment.data == "hi"
        assert metadata == {
            "connection_name": "default",
            "connection_uuid": client.get_connection_uuid(),
            "server_url": client.config.url,
            "uuid": client.get_connection_uuid(),
            "api_key": "key_of_client",
            "platform": "wechat",
            "resumed": False,
            "sender_user": "bob",
            "target_user": "",
            "timestamp": 5.5,
            "msg_id": "m-7",
            "message_type": "sys_std",
            "meta": {"sender_user": "bob", "timestamp": 5.5, "extra": {"a": 1}},
        }
        assert peers[0].acked == ["m-7"]
        assert client.get_stats()["messages_processed"] == 1


async def test_the_peers_claims_do_not_overwrite_what_the_client_knows(network, play):
    claims = {"api_key": "evil", "uuid": "evil", "platform": "evil", "connection_uuid": "evil", "server_url": "evil"}
    await play(sends(standard(msg_id=None, **claims)))
    calls = Calls()
    async with network.client(on_message=calls) as client:
        assert await client.connect()
        await settled()
        ((_, metadata),) = calls
        assert metadata["api_key"] == "key_of_client"
        assert metadata["uuid"] == metadata["connection_uuid"] == client.get_connection_uuid()
        assert metadata["platform"] == "default"
        assert metadata["meta"] == claims
        assert metadata["msg_id"] is None
        assert metadata["sender_user"] == "unknown"
        assert metadata["timestamp"] is None


async def test_metadata_is_each_handlers_own(network, play):
    seen = []

    def spoil(_message, metadata):
        seen.append(dict(metadata))
        metadata.clear()

    await play(sends(standard(msg_id="1"), standard(msg_id="2")))
    async with network.client(on_message=spoil) as client:
        assert await client.connect()
        await settled()
        assert {metadata["msg_id"] for metadata in seen} == {"1", "2"}
        assert all(metadata["api_key"] == "key_of_client" for metadata in seen)


async def test_a_clients_ack_says_so(network, play):
    peers = await play(sends(standard(msg_id='a "quoted"\n微信 id')))
    async with network.client(on_message=Calls()) as client:
        assert await client.connect()
        await settled()
        (ack,) = peers[0].heard
        assert ack["type"] == "sys_ack"
        assert ack["meta"]["acked_msg_id"] == 'a "quoted"\n微信 id'
        assert ack["meta"]["uuid"] == client.get_connection_uuid()
        assert ack["payload"]["status"] == "received"
        assert ack["payload"].keys() == {"status", "client_timestamp"}


async def test_every_kind_of_callable_will_do(network, play):
    got = []

    async def coroutine_function(message, metadata):
        await trio.lowlevel.checkpoint()
        got.append("coroutine function")

    class Object:
        async def __call__(self, message, metadata):
            got.append("object")

        def method(self, message, metadata):
            got.append("method")

    def with_three(first, message, metadata):
        got.append(first)

    def returns_awaitable(message, metadata):
        return coroutine_function(message, metadata)

    handlers = [
        coroutine_function,
        lambda message, metadata: got.append("lambda"),
        functools.partial(with_three, "partial"),
        Object(),
        Object().method,
        returns_awaitable,
    ]
    for handler in handlers:
        await play(sends(standard()))
        async with network.client(on_message=handler) as client:
            assert await client.connect()
            await settled()
    expected = ["coroutine function", "lambda", "partial", "object", "method", "coroutine function"]
    assert got == expected


async def test_on_message_is_read_live(network, play):
    first, second = Calls(), Calls()
    messages = [standard(n, msg_id=str(n)) for n in range(2)]

    async def one_by_one(peer):
        await peer.accept()
        for message in messages:
            await peer.send(message)
            await trio.sleep(1)
        await peer.serve()

    await play(one_by_one)
    async with network.client(on_message=first) as client:
        assert await client.connect()
        await trio.sleep(0.5)
        client.config.on_message = second
        await trio.sleep(1)
    assert [len(first), len(second)] == [1, 1]


async def test_a_handler_that_raises_harms_nothing_else(network, play, caplog):
    calls = Calls()

    def raises(message, metadata):
        calls(message, metadata)
        raise ValueError("out of the handler")

    peers = await play(sends(standard(msg_id="1"), standard(msg_id="2")))
    async with network.client(on_message=raises) as client:
        assert await client.connect()
        await settled()
        assert len(calls) == 2
        assert peers[0].acked == ["1", "2"]
        stats = client.get_stats()
        assert stats["handler_errors"] == 2
        assert stats["messages_processed"] == 0
        assert "ValueError" in stats["last_error"]
        assert await client.send_message(text_message())
    assert "out of the handler" in caplog.text  # the traceback


async def test_a_handler_that_outruns_handler_timeout_is_cancelled(network, play):
    ended = []

    async def hangs(_message, _metadata):
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time())

    await play(sends(standard()))
    async with network.client(on_message=hangs, handler_timeout=3.0) as client:
        assert await client.connect()
        start = trio.current_time()
        await trio.sleep(4)
        assert [when - start for when in ended] == [pytest.approx(3)]
        assert client.get_stats()["handler_timeouts"] == 1
        assert client.is_connected()


async def test_handlers_run_at_the_same_time_unless_told_otherwise(network, play):
    running, most = 0, 0

    async def slow(_message, _metadata):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.sleep(1)
        running -= 1

    for ordering, limit, expected in (("concurrent", 100, 10), ("concurrent", 3, 3), ("per_connection", 100, 1)):
        most = 0
        await play(sends(*(standard(msg_id=str(n)) for n in range(10))))
        async with network.client(
            on_message=slow, handler_ordering=ordering, max_concurrent_handlers_per_connection=limit
        ) as client:
            assert await client.connect()
            await trio.sleep(11)
        assert most == expected


async def test_a_handler_outlives_its_connection(network, play):
    done = []

    async def slow(_message, _metadata):
        await trio.sleep(5)
        done.append(await client.send_message(text_message()))

    async def sends_and_drops(peer):
        await peer.accept()
        await peer.send(standard())
        await trio.sleep(1)

    await play(sends_and_drops, welcomes)
    async with network.client(on_message=slow) as client:
        assert await client.connect()
        await trio.sleep(6)
        assert done == [True]


async def test_stop_from_a_handler_initiates_it_and_returns(network, play):
    returned = []

    async def stops(_message, _metadata):
        await client.stop()
        await trio.sleep(1)  # shutdown_timeout is for what still runs
        returned.append(client.is_running())

    await play(sends(standard()))
    async with trio.open_nursery() as nursery:
        client = network.client(on_message=stops)
        await client.start(nursery)
        assert await client.connect()
    assert returned == [True]
    assert not client.is_running()
    assert not network.open_streams


async def test_what_waited_when_it_was_stopped_blocks_nothing_after_a_restart(network, play):
    got = []

    async def slow(message, _metadata):
        await trio.sleep(0.1)
        got.append(message.message_segment.data)

    first = [standard(n, msg_id=str(n)) for n in range(9)]
    await play(sends(*first), sends(standard("later", msg_id="later")))
    client = network.client(on_message=slow, inbox_size=3, max_concurrent_handlers=1)
    async with client:
        assert await client.connect()
        await settled()
    assert got[:4] == [0, 1, 2, 3]
    async with client:
        assert await client.connect()
        await trio.sleep(10)
    assert got[-1] == "later"


async def test_what_was_acked_but_not_handled_when_it_was_stopped_is_handled_after_a_restart(network, play):
    got = []

    async def slow(message, _metadata):
        await trio.sleep(0.1)
        got.append(message.message_segment.data)

    peers = await play(sends(*(standard(n, msg_id=str(n)) for n in range(5))))
    client = network.client(on_message=slow, max_concurrent_handlers=1, shutdown_timeout=0)
    async with client:
        assert await client.connect()
        await trio.sleep(0.25)
    assert got == [0, 1]
    assert peers[0].acked == ["0", "1", "2", "3", "4"]
    async with client:
        await trio.sleep(1)
    assert got == [0, 1, 3, 4]  # 2 was being handled


async def test_disconnect_and_connect_from_a_handler(network, play):
    results = []

    async def reconnects(_message, _metadata):
        results.append(await client.disconnect())
        results.append(await client.connect())

    peers = await play(sends(standard()), welcomes)
    async with network.client(on_message=reconnects) as client:
        assert await client.connect()
        await trio.sleep(1)
        assert results == [True, True]
        assert len(peers) == 2
        assert client.is_connected()


async def test_messages_that_nobody_takes_are_acked_counted_and_one_warning_says_so(network, play, caplog):
    peers = await play(sends(*(standard(msg_id=str(n)) for n in range(5)), custom("custom_x", {}, msg_id="c")))
    async with network.client() as client:
        assert await client.connect()
        await settled()
        assert peers[0].acked == ["0", "1", "2", "3", "4", "c"]
        stats = client.get_stats()
        assert stats["messages_received"] == 6
        assert stats["unhandled_messages"] == 6
        assert stats["messages_processed"] == 0
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 2
    assert "standard" in warnings[0]
    assert "custom_x" in warnings[1]


async def test_what_the_server_gets_wrong_is_answered_and_the_rest_goes_on(network, play):
    calls = Calls()
    peers = await play(
        sends({"type": "sys_std", "payload": {}}, {"type": "nonsense", "payload": {}}, {"a": 1}, standard(msg_id="ok"))
    )
    async with network.client(on_message=calls) as client:
        assert await client.connect()
        await settled()
        assert len(calls) == 1
        assert [message["type"] for message in peers[0].heard] == ["sys_error"] * 3 + ["sys_ack"]
        assert client.get_stats()["invalid_frames"] == 3
        assert client.is_connected()


@pytest.mark.parametrize("name", ["on_message", "on_connect", "on_disconnect"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_what_no_fence_holds_comes_out_and_leaves_nothing_open(network, play, name, error):
    def raises(*_):
        raise error

    async def sends_and_leaves(peer):
        await peer.accept()
        await peer.send(standard())
        await trio.sleep(1)

    await play(sends_and_leaves, welcomes)
    client = network.client(**{name: raises})

    async def body():
        async with client:
            assert await client.connect()
            await trio.sleep_forever()

    with pytest.raises(BaseExceptionGroup) as caught:
        await body()
    assert caught.value.split(error)[1] is None
    assert not client.is_running()
    assert not network.open_streams
