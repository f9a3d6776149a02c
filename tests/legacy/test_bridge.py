from __future__ import annotations

import logging
from typing import Any

import pytest
import trio

from maim_trio import BaseMessageInfo, GroupInfo, MessageBase, Seg, UserInfo
from maim_trio import message as api
from maim_trio._legacy.bridge import RETRY_AFTER, Route
from maim_trio.errors import ConfigError, NotConnected, RequestFailed
from tests.legacy.bridging import KEYS, Adapter, World, settle
from tests.memory import URL

HOLD = 300.0


@pytest.fixture
def world() -> World:
    return World()


def from_adapter(text: str = "hello", platform: str = "qq") -> MessageBase:
    info = BaseMessageInfo(platform, 7, 1703123456, GroupInfo(platform, 20002), UserInfo(platform, 10001, "Ann"))
    return MessageBase(info, Seg("text", text), text)


def from_bot(text: str = "hello", *, platform: str = "qq", **info: Any) -> api.APIMessageBase:
    receiver = api.ReceiverInfo(api.GroupInfo("qq", "20002"), api.UserInfo("qq", "10001"))
    return api.APIMessageBase(
        api.BaseMessageInfo("bot", "b1", 1.5, receiver_info=receiver, **info),
        api.Seg("text", text),
        api.MessageDim(KEYS[platform], platform),
    )


def texts(received: list[dict[str, Any]]) -> list[Any]:
    return [message["message_segment"]["data"] for message in received]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# Both ways


async def test_a_message_of_an_adapter_reaches_the_server_as_that_of_a_user(world, autojump_clock):
    async with world.server(), world.bridging(), world.adapter() as adapter:
        assert await adapter.send_message(from_adapter())
        await settle()
    message, metadata = world.at_server[0]
    assert (metadata["user_id"], metadata["platform"]) == ("qq", "qq")
    assert message.to_dict() == {
        "message_info": {
            "platform": "qq",
            "message_id": "7",
            "time": 1703123456.0,
            "sender_info": {
                "group_info": {"platform": "qq", "group_id": "20002"},
                "user_info": {"platform": "qq", "user_id": "10001", "user_nickname": "Ann"},
            },
        },
        "message_segment": {"type": "text", "data": "hello"},
        "message_dim": {"api_key": KEYS["qq"], "platform": "qq"},
    }


async def test_a_message_of_the_bot_reaches_the_adapter_of_its_platform(world, autojump_clock):
    async with world.server() as server, world.bridging(), world.adapter("qq") as qq, world.adapter("irc") as irc:
        assert list((await server.send_message(from_bot())).values()) == [True]
        await settle()
    assert irc.received == []
    (message,) = qq.received
    assert message["message_info"]["platform"] == "qq"
    assert message["message_info"]["user_info"]["user_id"] == "10001"
    assert message["message_info"]["group_info"]["group_id"] == "20002"
    assert message["message_segment"] == {"type": "text", "data": "hello"}


async def test_what_the_bot_answers_comes_back_to_where_it_came_from(world, autojump_clock):
    async def answer(message: api.APIMessageBase, _: Any) -> None:
        info = message.message_info
        info.receiver_info = api.ReceiverInfo(info.sender_info.group_info, info.sender_info.user_info)
        message.message_segment.data = "welcome"
        await server.send_message(message)

    async with world.server(on_message=answer) as server, world.bridging(), world.adapter("irc") as adapter:
        await adapter.send_message(from_adapter(platform="irc"))
        await settle()
    assert texts(adapter.received) == ["welcome"]
    assert adapter.received[0]["message_info"]["user_info"]["user_id"] == "10001"


async def test_custom_messages_pass_in_both_directions_under_their_legacy_name(world, autojump_clock):
    async with world.server() as server, world.bridging(), world.adapter() as adapter:
        assert await adapter.send_custom_message("status", {"busy": True, "名": [None]})
        await settle()
        await server.send_custom_message("status", {"ok": 1}, target_user="qq")
        await settle()
    payload, metadata = world.at_server[0]
    assert (metadata["message_type"], payload) == ("custom_status", {"busy": True, "名": [None]})
    (received,) = adapter.received
    assert (received["message_type_name"], received["content"], received["platform"]) == ("status", {"ok": 1}, "qq")
    assert received["is_custom_message"] is True


