"""The legacy server: what goes to whom, and what sending says."""

from __future__ import annotations

import signal

import pytest
import trio
import trio.testing

from maim_trio import MessageServer
from maim_trio.errors import ConfigError, InvalidMessage
from tests.legacy.memory import TOKEN, Heard, LegacyPeer, MemoryMessageServer, joined, text, words_of

SETTLED = trio.testing.wait_all_tasks_blocked


# -- receiving


async def test_standard_messages_come_as_plain_dicts(network):
    heard = Heard()
    server = MemoryMessageServer(network)
    server.register_message_handler(heard)
    async with server:
        peer = await joined(network)
        message = {**text("hi").to_dict(), "anything": [1, None]}
        await peer.say(message)
        await SETTLED()
    assert heard == [message]


async def test_custom_messages_go_to_the_handlers_of_their_type_whole(network):
    heard, poked = Heard(), Heard()
    server = MemoryMessageServer(network)
    server.register_message_handler(heard)
    server.register_custom_message_handler("poke", poked)
    custom = {"platform": "qq", "message_type_name": "poke", "content": {"a": 1}, "timestamp": 1.0}
    async with server:
        peer = await joined(network)
        await peer.say({**custom, "is_custom_message": True})
        await peer.say(custom)
        await peer.say({**custom, "message_type_name": "other"})  # nobody has registered it, and it has no flag
        await SETTLED()
    assert poked == [{**custom, "is_custom_message": True}, custom]
    assert heard == [{**custom, "message_type_name": "other"}]


async def test_a_type_that_nobody_handles_is_dropped_and_said_once(network, log):
    server = MemoryMessageServer(network)
    server.register_message_handler(Heard())
    async with server:
        peer = await joined(network)
        for _ in range(3):
            await peer.say({"is_custom_message": True, "message_type_name": "poke", "content": {}})
        await SETTLED()
        assert server.get_stats()["unhandled_messages"] == 3
    assert len(log.having("poke arrive but nothing handles them", "WARNING")) == 1


async def test_all_handlers_of_a_message_run_at_the_same_time(network):
    begun: list[int] = []
    together = trio.Event()

    async def handler(number):
        begun.append(number)
        if len(begun) == 2:
            together.set()
        await together.wait()

    server = MemoryMessageServer(network)
    server.register_message_handler(lambda _: handler(1))
    server.register_message_handler(lambda _: handler(2))
    async with server:
        peer = await joined(network)
        await peer.say_text("hi")
        await together.wait()
        await SETTLED()
        assert server.get_stats()["messages_processed"] == 1


async def test_a_handler_that_raises_or_takes_too_long_harms_nobody(network, log):
    async def too_long(_message):
        await trio.sleep(1000)

    def raises(_message):
        raise KeyError("missing")

    heard = Heard()
    server = MemoryMessageServer(network, handler_timeout=5)
    for handler in (raises, too_long, heard):
        server.register_message_handler(handler)
    async with server:
        peer = await joined(network)
        await peer.say_text("one")
        await trio.sleep(6)
        await peer.say_text("two")
        await SETTLED()
        assert heard.words == ["one", "two"]
        stats = server.get_stats()
        assert (stats["handler_errors"], stats["handler_timeouts"]) == (2, 1)
    assert log.having("the handler of message raised KeyError", "ERROR")
    assert log.having("took longer than handler_timeout", "ERROR")


async def test_process_message_calls_the_handlers_without_any_network(network):
    heard = Heard()
    server = MemoryMessageServer(network)
    server.register_message_handler(heard)
    await server.process_message(text("by hand").to_dict())
    assert heard.words == ["by hand"]


async def test_order_can_be_kept(network):
    heard = Heard()

    async def slow(message):
        await trio.sleep(1 if words_of(message) == 0 else 0)
        heard(message)

    server = MemoryMessageServer(network, handler_ordering="per_connection")
    server.register_message_handler(slow)
    async with server:
        peer = await joined(network)
        for number in range(20):
            await peer.say_text(number)
        await trio.sleep(2)
        newer = await joined(network)  # takes the platform over, behind what waits
        await newer.say_text(20)
        await SETTLED()
    assert heard.words == [*range(21)]


# -- sending


