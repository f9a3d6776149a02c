"""The legacy client: what it tells, sends, keeps and receives."""

from __future__ import annotations

import json

import pytest
import trio
import trio.testing

from maim_trio import MessageClient
from maim_trio.errors import ConfigError, InvalidMessage, NotRunning
from tests.client.raw import hangs_up, refuses, says, silent
from tests.legacy.memory import TOKEN, URL, Heard, MemoryMessageClient, MemoryMessageServer, text, words_of
from tests.legacy.servers import accept, closes, drops, old_server, sends, welcomes
from tests.transport.raw import BINARY, TEXT, frame

SETTLED = trio.testing.wait_all_tasks_blocked


def texts(peer):
    return [words_of(message) for message in peer.heard]


# -- connecting


async def test_it_says_its_platform_and_its_bare_token_in_headers(network, play):
    peers = await play(welcomes)
    async with MemoryMessageClient(network) as client:
        assert await client.connect(URL, "qq", TOKEN) is True
        assert client.is_connected()
        assert client.platform == "qq"
        assert (peers[0].header("platform"), peers[0].header("authorization")) == ("qq", TOKEN)
        assert peers[0].head.startswith(b"GET /ws HTTP/1.1\r\n")
    assert not client.is_connected()
    assert peers[0].code == 1000


async def test_a_platform_travels_as_utf8_and_no_token_is_no_header(network, play):
    peers = await play(welcomes)
    async with MemoryMessageClient(network) as client:
        assert await client.connect(URL, "微信")
        assert "platform: 微信\r\n".encode() in peers[0].head
        assert peers[0].header("authorization") is None


async def test_before_it_is_started_connect_says_where_to_and_run_does_it(network, play, nursery):
    peers = await play(welcomes)
    client = MemoryMessageClient(network)
    assert await client.connect(URL, "qq") is False
    assert peers == []
    assert await nursery.start(client.run) is client
    await SETTLED()
    assert client.is_connected()
    await client.stop()
    assert not client.is_running()


@pytest.mark.parametrize("form", ["start", "async with"])
async def test_all_three_forms_connect(network, play, nursery, form):
    await play(welcomes)
    client = MemoryMessageClient(network)
    await client.connect(URL, "qq")
    if form == "start":
        await client.start(nursery)
        await SETTLED()
        assert client.is_connected()
        await client.stop()
    else:
        async with client:
            await SETTLED()
            assert client.is_connected()


async def test_connect_goes_on_until_the_server_is_there(network, nursery):
    async with MemoryMessageClient(network, max_reconnect_delay=1) as client:

        async def late(task_status=trio.TASK_STATUS_IGNORED):
            await trio.sleep(5)
            await MemoryMessageServer(network).run()

        nursery.start_soon(late)
        assert await client.connect(URL, "qq") is True
        assert trio.current_time() >= 5
        nursery.cancel_scope.cancel()


async def test_connect_gives_up_waiting_and_goes_on_in_the_background(network, play):
    async with MemoryMessageClient(network, connect_timeout=5) as client:
        assert await client.connect(URL, "qq") is False
        assert "could not be reached" in client.get_last_error()
        await play(welcomes)
        await trio.sleep(60)
        assert client.is_connected()
        assert client.get_last_error() is None


async def test_connecting_twice_is_one_connection(network, play):
    peers = await play(welcomes)
    async with MemoryMessageClient(network) as client:
        for _ in range(3):
            assert await client.connect(URL, "qq") is True
        assert len(peers) == 1


async def test_another_platform_closes_the_connection_and_opens_another(network, play):
    peers = await play(welcomes)
    async with MemoryMessageClient(network) as client:
        await client.connect(URL, "qq")
        assert await client.connect(URL, "wechat") is True
        assert [peer.header("platform") for peer in peers] == ["qq", "wechat"]
        assert peers[0].code == 1000
        assert client.platform == "wechat"


async def test_an_old_server_counts_when_it_has_not_closed_within_half_a_second(network, play):
    await play(old_server)
    async with MemoryMessageClient(network) as client:
        start = trio.current_time()
        assert await client.connect(URL, "qq") is True
        assert trio.current_time() - start == 0.5