async def test_a_custom_message_is_known_without_its_flag_too(world, autojump_clock):
    async with world.server(), world.bridging(), world.adapter() as adapter:
        await adapter.send_message({"platform": "qq", "message_type_name": "status", "content": {"busy": False}})
        await settle()
    assert world.at_server[0][0] == {"busy": False}


async def test_the_order_of_messages_stays(world, autojump_clock):
    wanted = [str(number) for number in range(200)]
    async with world.server() as server, world.bridging(), world.adapter() as adapter:
        for text in wanted:
            await adapter.send_message(from_adapter(text))
            await server.send_message(from_bot(text))
        await settle()
    assert [message.message_segment.data for message, _ in world.at_server] == wanted
    assert texts(adapter.received) == wanted


async def test_a_route_may_say_whom_messages_are_for(world, autojump_clock):
    route = Route("qq", KEYS["qq"], to_key="key-of-the-bot", to_platform="bot")
    async with world.server(), world.bridging(routes=[route]), world.adapter() as adapter:
        await adapter.send_message(from_adapter())
        await settle()
    assert world.at_server[0][0].message_dim == api.MessageDim("key-of-the-bot", "bot")
    assert world.at_server[0][0].message_info.platform == "qq"


async def test_an_adapter_that_has_not_said_its_platform_says_it_in_its_messages(world, autojump_clock):
    async with world.server(), world.bridging(), world.adapter("unknown") as adapter:
        await adapter.send_message(from_adapter(platform="irc"))
        await adapter.send_message({"platform": "qq", "message_type_name": "status", "content": {}})
        await settle()
    assert {metadata["user_id"] for _, metadata in world.at_server} == {"irc", "qq"}


async def test_a_request_to_an_adapter_is_refused_at_once(world, autojump_clock):
    async with world.server() as server, world.bridging("qq"), world.adapter() as adapter:
        (uuid,) = server.get_user_connections("qq")
        with pytest.raises(RequestFailed, match="no_handler"):
            await server.request(uuid, "status", {})
    assert adapter.received == []


# What cannot be passed on


async def test_what_is_no_message_is_dropped_with_its_reason_and_harms_nobody(world, autojump_clock, caplog):
    async with world.server(), world.bridging() as bridge, world.adapter() as adapter:
        await adapter.send_message({"message_info": {"platform": 5}, "message_segment": {"type": "text", "data": ""}})
        await adapter.send_message({"is_custom_message": True, "message_type_name": "status", "content": "busy"})
        await adapter.send_message(from_adapter())
        await settle()
    assert len(world.at_server) == 1
    assert (bridge.to_api, bridge.dropped) == (1, 2)
    assert [line for line in warnings(caplog) if "cannot be passed on" in line] == [
        "platform qq: messages of its adapter cannot be passed on: "
        "Expected `str | null`, got `int` - at `$.message_info.platform`"
    ]


async def test_a_custom_message_needs_a_name_and_an_object(world, autojump_clock, caplog):
    async with world.server(), world.bridging() as bridge, world.adapter() as adapter:
        for name in ("", None, 5):
            await adapter.send_message({"is_custom_message": True, "message_type_name": name, "content": {}})
        await settle()
    assert bridge.dropped == 3
    assert any("a custom message needs a name, `message_type_name`, and an object" in line for line in warnings(caplog))


async def test_platforms_without_a_key_are_named_once(world, autojump_clock, caplog):
    async with world.server(), world.bridging("qq") as bridge, world.adapter("irc") as adapter:
        for _ in range(2):
            await adapter.send_message(from_adapter(platform="irc"))
        await settle()
    assert (world.at_server, bridge.dropped) == ([], 2)
    assert [line for line in warnings(caplog) if "irc" in line] == [
        "messages of platform 'irc' are dropped: there is no API key for it here, only for qq"
    ]


async def test_only_adapters_with_a_token_are_let_in(world, autojump_clock):
    async with world.bridging(tokens=["right-token"]), world.adapter(token="right-token") as adapter:
        assert adapter.is_connected()
        with pytest.raises(AssertionError):
            async with world.adapter(token="wrong-token"):
                pass