async def test_a_message_goes_to_the_client_of_its_platform(network):
    async with MemoryMessageServer(network) as server:
        qq, wechat = await joined(network, "qq"), await joined(network, "wechat")
        await SETTLED()
        assert server.get_platforms() == {"qq", "wechat"}
        assert await server.send_message(text("for qq", platform="qq")) is True
        assert await server.broadcast_to_platform("wechat", text("for wechat").to_dict()) is True
        assert await qq.hear_text() == "for qq"
        assert await wechat.hear_text() == "for wechat"


async def test_the_bytes_are_those_of_to_dict(network):
    async with MemoryMessageServer(network) as server:
        peer = await joined(network)
        await SETTLED()
        await server.send_message(text("你好"))
        assert await peer.hear() == text("你好").to_dict()


async def test_a_custom_message_has_its_envelope(network):
    async with MemoryMessageServer(network) as server:
        peer = await joined(network)
        await SETTLED()
        assert await server.send_custom_message("qq", "poke", {"a": 1}) is True
        heard = await peer.hear()
        assert isinstance(heard.pop("timestamp"), float)
        assert heard == {
            "platform": "qq", "message_type_name": "poke", "content": {"a": 1}, "is_custom_message": True
        }  # fmt: skip


async def test_a_broadcast_reaches_everyone_with_and_without_a_platform(network):
    async with MemoryMessageServer(network) as server:
        peers = [await joined(network, platform) for platform in ("qq", "wechat", "", "", "unknown")]
        await SETTLED()
        await server.broadcast_message(text("all").to_dict())
        assert [await peer.hear_text() for peer in peers] == ["all"] * 5


@pytest.mark.parametrize("platform", ["nobody", "unknown", "", None])
async def test_a_platform_that_is_not_there_is_false_and_said_once(network, log, platform):
    async with MemoryMessageServer(network) as server:
        await joined(network, "qq")
        await joined(network, "")
        await SETTLED()
        for _ in range(3):
            assert await server.send_message(text(platform=platform)) is False
    assert len(log.having("no client of that platform is connected", "WARNING")) == 1


async def test_it_is_said_again_after_the_platform_was_there(network, log):
    async with MemoryMessageServer(network) as server:
        for _ in range(2):
            assert not await server.send_message(text())
            peer = await joined(network)
            await SETTLED()
            assert await server.send_message(text())
            await peer.close()
    assert len(log.having("platform qq was not sent", "WARNING")) == 2


async def test_a_server_that_does_not_run_sends_nothing(network):
    server = MemoryMessageServer(network)
    assert await server.send_message(text()) is False
    assert await server.send_custom_message("qq", "poke", {}) is False
    assert await server.broadcast_message({}) is None


async def test_what_cannot_be_sent_is_an_error_of_the_caller(network):
    async with MemoryMessageServer(network) as server:
        await joined(network)
        with pytest.raises(InvalidMessage, match="only a MessageBase can be sent, not dict"):
            await server.send_message(text().to_dict())
        with pytest.raises(InvalidMessage, match=r"finite number - at `\$\.content\.a`"):
            await server.send_custom_message("qq", "poke", {"a": float("inf")})
        with pytest.raises(InvalidMessage, match="got `array`"):
            await server.broadcast_message([])


async def test_a_client_that_does_not_read_delays_itself_alone(network, log):
    settings = {"message_cache_max_bytes": 1000, "send_timeout": 5, "ping_interval": 0}
    async with MemoryMessageServer(network, **settings) as server:
        stuck = LegacyPeer(network.connect(trio.testing.lockstep_stream_pair()))  # a write waits for a read
        assert (await stuck.join(platform="stuck")).status == 101
        fine = await joined(network, "fine")
        await SETTLED()
        assert await server.send_message(text("x" * 2000, platform="stuck")) is True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.broadcast_message, text("to all").to_dict())
            start = trio.current_time()
            assert await fine.hear_text() == "to all"
            assert await server.send_message(text("hi", platform="fine")) is True
            assert await fine.hear_text() == "hi"
            assert trio.current_time() == start
            assert await server.send_message(text("x", platform="stuck")) is False
            assert trio.current_time() == start + 5
        await SETTLED()
        assert server.get_platforms() == {"fine"}  # the writer has cut it off: it took no byte for send_timeout