# -- being refused


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (closes(1008, "无效的令牌", ours=False), "the server refused this client (close 1008): 无效的令牌"),
        (refuses(401, body=b'{"error": "this token is not valid", "code": "unauthorized"}'), "token is not valid"),
        (refuses(401), "authentication failed (HTTP 401)"),
        (refuses(404), "404"),
        (refuses(400), "400"),
    ],
)
async def test_a_refusal_is_told_at_once_and_tried_again_now_and_then(network, play, log, script, words):
    peers = await play(script)
    async with MemoryMessageClient(network) as client:
        start = trio.current_time()
        assert await client.connect(URL, "qq", TOKEN) is False
        assert trio.current_time() - start < 1
        assert words in client.get_last_error()
        assert not client.is_connected()
        await trio.sleep(600)
        assert 20 <= len(peers) <= 41  # every 15 to 30 s
    assert len(log.having("does not let platform qq in", "ERROR")) == 1
    assert TOKEN not in log.text


async def test_a_token_that_is_good_later_lets_it_in(network, play):
    await play(refuses(401), welcomes)
    async with MemoryMessageClient(network) as client:
        assert await client.connect(URL, "qq", TOKEN) is False
        await trio.sleep(31)
        assert client.is_connected()
        assert client.get_last_error() is None


async def test_connecting_again_does_not_wait_for_the_delay(network, play):
    await play(refuses(401), welcomes)
    async with MemoryMessageClient(network) as client:
        assert await client.connect(URL, "qq", TOKEN) is False
        start = trio.current_time()
        assert await client.connect(URL, "qq", "another-token-123") is True
        assert trio.current_time() == start


async def test_what_the_server_says_is_told_without_the_token(network, play):
    await play(refuses(401, body=json.dumps({"error": f"no {TOKEN}!"}).encode()))
    async with MemoryMessageClient(network) as client:
        assert await client.connect(URL, "qq", TOKEN) is False
        assert TOKEN not in client.get_last_error()
        assert "no " in client.get_last_error()


@pytest.mark.parametrize(
    ("script", "words"),
    [(hangs_up, "connection"), (says(b"SSH-2.0\r\n\r\n"), "not HTTP"), (silent, "no answer within 10 s")],
)
async def test_trouble_is_told(network, play, script, words):
    await play(script)
    async with MemoryMessageClient(network) as client:
        assert await client.connect(URL, "qq") is False
        assert words in client.get_last_error()


async def test_a_busy_server_gets_the_time_it_asks_for(network, play):
    peers = await play(refuses(503, {"Retry-After": "60"}), welcomes)
    async with MemoryMessageClient(network) as client:
        assert await client.connect(URL, "qq") is False
        await trio.sleep(45)
        assert len(peers) == 1
        await trio.sleep(10)
        assert client.is_connected()


# -- coming back


@pytest.mark.parametrize("code", [1000, 1001, 1009, 1011, 1012, 1013, 3000])
async def test_it_comes_back_after_a_close(network, play, code):
    peers = await play(closes(code, "bye", after=20), welcomes)
    async with MemoryMessageClient(network) as client:
        assert await client.connect(URL, "qq")
        await trio.sleep(23)
        assert client.is_connected()
        assert len(peers) == 2


async def test_a_server_that_drops_at_once_is_not_hammered(network, play):
    peers = await play(drops())
    async with MemoryMessageClient(network) as client:
        await client.connect(URL, "qq")
        await trio.sleep(600)
    assert len(peers) < 80


async def test_two_clients_that_throw_each_other_out_do_it_ever_more_slowly(network, log):
    server = MemoryMessageServer(network)
    async with server, MemoryMessageClient(network) as one, MemoryMessageClient(network) as other:
        for client in (one, other):
            await client.connect(URL, "qq")
        await trio.sleep(3600)
        assert 10 < server.get_stats()["total_connections"] < 50
        assert one.is_connected() != other.is_connected()
    assert len(log.having("two clients seem to use the same name", "WARNING")) == 1
    assert len(log.having("another client keeps connecting", "WARNING")) == 2  # each of them says it once