# When a side is away


async def test_what_an_adapter_sends_while_the_server_is_away_arrives_when_it_is_back(world, autojump_clock):
    async with world.bridging(), world.adapter() as adapter:
        await adapter.send_message(from_adapter("early"))
        await trio.sleep(10)
        async with world.server():
            await trio.sleep(40)
            assert [message.message_segment.data for message, _ in world.at_server] == ["early"]
        await adapter.send_message(from_adapter("between"))
        async with world.server():
            await trio.sleep(40)
    assert [message.message_segment.data for message, _ in world.at_server] == ["early", "between"]


async def test_a_full_outbox_without_a_server_refuses_at_once(world, autojump_clock, caplog):
    small = {"message_cache_max_size": 3}
    async with world.bridging("qq", api_options=small) as bridge, world.adapter() as adapter:
        began = trio.current_time()
        for number in range(10):
            await adapter.send_message(from_adapter(str(number)))
        await settle()
        assert (bridge.to_api, bridge.dropped) == (3, 7)
        assert trio.current_time() - began < 1
        async with world.server():
            await trio.sleep(40)
    assert [message.message_segment.data for message, _ in world.at_server] == ["0", "1", "2"]
    assert [line for line in warnings(caplog) if "dropped" in line] == [
        "platform qq: messages of its adapter are dropped: the server could not be reached: nobody listens"
    ]


async def test_what_the_server_did_not_come_back_for_counts_as_dropped(world, autojump_clock, caplog):
    caplog.set_level(logging.INFO, "maim_trio.bridge")
    async with world.bridging("qq", api_options={"message_cache_ttl": 5}), world.adapter() as adapter:
        await adapter.send_message(from_adapter())
        await trio.sleep(100)
    assert "messages passed to the API-Server: 0, to adapters: 0, dropped: 1" in caplog.messages


async def test_messages_wait_for_an_adapter_that_is_away_and_stay_in_order(world, autojump_clock):
    async with world.server() as server, world.bridging():
        for number in range(3):
            await server.send_message(from_bot(str(number)))
        await trio.sleep(HOLD - 1)
        async with world.adapter() as adapter:
            await settle()
            assert texts(adapter.received) == ["0", "1", "2"]


async def test_an_adapter_that_comes_back_gets_what_came_meanwhile(world, autojump_clock):
    async with world.server() as server, world.bridging():
        async with world.adapter():
            await server.send_message(from_bot("first"))
            await settle()
        await trio.sleep(1000)
        await server.send_message(from_bot("second"))
        await trio.sleep(HOLD - 1)
        async with world.adapter() as adapter:
            await settle()
            assert texts(adapter.received) == ["second"]


async def test_after_hold_seconds_messages_for_it_are_dropped_until_it_is_back(world, autojump_clock, caplog):
    async with world.server() as server, world.bridging() as bridge:
        await server.send_message(from_bot("old"))
        await trio.sleep(HOLD + 1)
        assert bridge.dropped == 1
        await server.send_message(from_bot("also lost, at once"))
        await trio.sleep(1)
        assert bridge.dropped == 2
        async with world.adapter() as adapter:
            await server.send_message(from_bot("new"))
            await settle()
            assert texts(adapter.received) == ["new"]
    lines = [line for line in warnings(caplog) if line.startswith("platform qq: ")]
    assert lines == [
        "platform qq: its adapter is away; messages for it are kept for 300 s",
        "platform qq: a message for its adapter was dropped: none has taken it for 300 s",
        "platform qq: its adapter is back; 2 messages for it were lost meanwhile",
    ]


async def test_the_adapter_of_one_platform_being_away_delays_no_other(world, autojump_clock):
    async with world.server() as server, world.bridging(), world.adapter("irc") as irc:
        await server.send_message(from_bot("waits"))
        await server.send_message(from_bot("arrives", platform="irc"))
        await settle()
        assert texts(irc.received) == ["arrives"]


# How it begins and ends