async def test_a_message_larger_than_the_queue_goes_alone(network):
    async with MemoryMessageServer(network, message_cache_max_bytes=1000) as server:
        peer = await joined(network)
        await SETTLED()
        results: list[bool] = []

        async def send(words):
            results.append(await server.send_message(text(words)))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(send, "x" * 5000)
            for _ in range(5):
                assert await peer.hear_text() == "x" * 5000
        assert results == [True] * 5


# -- tokens


async def test_tokens_are_added_removed_and_verified():
    server = MessageServer(enable_token=True)
    assert await server.verify_token(TOKEN) is False
    server.add_valid_token(TOKEN)
    assert await server.verify_token(TOKEN) is True
    server.remove_valid_token(TOKEN)
    server.remove_valid_token(TOKEN)
    assert await server.verify_token(TOKEN) is False
    for token in ("", None, 5):
        with pytest.raises(ValueError, match="non-empty string"):
            server.add_valid_token(token)


async def test_without_enable_token_every_token_will_do():
    assert await MessageServer().verify_token("anything") is True


# -- the constructor


def test_it_takes_the_arguments_of_maim_message_in_their_order():
    server = MessageServer("127.0.0.1", 1234, True, None, "/bus", None, None, "ws", None, True)
    assert (server.host, server.port, server.mode, server.path) == ("127.0.0.1", 1234, "ws", "/bus")
    assert (MessageServer().host, MessageServer().port) == ("0.0.0.0", 18000)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"port": 70000}, r"MessageServer\.port must be a whole number from 0 to 65535"),
        ({"host": 5}, r"MessageServer\.host must be a string"),
        ({"path": "ws"}, r"MessageServer\.path must be a string that begins with '/'"),
        ({"app": object()}, r"MessageServer\.app cannot be used: .* do not run on trio"),
        ({"mode": "udp"}, r"MessageServer\.mode must be one of 'ws', 'tcp'"),
        ({"ssl_keyfile": "key.pem"}, "ssl_keyfile needs ssl_certfile"),
        ({"ssl_certfile": "/nowhere.pem"}, "ssl_certfile /nowhere.pem cannot be read"),
        ({"inbox_size": 0}, r"MessageServer\.inbox_size must be a whole number 1 or more"),
    ],
)
def test_values_that_cannot_work_are_named(arguments, words):
    with pytest.raises(ConfigError, match=words):
        MessageServer(**arguments)


def test_an_unknown_option_is_a_type_error():
    with pytest.raises(TypeError, match="outbox_path"):
        MessageServer(outbox_path="x")


async def test_a_logger_of_ones_own_gets_the_lines(network):
    class Logger:
        lines: list[str] = []  # noqa: RUF012

        def info(self, line):
            self.lines.append(line)

        debug = warning = error = info

    async with MemoryMessageServer(network, custom_logger=Logger()):
        pass
    assert any("listening" in line for line in Logger.lines)


# -- running


def test_run_sync_runs_until_it_is_stopped():
    seen: list[bool] = []

    class StopsItself(MessageServer):
        async def run(self, **_options):
            async with trio.open_nursery() as nursery:
                await nursery.start(super().run)
                seen.append(self.is_running() and self.port != 0)
                await self.stop()

    server = StopsItself("127.0.0.1", 0)
    server.run_sync()
    assert seen == [True]
    assert not server.is_running()


def test_run_sync_ends_with_ctrl_c_as_with_a_stop():
    class Interrupted(MessageServer):
        async def run(self, **_options):
            async with self:
                signal.raise_signal(signal.SIGINT)
                await trio.sleep_forever()

    server = Interrupted("127.0.0.1", 0)
    server.run_sync()
    assert not server.is_running()


async def test_start_server_runs_and_a_second_one_returns_at_once(network, nursery):
    server = MemoryMessageServer(network)
    nursery.start_soon(server.start_server)
    await SETTLED()
    assert server.is_running()
    await server.start_server()
    await server.stop()
    assert not server.is_running()


async def test_a_port_that_is_taken_is_an_error_without_a_warning_before_it(log):
    async with MessageServer("127.0.0.1", 0, enable_token=True) as first, trio.open_nursery() as nursery:
        second = MessageServer("127.0.0.1", first.port)
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1, port {first.port}: Address already in use"):
            await second.start(nursery)
    assert not log.having("no tokens are asked for")