async def test_the_one_that_was_replaced_takes_over_when_the_other_has_gone(network):
    async with MemoryMessageServer(network) as server, MemoryMessageClient(network) as one:
        await one.connect(URL, "qq")
        async with MemoryMessageClient(network) as other:
            await other.connect(URL, "qq")
            await trio.sleep(0.5)
            assert not one.is_connected()
        await trio.sleep(10)
        assert one.is_connected()
        assert await server.send_message(text())


# -- sending


async def test_messages_are_plain_dicts_or_messages(network, play):
    peers = await play(welcomes)
    async with MemoryMessageClient(network) as client:
        await client.connect(URL, "qq")
        assert await client.send_message(text("one").to_dict()) is True
        assert await client.send_message(text("two")) is True
        assert await client.send_custom_message("poke", {"a": 1}) is True
        await SETTLED()
    one, two, custom = peers[0].heard
    assert (words_of(one), words_of(two)) == ("one", "two")
    assert isinstance(custom.pop("timestamp"), float)
    assert custom == {"platform": "qq", "message_type_name": "poke", "content": {"a": 1}, "is_custom_message": True}


async def test_before_connect_sending_and_running_is_an_error(network):
    client = MemoryMessageClient(network)
    for call in (lambda: client.send_message({}), lambda: client.send_custom_message("poke", {}), client.run):
        with pytest.raises(NotRunning, match=r"connect\(url, platform\) comes first"):
            await call()
        with pytest.raises(RuntimeError):
            await call()
    assert client.platform is None


async def test_a_client_that_does_not_run_sends_nothing(network):
    client = MemoryMessageClient(network)
    await client.connect(URL, "qq")
    assert await client.send_message({}) is False
    assert "not running" in client.get_last_error()


async def test_what_cannot_be_sent_is_an_error_of_the_caller(network, play):
    await play(welcomes)
    async with MemoryMessageClient(network) as client:
        await client.connect(URL, "qq")
        with pytest.raises(InvalidMessage, match=r"`\$\.a`"):
            await client.send_message({"a": {1, 2}})
        with pytest.raises(InvalidMessage, match="non-empty string"):
            await client.send_custom_message("", {})


async def test_what_is_sent_during_an_outage_arrives_first_and_in_order(network, play):
    async def second(peer):
        await accept(peer)
        await peer.serve()

    peers = await play(drops(after=20), second)
    async with MemoryMessageClient(network, reconnect_delay=5) as client:
        await client.connect(URL, "qq")
        await trio.sleep(20)
        await SETTLED()
        assert not client.is_connected()
        for number in range(100):
            assert await client.send_message(text(number)) is True
        await trio.sleep(6)
        assert client.is_connected()
        assert await client.send_message(text("live")) is True
        await SETTLED()
    assert texts(peers[1]) == [*range(100), "live"]


async def test_what_is_sent_to_an_old_server_waits_until_it_has_let_us_in(network, play):
    peers = await play(closes(1008, "无效的令牌", ours=False), old_server)
    async with MemoryMessageClient(network) as client:
        assert await client.connect(URL, "qq", TOKEN) is False
        assert await client.send_message(text("kept")) is True
        await trio.sleep(40)
        assert client.is_connected()
    assert peers[0].heard == []
    assert texts(peers[1]) == ["kept"]


async def test_so_many_are_kept_and_no_more(network, play, log):
    async with MemoryMessageClient(network, message_cache_max_size=3) as client:
        await client.connect(URL, "qq")
        assert [await client.send_message(text(number)) for number in range(5)] == [True, True, True, False, False]
        peers = await play(welcomes)
        await trio.sleep(60)
        await SETTLED()
    assert texts(peers[0]) == [0, 1, 2]
    assert len(log.having("no more are kept: sending says False", "WARNING")) == 1