async def test_a_key_that_the_server_refuses_ends_the_bridge_with_the_platform_and_the_reason(world, autojump_clock):
    routes = [Route("qq", KEYS["qq"]), Route("irc", "a-key-that-nobody-knows")]
    async with world.server():
        with (
            trio.fail_after(60),
            pytest.raises(NotConnected, match=r"^the API-Server does not take platform irc: authentication failed"),
        ):
            await world.bridge(routes=routes).run()
    assert world.legacy.listener is not None
    assert not world.legacy.served_streams | world.api.open_streams


async def test_a_key_that_was_accepted_once_is_tried_again(world, autojump_clock, caplog):
    async with world.server() as server, world.bridging("qq"), world.adapter() as adapter:
        assert await server.disconnect_user("qq") == 1  # its key was revoked
        await trio.sleep(RETRY_AFTER - 1)
        assert server.get_connection_count() == 0
        await adapter.send_message(from_adapter("lost"))
        await trio.sleep(2)
        await adapter.send_message(from_adapter("arrives"))
        await settle()
    assert [message.message_segment.data for message, _ in world.at_server] == ["arrives"]
    assert any("next attempt in 60 s" in line for line in warnings(caplog))
    assert any("messages of its adapter are dropped: " in line for line in warnings(caplog))


async def test_stopping_passes_on_what_has_arrived_and_closes_both_sides(world, autojump_clock, caplog):
    caplog.set_level(logging.INFO, "maim_trio.bridge")
    bridge = world.bridge()
    async with world.server(), Adapter(world.legacy) as adapter, trio.open_nursery() as nursery:
        await nursery.start(bridge.run)
        assert await adapter.connect(URL, "qq")
        for number in range(50):
            await adapter.send_message(from_adapter(str(number)))
        await settle()
        bridge.stop()
    assert len(world.at_server) == 50
    assert not world.legacy.served_streams
    assert "messages passed to the API-Server: 50, to adapters: 0, dropped: 0" in caplog.messages


async def test_stopping_does_not_wait_for_an_adapter_that_is_away(world, autojump_clock, caplog):
    async with world.server() as server:
        async with world.bridging() as bridge:
            for _ in range(100):
                await server.send_message(from_bot())
            await settle()
            began = trio.current_time()
        assert trio.current_time() - began < 1
    assert bridge.dropped == 100
    assert [line for line in warnings(caplog) if "was dropped" in line] == [
        "platform qq: a message for its adapter was dropped: the bridge stops"
    ]


async def test_cancelling_ends_it_and_leaves_no_connection(world, autojump_clock):
    async with world.server():
        with trio.move_on_after(5):
            await world.bridge().run()
        await trio.sleep(1)
    assert not world.legacy.served_streams | world.api.open_streams


async def test_a_taken_port_is_an_oserror_and_nothing_stays(world, autojump_clock, monkeypatch):
    bridge = world.bridge()

    async def taken() -> Any:
        raise OSError(98, "Address already in use")

    monkeypatch.setattr(bridge.adapters, "open_listeners", taken)
    async with world.server() as server:
        with pytest.raises(OSError, match="Address already in use"):
            await bridge.run()
        await settle()
        assert server.get_connection_count() == 0


async def test_an_outbox_that_cannot_be_used_is_a_config_error_and_nothing_stays(world, tmp_path):
    routes = [Route("irc", KEYS["irc"]), Route("qq", KEYS["qq"], outbox_path=str(tmp_path / "missing" / "outbox.db"))]
    with trio.fail_after(20), pytest.raises(ConfigError, match="outbox"):
        await world.bridge(routes=routes).run()
    assert world.legacy.listener is None


def test_a_bridge_needs_platforms_each_once(world):
    with pytest.raises(ConfigError, match="at least one platform"):
        world.bridge(routes=[])
    with pytest.raises(ConfigError, match="platform qq stands there twice"):
        world.bridge(routes=[Route("qq", "a"), Route("qq", "b")])


def test_keys_and_tokens_can_be_read_nowhere(world):
    route = Route("qq", "secret-api-key", to_key="secret-key-of-the-bot")
    bridge = world.bridge(routes=[route], tokens=["secret-token"])
    assert "secret" not in f"{route} {bridge!r} {vars(bridge)} {bridge.adapters.get_stats()}"
