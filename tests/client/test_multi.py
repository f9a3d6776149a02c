"""A client with many connections: connecting, sending, starting and stopping."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from maim_trio.client import WebSocketMultiClient, create_multi_client_config
from maim_trio.errors import ConfigError, InvalidMessage, NotRunning
from tests.client.multi import Inbox, fields
from tests.client.raw import closes, drops, hangs_up, refuses, silent, welcomes
from tests.memory import text_message

DEMO = {"wechat": fields("wechat"), "qq": fields("qq")}


# -- the three usage patterns of the interface reference


async def test_pattern_1_all_connections_at_once_connected_on_start(bots, nursery):
    inbox, sent = Inbox(), []
    on_message = lambda message, metadata: sent.append(message.message_segment.data)  # noqa: E731 - as the documents do
    async with bots["wechat"].server(on_message=on_message) as wechat, bots["qq"].server():
        client = bots.client(connections=DEMO, auto_connect_on_start=True, enable_stats=True, on_message=inbox)
        await client.start(nursery)
        assert await client.send_message("wechat", text_message("to wechat"))
        assert await client.send_message("qq", text_message("to qq"))
        await wechat.send_message(text_message("from wechat", to="key_of_wechat", platform="wechat_platform"))
        await trio.testing.wait_all_tasks_blocked()
        assert (inbox.seen, sent) == ([("from wechat", "wechat")], ["to wechat"])
        await client.stop()
        assert not client.is_running()


async def test_pattern_2_more_connections_while_it_runs(bots, nursery):
    for host in ("wechat", "qq", "telegram"):
        await bots.play(host, welcomes)
    client = bots.client(connections={"wechat": fields("wechat")}, auto_connect_on_start=True)
    await client.start(nursery)
    assert list(client.get_active_connections()) == ["wechat"]
    client.config.register_connection("qq", "ws://qq/ws", "qq_key", "qq")
    assert client.register_connection("telegram", "ws://telegram/ws", "telegram_key", "telegram")
    assert set(client.config.connections) == {"wechat", "qq", "telegram"}
    await trio.testing.wait_all_tasks_blocked()
    assert set(client.get_active_connections()) == {"wechat", "qq", "telegram"}
    assert client.update_connection("wechat", api_key="new_api_key")
    assert client.config.connections["wechat"].api_key == "new_api_key"
    await trio.testing.wait_all_tasks_blocked()
    assert client.is_connected("wechat")
    await client.stop()


async def test_pattern_3_a_configuration_that_is_filled_step_by_step(bots, nursery):
    weather = []
    config = create_multi_client_config(auto_connect_on_start=True, on_message=Inbox())
    config.register_custom_handler("weather_update", weather.append)
    config.register_connection("wechat", "ws://wechat/ws", "wechat_key", "wechat")
    async with bots["wechat"].server() as server:
        client = bots.client_of(config)
        await client.start(nursery)
        await server.send_custom_message("weather_update", {"city": "Beijing"}, target_platform="wechat")
        await trio.testing.wait_all_tasks_blocked()
        assert weather == [{"city": "Beijing"}]
        await client.stop()


async def test_the_guides_way_register_after_start_then_connect(bots, nursery):
    client = bots.client()
    client.register_custom_handler("platform_broadcast", lambda data, metadata: None)
    await client.start(nursery)
    for host in ("wechat", "qq"):
        await bots.play(host, welcomes)
        client.register_connection(host, f"ws://{host}/ws", "demo_key_456", host)
    assert not client.is_connected()
    assert await client.connect() == {"wechat": True, "qq": True}
    assert await client.send_custom_message("qq", "system_notification", {"title": "x"})
    assert await client.disconnect("wechat") == {"wechat": True}
    assert list(client.get_active_connections()) == ["qq"]
    assert client.is_connected()
    assert client.is_connected("qq")
    assert not client.is_connected("wechat")
    await client.stop()


# -- connect() tells the truth per name, all concurrently


async def test_connect_tells_the_truth_of_each(bots):
    await bots.play("good", welcomes)
    await bots.play("refusing", refuses(401, body=b'{"error": "no such key"}'))
    connections = {name: fields(name, connect_timeout=5) for name in ("good", "refusing", "nowhere")}
    async with bots.client(connections=connections) as client:
        assert await client.connect() == {"good": True, "refusing": False, "nowhere": False}
        assert trio.current_time() == 5
        assert client.get_last_error("good") is None
        assert "no such key" in client.get_last_error("refusing")
        assert "nobody listens" in client.get_last_error("nowhere")
        assert await client.connect("good") == {"good": True}
        assert await client.connect("unknown") == {"unknown": False}
        assert client.get_last_error("unknown") == "there is no connection 'unknown'"


@pytest.mark.parametrize("bad", [refuses(401), refuses(503), silent, hangs_up, closes(1011), drops(after=0.01)])
async def test_one_bad_connection_delays_no_other(bots, bad):
    """Not at the first connect, not at a reconnect, not when sending."""
    await bots.play("bad", bad)
    inbox = Inbox()
    async with bots["good"].server() as server:
        connections = {name: fields(name, max_reconnect_attempts=0) for name in ("bad", "good")}
        async with bots.client(connections=connections, on_message=inbox) as client, trio.open_nursery() as nursery:
            nursery.start_soon(client.connect)
            await trio.testing.wait_all_tasks_blocked()
            assert client.is_connected("good")
            assert trio.current_time() == 0
            for second in range(1, 30):
                assert await client.send_message("good", text_message())
                await server.broadcast_message(text_message(second))
                await trio.testing.wait_all_tasks_blocked()
                assert inbox.seen[-1] == (second, "good")
                await trio.sleep_until(second)
                assert client.is_connected("good")
            nursery.cancel_scope.cancel()


async def test_one_that_never_answers_delays_connect_only_by_its_own_timeout(bots):
    await bots.play("good", welcomes)
    await bots.play("silent", silent)
    connections = {"good": fields("good"), "silent": fields("silent", connect_timeout=3)}
    async with bots.client(connections=connections) as client:
        assert await client.connect() == {"good": True, "silent": False}
        assert trio.current_time() == 3


async def test_connect_while_another_connect_is_under_way_shares_its_attempt(bots):
    await bots.play("a", welcomes)
    results = []
    async with bots.client(connections={"a": fields("a")}) as client:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(_append, results, client.connect)
        assert results == [{"a": True}] * 3
        assert len(bots["a"].dials) == 1


async def _append(results, function):
    results.append(await function())


# -- what does not run


async def test_without_start_nothing_connects_and_the_reason_is_told(bots):
    client = bots.client(connections={"a": fields("a")})
    assert await client.connect() == {"a": False}
    assert "not running" in client.get_last_error("a")
    assert "not running" in client.get_last_error()
    assert await client.disconnect() == {"a": False}
    assert await client.send_message("a", text_message()) is False
    assert await client.send_custom_message("a", "x", {}) is False
    assert await client.route_message(text_message()) is False
    assert not client.is_running()
    assert not client.is_connected()
    assert bots["a"].dials == []


async def test_after_stop_nothing_connects_until_it_is_started_again(bots, nursery):
    await bots.play("a", welcomes)
    client = bots.client(connections={"a": fields("a")})
    for _ in range(2):
        await client.start(nursery)
        assert await client.connect() == {"a": True}
        await client.stop()
        assert await client.connect() == {"a": False}
        assert bots["a"].open_streams == set()
    assert len(bots["a"].dials) == 2


async def test_starting_twice_is_refused(bots):
    async with bots.client() as client, trio.open_nursery() as nursery:
        with pytest.raises(NotRunning):
            await client.start(nursery)


async def test_disconnecting_what_was_never_connected_is_done(bots):
    async with bots.client(connections={"a": fields("a")}) as client:
        assert await client.disconnect() == {"a": True}
        assert await client.disconnect("unknown") == {"unknown": False}


# -- auto_connect_on_start


async def test_start_returns_after_the_first_attempt_of_each(bots, nursery):
    await bots.play("good", welcomes)
    await bots.play("silent", silent)
    connections = {name: fields(name) for name in ("good", "refused")} | {"silent": fields("silent", connect_timeout=4)}
    client = bots.client(connections=connections, auto_connect_on_start=True)
    await client.start(nursery)
    assert trio.current_time() == 4
    assert len(bots["refused"].dials) >= 1
    assert list(client.get_active_connections()) == ["good"]
    await client.stop()


async def test_a_refused_connection_does_not_hold_start_up(bots, nursery):
    client = bots.client(connections={"a": fields("a")}, auto_connect_on_start=True)
    await client.start(nursery)
    assert trio.current_time() == 0
    await bots.play("a", welcomes)
    await trio.sleep(10)
    assert client.is_connected("a")  # it went on in the background
    await client.stop()


async def test_without_auto_connect_starting_and_registering_connect_nothing(bots):
    async with bots.client(connections={"a": fields("a")}) as client:
        client.register_connection("b", "ws://b/ws", "key")
        await trio.sleep(5)
        assert bots["a"].dials == bots["b"].dials == []


async def test_run_connects_all(bots, nursery):
    await bots.play("a", welcomes)
    client = await nursery.start(bots.client(connections={"a": fields("a")}).run)
    await trio.testing.wait_all_tasks_blocked()
    assert client.is_connected("a")
    await client.stop()


async def test_running_twice_is_refused_without_a_group_around_it(bots):
    async with bots.client() as client:
        with pytest.raises(NotRunning):
            await client.run()


# -- sending


async def test_a_message_goes_over_the_named_connection_only(bots):
    got = {"a": [], "b": []}
    servers = {
        name: bots[name].server(on_message=lambda message, metadata, name=name: got[name].append(message))
        for name in got
    }
    async with servers["a"], servers["b"], bots.client(connections={name: fields(name) for name in got}) as client:
        await client.connect()
        assert await client.send_message("b", text_message())
        await trio.testing.wait_all_tasks_blocked()
        assert [len(messages) for messages in got.values()] == [0, 1]
        assert await client.send_message("unknown", text_message()) is False


async def test_what_cannot_be_sent_is_told_like_by_a_single_client(bots):
    await bots.play("a", welcomes)
    async with bots.client(connections={"a": fields("a")}) as client:
        await client.connect()
        with pytest.raises(InvalidMessage):
            await client.send_message("a", {"not": "a message"})
        with pytest.raises(InvalidMessage):
            await client.route_message({"not": "a message"})
        with pytest.raises(InvalidMessage):
            await client.send_custom_message("a", "x", {"nan": float("nan")})


@pytest.mark.parametrize(
    ("api_key", "platform", "expected"),
    [
        ("key_2", "qq", "second"),  # both
        ("key_1", "nowhere", "first"),  # the key wins
        ("key_1", "qq", "first"),
        ("key_9", "qq", "second"),  # then the platform
        ("key_9", "nowhere", None),
        ("key_off", "off", None),  # the only one that fits is not connected
        ("key_off", "qq", "second"),
    ],
)
async def test_route_message_picks_the_connection_that_fits_best(bots, api_key, platform, expected):
    got = []
    connections = {
        "first": {"url": "ws://a/ws", "api_key": "key_1", "platform": "wechat"},
        "second": {"url": "ws://a/ws", "api_key": "key_2", "platform": "qq"},
        "third": {"url": "ws://a/ws", "api_key": "key_off", "platform": "off"},
    }
    server = bots["a"].server(on_message=lambda message, metadata: got.append(metadata["api_key"]))
    async with server, bots.client(connections=connections) as client:
        for name in ("first", "second"):
            assert await client.connect(name) == {name: True}
        accepted = await client.route_message(text_message(to=api_key, platform=platform))
        await trio.testing.wait_all_tasks_blocked()
        assert accepted is (expected is not None)
        assert got == ([connections[expected]["api_key"]] if expected else [])


# -- making one


def test_it_is_made_of_nothing_too():
    client = WebSocketMultiClient()
    assert client.list_connections() == {}
    assert client.get_last_error() is None


def test_wrong_arguments_are_refused():
    with pytest.raises(ConfigError, match="takes a MultiClientConfig, not dict"):
        WebSocketMultiClient({})
    with pytest.raises(ConfigError, match="default_config must be a ClientConfig, not str"):
        WebSocketMultiClient(default_config="x")