async def test_so_many_bytes_are_kept_and_no_more(network):
    async with MemoryMessageClient(network, message_cache_max_bytes=1000) as client:
        await client.connect(URL, "qq")
        assert await client.send_message(text("x" * 500)) is True
        assert await client.send_message(text("x" * 500)) is False
        assert await client.send_message(text("x")) is True


async def test_they_are_not_kept_for_ever(network, play, log):
    async with MemoryMessageClient(network, message_cache_ttl=60) as client:
        await client.connect(URL, "qq")
        assert await client.send_message(text("too old")) is True
        await trio.sleep(50)
        assert await client.send_message(text("fresh")) is True
        await trio.sleep(20)
        peers = await play(welcomes)
        await trio.sleep(35)
        await SETTLED()
        assert client.get_stats()["messages_undelivered"] == 1
    assert texts(peers[0]) == ["fresh"]
    assert log.having("1 messages were kept too long and are not sent", "WARNING")


async def test_what_no_connection_has_taken_when_it_stops_is_said(network, log):
    async with MemoryMessageClient(network) as client:
        await client.connect(URL, "qq")
        await client.send_message(text())
    assert log.having("1 messages had no connection when the client stopped", "WARNING")


async def test_what_was_for_another_server_is_not_sent_to_this_one(network, play, log):
    async with MemoryMessageClient(network, connect_timeout=1) as client:
        await client.connect("ws://elsewhere/ws", "qq")
        await client.send_message(text("for elsewhere"))
        peers = await play(welcomes)
        assert await client.connect(URL, "qq")
        await SETTLED()
    assert peers[0].heard == []
    assert log.having("1 messages were for another server or platform", "WARNING")


async def test_a_stop_sends_what_is_queued_first(network, play):
    peers = await play(welcomes)
    async with MemoryMessageClient(network, message_cache_max_bytes=300) as client:
        await client.connect(URL, "qq")
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(client.send_message, text("x" * 200))
    assert texts(peers[0]) == ["x" * 200] * 20
    assert peers[0].code == 1000


async def test_a_stop_sends_also_to_a_server_that_has_not_let_us_in_yet(network, play):
    peers = await play(old_server)
    client = MemoryMessageClient(network)
    await client.connect(URL, "qq")
    async with client:
        await SETTLED()
        assert len(peers) == 1
        assert not client.is_connected()  # half a second is not over yet
        assert await client.send_message(text("now or never")) is True
    assert texts(peers[0]) == ["now or never"]


async def test_sending_waits_for_a_server_that_reads_slowly(network, play):
    gate = trio.Event()

    async def slow(peer):
        await accept(peer)
        await gate.wait()
        await peer.serve()

    settings = {"message_cache_max_bytes": 1000, "send_timeout": 50, "ping_interval": 0}
    async with MemoryMessageClient(network, **settings) as client:
        network.connect = lambda: _lockstep(network)
        peers = await play(slow)
        await client.connect(URL, "qq")
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(client.send_message, text("x" * 600))
            await trio.sleep(10)
            gate.set()
        await trio.sleep(1)
        assert len(peers[0].heard) == 10


def _lockstep(network):
    return network.listener.connect(trio.testing.lockstep_stream_pair())


# -- receiving


async def test_it_hears_what_the_server_sends(network, play):
    custom = {"platform": "qq", "message_type_name": "poke", "content": {"a": 1}, "is_custom_message": True}
    await play(sends(text("one").to_dict(), custom, text("two").to_dict()))
    heard, poked = Heard(), Heard()
    client = MemoryMessageClient(network)
    client.register_message_handler(heard)
    client.register_custom_message_handler("poke", poked)
    async with client:
        await client.connect(URL, "qq")
        await SETTLED()
    assert sorted(heard.words) == ["one", "two"]
    assert poked == [custom]


async def test_binary_json_is_taken_and_nonsense_is_not(network, play):
    async def script(peer):
        await accept(peer)
        await peer.say(frame(BINARY, text("in bytes").to_json()))
        await peer.say(frame(TEXT, b"nonsense"))
        await peer.serve()

    await play(script)
    heard = Heard()
    client = MemoryMessageClient(network)
    client.register_message_handler(heard)
    async with client:
        await client.connect(URL, "qq")
        await SETTLED()
        assert client.is_connected()
        assert client.get_stats()["invalid_frames"] == 1
    assert heard.words == ["in bytes"]


async def test_a_handler_may_answer(network, play):
    peers = await play(sends(text("question").to_dict()))
    client = MemoryMessageClient(network)

    async def answer(message):
        await client.send_message({**message, "message_segment": {"type": "text", "data": "answer"}})

    client.register_message_handler(answer)
    async with client:
        await client.connect(URL, "qq")
        await SETTLED()
    assert texts(peers[0]) == ["answer"]


async def test_order_is_kept_across_a_reconnect(network, play):
    async def script(peer):
        await accept(peer)
        for number in range(5):
            await peer.send(text(number).to_dict())
        await trio.sleep(1)

    await play(script)
    heard = Heard()

    async def slow(message):
        await trio.sleep(1)
        heard(message)

    client = MemoryMessageClient(network, handler_ordering="per_connection", reconnect_delay=0.1)
    client.register_message_handler(slow)
    async with client:
        await client.connect(URL, "qq")
        await trio.sleep(30)
    assert heard.words[:10] == [*range(5), *range(5)]


async def test_a_server_that_answers_no_ping_is_left(network, play):
    async def deaf(peer):
        await accept(peer)
        await trio.sleep_forever()

    peers = await play(deaf, welcomes)
    async with MemoryMessageClient(network) as client:
        await client.connect(URL, "qq")
        await trio.sleep(34)
        assert len(peers) == 2
        assert client.is_connected()


# -- life


async def test_it_can_be_started_again_and_remembers_where_to(network, play):
    peers = await play(welcomes)
    client = MemoryMessageClient(network)
    await client.connect(URL, "qq")
    for _ in range(3):
        async with client:
            await SETTLED()
            assert client.is_connected()
    assert len(peers) == 3
    assert network.open_streams == set()


async def test_cancelled_it_leaves_nothing_open(network, play):
    await play(welcomes)
    async with trio.open_nursery() as nursery:
        client = MemoryMessageClient(network)
        await client.connect(URL, "qq")
        await client.start(nursery)
        await SETTLED()
        nursery.cancel_scope.cancel()
    assert not client.is_running()
    assert network.open_streams == set()


# -- arguments


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"url": 5}, "url must be a string, not int"),
        ({"url": "http://x"}, "url must begin with ws:// or wss://"),
        ({"url": "udp://x:1"}, "url must begin with ws:// or wss:// or tcp:// or tcps://, not 'udp'"),
        ({"platform": ""}, "platform must be a string of 1 to 256 characters"),
        ({"platform": None}, "platform must be a string"),
        ({"platform": " qq"}, "platform begins or ends with a space"),
        ({"platform": "a\nb"}, "platform contains a control character"),
        ({"token": 5}, "token must be a string or None, not int"),
        ({"token": f"{TOKEN}\n"}, "token contains a control character"),
        ({"token": f"{TOKEN}\ud800"}, "token contains a lone surrogate"),
        ({"ssl_verify": 5}, "ssl_verify must be the path of a CA file"),
        ({"url": "wss://x", "ssl_verify": "/nowhere.pem"}, "ssl_ca_certs /nowhere.pem cannot be read"),
    ],
)
async def test_values_that_cannot_work_are_named_and_tokens_are_not_shown(arguments, words):
    client = MessageClient()
    with pytest.raises(ConfigError) as caught:
        await client.connect(**{"url": URL, "platform": "qq", **arguments})
    assert words in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert client.platform is None


def test_options_are_checked():
    with pytest.raises(ConfigError, match=r"MessageClient\.reconnect_delay must be a number of seconds"):
        MessageClient(reconnect_delay="soon")
    with pytest.raises(ConfigError, match=r"MessageClient\.mode must be one of 'ws', 'tcp'"):
        MessageClient("udp")
