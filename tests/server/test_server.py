"""Sending to users and platforms, asking who is there, sending away."""

from __future__ import annotations

import functools
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from maim_trio.errors import InvalidMessage
from maim_trio.message import APIMessageBase, BaseMessageInfo, Seg
from maim_trio.server import AuthResult
from tests.memory import text_message
from tests.server.peer import Peer, ack, custom, joined, standard, text_of
from tests.transport.raw import request

if TYPE_CHECKING:
    from tests.memory import Network

SETTLED = trio.testing.wait_all_tasks_blocked

USERS = {"key a1": "alice", "key a2": "alice", "key b": "bob"}


def names(metadata: dict[str, Any]) -> str:
    return USERS.get(metadata["api_key"], "")


HOOKS: dict[str, Any] = {"on_auth": lambda _: True, "on_auth_extract_user": names}


async def forever(_metadata: Any) -> None:
    await trio.sleep_forever()


async def crowd(network: Network) -> dict[str, Peer]:
    """Alice on qq with two keys and on wx with one, bob on qq: connections 1 to 4."""
    who = {"1": ("key a1", "qq"), "2": ("key a2", "qq"), "3": ("key a1", "wx"), "4": ("key b", "qq")}
    return {uuid: await joined(network, uuid=uuid, key=key, platform=platform) for uuid, (key, platform) in who.items()}


async def heard(peers: dict[str, Peer]) -> dict[str, list[Any]]:
    """What has come for whom."""
    await SETTLED()
    messages: dict[str, list[Any]] = {}
    for uuid, peer in peers.items():
        with trio.move_on_after(0.001):
            while True:
                message = await peer.hear()
                messages.setdefault(uuid, []).append(message)
    return messages


class TestSendMessage:
    async def test_it_goes_to_all_connections_of_exactly_that_user_and_platform(self, network: Network) -> None:
        async with network.server(**HOOKS) as server:
            peers = await crowd(network)
            sent = await server.send_message(text_message("hello", to="key a1", platform="qq"))
            assert sent == {"1": True, "2": True}
            messages = await heard(peers)
        assert messages.keys() == {"1", "2"}
        (envelope,) = messages["1"]
        assert messages["2"] == [envelope]
        assert text_of(envelope) == "hello"
        assert envelope["msg_id"].startswith("msg_")
        meta = envelope["meta"]
        assert meta.pop("timestamp") > 1.7e9
        assert meta == {"sender_user": "server", "target_user": "alice", "platform": "qq"}

    async def test_target_platform_overrides_that_of_the_message(self, network: Network) -> None:
        async with network.server(**HOOKS) as server:
            peers = await crowd(network)
            message = text_message(to="key a1", platform="qq")
            assert await server.send_message(message, target_platform="wx") == {"3": True}
            ((envelope,),) = (await heard(peers)).values()
        assert envelope["meta"]["platform"] == "wx"
        assert message.message_dim.platform == "qq"

    @pytest.mark.parametrize(("to", "platform"), [("key b", "wx"), ("key c", "qq"), ("key a1", "QQ"), ("alice", "qq")])
    async def test_where_nobody_is_it_is_empty(self, network: Network, to: str, platform: str) -> None:
        async with network.server(**HOOKS) as server:
            peers = await crowd(network)
            assert await server.send_message(text_message(to=to, platform=platform)) == {}
            assert await heard(peers) == {}

    async def test_the_hook_is_asked_as_documented(self, network: Network) -> None:
        asked = []

        async def extract(metadata: dict[str, Any]) -> str:
            asked.append(metadata)
            await trio.lowlevel.checkpoint()
            return names(metadata)

        async with network.server(on_auth=lambda _: True) as server:
            server.config.on_auth_extract_user = extract
            await crowd(network)
            asked.clear()
            assert await server.send_message(text_message(to="key a1", platform="wx")) == {"3": True}
        (metadata,) = asked
        assert metadata.pop("timestamp") > 1.7e9
        assert metadata == {"api_key": "key a1", "platform": "wx", "message_type": "outgoing"}

    async def test_a_hook_that_raises_or_answers_nonsense_sends_nowhere_and_is_counted(
        self, network: Network, log: Any
    ) -> None:
        async with network.server(**HOOKS, auth_timeout=1) as server:
            await crowd(network)
            for extract in (lambda _: 1 / 0, lambda _: 17, forever):
                server.config.on_auth_extract_user = extract
                assert await server.send_message(text_message(to="key a1", platform="qq")) == {}
            assert server.get_stats()["handler_errors"] == 3
        assert len(log.having("a message goes nowhere", "ERROR")) == 3

    async def test_who_was_named_by_on_auth_is_found_by_key(self, network: Network) -> None:
        async with network.server(on_auth=lambda metadata: AuthResult(True, user_id=names(metadata))) as server:
            await crowd(network)
            assert await server.send_message(text_message(to="key a1", platform="qq")) == {"1": True, "2": True}
            assert await server.send_message(text_message(to="key b", platform="qq")) == {"4": True}
            assert await server.send_message(text_message(to="key c", platform="qq")) == {}

    async def test_one_key_may_be_another_user_on_another_platform(self, network: Network) -> None:
        on_auth = lambda metadata: AuthResult(True, user_id="on " + metadata["platform"])  # noqa: E731
        async with network.server(on_auth=on_auth) as server:
            await crowd(network)
            for platform, uuid in (("qq", "1"), ("wx", "3")):
                assert uuid in await server.send_message(text_message(to="key a1", platform=platform))

    async def test_derived_users_are_reached_by_their_key_and_by_no_other(self, network: Network) -> None:
        async with network.server(on_auth=lambda _: True) as server:
            await crowd(network)
            assert await server.send_message(text_message(to="key a1", platform="qq")) == {"1": True}
            assert await server.send_message(text_message(to="key a2", platform="qq")) == {"2": True}

    async def test_where_nobody_is_authenticated_everybody_on_the_platform_gets_it(self, network: Network) -> None:
        async with network.server() as server:
            await crowd(network)
            sent = await server.send_message(text_message(to="any key", platform="qq"))
            assert sent == {"1": True, "2": True, "4": True}

    @pytest.mark.parametrize(
        ("message", "place"),
        [
            (text_message(to="", platform="qq"), "message_dim.api_key"),
            (text_message(to="key a1", platform=""), "message_dim.platform"),
            (APIMessageBase(BaseMessageInfo("qq", "m", 1.0), Seg("text", ""), None), "message_dim"),  # type: ignore[arg-type]
            (
                APIMessageBase(BaseMessageInfo("qq", "m", float("nan")), Seg("text", ""), text_message().message_dim),
                "time",
            ),
            (text_message("\ud800"), "message_segment"),
            ({"message_info": {}}, "dict"),
            (None, "NoneType"),
        ],
    )
    async def test_what_cannot_be_sent_raises_and_names_the_place(
        self, network: Network, message: Any, place: str
    ) -> None:
        async with network.server(**HOOKS) as server:
            peers = await crowd(network)
            with pytest.raises(InvalidMessage, match=place):
                await server.send_message(message)
            assert await heard(peers) == {}

    async def test_an_empty_platform_is_fine_where_another_is_named(self, network: Network) -> None:
        async with network.server(**HOOKS) as server:
            await crowd(network)
            message = text_message(to="key b", platform="")
            assert await server.send_message(message, target_platform="qq") == {"4": True}

    async def test_a_cancelled_call_sends_to_nobody(self, network: Network) -> None:
        async with network.server(**HOOKS) as server:
            peers = await crowd(network)
            with trio.CancelScope() as scope:
                scope.cancel()
                await server.send_message(text_message(to="key a1", platform="qq"))
            assert scope.cancelled_caught
            assert await heard(peers) == {}

    async def test_a_receiver_that_does_not_read_is_false_and_the_others_get_theirs(
        self, network: Network, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("maim_trio.server._host.EXTRA_QUEUED", 0)
        config = {"send_timeout": 30, "ping_interval": 0, "message_cache_max_bytes": 10_000}
        async with network.server(**HOOKS, **config) as server:
            peers = await crowd(network)
            stuck = Peer(network.connect(trio.testing.lockstep_stream_pair()))
            await stuck.upgrade(uuid="stuck", key="key b", platform="qq")
            await SETTLED()
            answers = []
            for _ in range(30):
                answers.append(await server.send_message(text_message("x" * 1000, to="key b", platform="qq")))
                await peers["4"].say(ack((await peers["4"].hear())["msg_id"]))
                await SETTLED()
            assert {answer["4"] for answer in answers} == {True}
            assert [answer["stuck"] for answer in answers][-1] is False
            await trio.sleep(31)
            assert "stuck" not in server.get_connections()

    async def test_without_a_running_server_nobody_is_reached(self, network: Network) -> None:
        server = network.server(**HOOKS)
        assert await server.send_message(text_message(to="key a1", platform="qq")) == {}
        assert await server.broadcast_custom_message("x", {}) == {}


class TestCustomMessages:
    @pytest.mark.parametrize(
        ("target", "receivers"),
        [
            ({"connection_uuid": "3"}, {"3"}),
            ({"connection_uuid": "nobody"}, set()),
            ({"target_user": "alice"}, {"1", "2", "3"}),
            ({"target_user": "nobody"}, set()),
            ({"target_user": "alice", "target_platform": "wx"}, {"3"}),
            ({"target_user": "bob", "target_platform": "wx"}, set()),
            ({"target_platform": "qq"}, {"1", "2", "4"}),
            ({"target_platform": "qq", "connection_uuid": "3"}, {"3"}),
            ({"target_user": "bob", "target_platform": "qq", "connection_uuid": "3"}, {"3"}),
        ],
    )
    async def test_the_narrowest_target_wins(
        self, network: Network, target: dict[str, str], receivers: set[str]
    ) -> None:
        async with network.server(**HOOKS) as server:
            peers = await crowd(network)
            sent = await server.send_custom_message("news", {"n": 1}, **target)
            assert sent == dict.fromkeys(receivers, True)
            messages = await heard(peers)
        assert messages.keys() == receivers
        for envelope in messages.values():
            assert (envelope[0]["type"], envelope[0]["payload"]) == ("custom_news", {"n": 1})
            assert envelope[0]["msg_id"].startswith("custom_")
            assert envelope[0]["meta"]["sender_user"] == "server"

    async def test_nobody_learns_the_user_id_of_somebody_else(self, network: Network) -> None:
        async with network.server(**HOOKS) as server:
            peers = await crowd(network)
            await server.send_custom_message("news", {}, target_user="bob", connection_uuid="1")
            ((envelope,),) = (await heard(peers)).values()
        assert envelope["meta"]["target_user"] == "alice"

    async def test_positional_arguments_stand_as_in_the_documents(self, network: Network) -> None:
        async with network.server(**HOOKS) as server:
            await crowd(network)
            assert await server.send_custom_message("news", {}, "alice", "wx") == {"3": True}

    async def test_no_target_at_all_is_a_value_error(self, network: Network) -> None:
        async with network.server() as server:
            with pytest.raises(ValueError, match="needs a target"):
                await server.send_custom_message("news", {})

    @pytest.mark.parametrize(
        ("kind", "payload"), [("", {}), ("custom_", {}), ("x", []), ("x", {"a": {1}}), ("x", {"a": float("inf")})]
    )
    async def test_what_cannot_be_sent_raises(self, network: Network, kind: str, payload: Any) -> None:
        async with network.server() as server:
            await crowd(network)
            with pytest.raises(InvalidMessage):
                await server.send_custom_message(kind, payload, connection_uuid="1")


class TestBroadcast:
    async def test_everybody_gets_it_or_everybody_on_a_platform(self, network: Network) -> None:
        async with network.server(**HOOKS) as server:
            peers = await crowd(network)
            assert await server.broadcast_message(text_message("all")) == dict.fromkeys("1234", True)
            assert await server.broadcast_message(text_message("some"), platform="wx") == {"3": True}
            assert await server.broadcast_custom_message("x", {}) == dict.fromkeys("1234", True)
            assert await server.broadcast_custom_message("x", {}, platform="tg") == {}
            messages = await heard(peers)
        assert {uuid: len(envelopes) for uuid, envelopes in messages.items()} == {"1": 2, "2": 2, "3": 3, "4": 2}
        assert len({json.dumps(envelopes[0]) for envelopes in messages.values()}) == 1

    async def test_what_is_no_message_raises(self, network: Network) -> None:
        wrong: Any = {"text": "hello"}
        async with network.server() as server:
            with pytest.raises(InvalidMessage, match="dict"):
                await server.broadcast_message(wrong)


class TestWhoIsThere:
    async def test_users_platforms_and_connections(self, network: Network) -> None:
        async with network.server(**HOOKS) as server:
            peers = await crowd(network)
            assert (server.get_user_count(), server.get_connection_count()) == (2, 4)
            assert server.get_user_connections("alice") == {"1", "2", "3"}
            assert server.get_platform_connections("alice", "qq") == {"1", "2"}
            assert server.get_connection_info("4") == {"user_id": "bob", "platform": "qq"}
            assert server.get_connection_info("5") is None
            assert server.get_user_connections("nobody") == server.get_platform_connections("bob", "wx") == set()
            stats = server.get_stats()
            assert (stats["current_users"], stats["current_connections"], stats["total_connections"]) == (2, 4, 4)
            await peers["4"].close()
            assert (server.get_user_count(), server.get_connection_count()) == (1, 3)

    async def test_what_they_return_are_copies(self, network: Network) -> None:
        async with network.server(**HOOKS) as server:
            await crowd(network)
            server.get_user_connections("alice").clear()
            server.get_platform_connections("alice", "qq").clear()
            connections = server.get_connections()
            connections["1"]["user_id"] = "mallory"
            connections.clear()
            assert len(server.get_user_connections("alice")) == 3
            assert server.get_connections()["1"]["user_id"] == "alice"

    async def test_connections_are_described_without_secrets(self, network: Network) -> None:
        async with network.server(on_auth=lambda _: True, on_auth_extract_user=lambda m: m["api_key"]) as server:
            await crowd(network)
            described = server.get_connections()["1"]
            assert described.keys() == {"user_id", "platform", "client_ip", "connected_at", "resumed"}
            assert "key a1" not in json.dumps(server.get_connections())
            assert server.get_connection_info("1") == {"user_id": "key a1", "platform": "qq"}

    async def test_the_user_of_a_key_can_be_asked_for(self, network: Network) -> None:
        async with network.server(**HOOKS) as server:
            assert await server.extract_user("key a2") == "alice"
            assert await server.extract_user("key b", "qq") == "bob"
            server.config.on_auth_extract_user = lambda _: {}["nobody"]
            with pytest.raises(KeyError):
                await server.extract_user("key a2")


class TestSendingAway:
    async def test_one_connection_after_what_is_queued_for_it(self, network: Network, nursery: trio.Nursery) -> None:
        async with network.server(**HOOKS) as server:
            peers = await crowd(network)
            for number in range(3):
                await server.send_custom_message("x", {"n": number}, connection_uuid="1")
            nursery.start_soon(functools.partial(server.disconnect, "1", code=4242, reason="over"))
            assert [message["payload"]["n"] for message in await peers["1"].hear_all()] == [0, 1, 2]
            assert await peers["1"].closed() == (4242, "over")
            await peers["1"].aclose()
            await SETTLED()
            assert server.get_connections().keys() == {"2", "3", "4"}
            assert not await server.disconnect("1")

    async def test_all_connections_of_a_user_with_4003(self, network: Network, nursery: trio.Nursery) -> None:
        counts = []

        async def disconnect() -> None:
            counts.append(await server.disconnect_user("alice"))

        async with network.server(**HOOKS) as server:
            peers = await crowd(network)
            nursery.start_soon(disconnect)
            for uuid in "123":
                assert (await peers[uuid].closed())[0] == 4003
                await peers[uuid].aclose()
            await SETTLED()
            assert counts == [3]
            assert server.get_connections().keys() == {"4"}
            assert await server.disconnect_user("alice") == 0

    async def test_from_a_handler_of_that_very_connection(self, network: Network) -> None:
        async def on_message(_message: Any, metadata: dict[str, Any]) -> None:
            await server.disconnect(metadata["uuid"], code=4000)

        async with network.server(on_message=on_message) as server:
            peer = await joined(network)
            await peer.say(standard())
            assert (await peer.closed())[0] == 4000
            await peer.aclose()
            await SETTLED()
            assert server.get_connection_count() == 0


SECRETS = {
    "good": "secret_of_alice_0001",
    "unicode": "schlüssel'von\"bob\\0002",
    "wrong": "secret_of_mallory_0003",
    "receiver": "secret_of_receiver_0004",
    "short": "xyz0005",
}


class Talkative:
    """Callbacks that raise what they know."""

    def on_auth(self, metadata: dict[str, Any]) -> bool:
        if metadata["platform"] == "raises":
            raise KeyError(metadata["api_key"])
        return metadata["api_key"] != SECRETS["wrong"]

    def extract(self, metadata: dict[str, Any]) -> str:
        if metadata["platform"] == "raises later":
            raise LookupError(f"who is {metadata}?")
        return metadata["api_key"]

    def on_message(self, message: Any, metadata: dict[str, Any]) -> None:
        {}[message.message_dim.api_key + metadata["api_key"]]

    def on_event(self, uuid: Any, metadata: dict[str, Any]) -> None:
        raise RuntimeError(uuid, metadata)

    @property
    def hooks(self) -> dict[str, Any]:
        return {
            "on_auth": self.on_auth,
            "on_auth_extract_user": self.extract,
            "on_message": self.on_message,
            "on_connect": self.on_event,
            "on_disconnect": self.on_event,
            "custom_handlers": {"x": self.on_event},
        }


class TestSecrets:
    async def test_no_key_is_in_any_log_line_repr_or_number(
        self, network: Network, log: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Everything that can go wrong, at DEBUG, with keys that are easy to find."""
        caplog.set_level(logging.DEBUG)
        said: list[str] = []
        config = {"log_level": "DEBUG", "close_timeout": 1, "max_invalid_frames": 5}
        async with network.server(**config, **Talkative().hooks) as server:
            for key in (SECRETS["good"], SECRETS["unicode"], SECRETS["short"], SECRETS["good"]):
                peer = await joined(network, key=key, uuid="same id", platform="qq")
                await peer.say({**standard("m1", to=SECRETS["receiver"]), "meta": {"sender_user": key}})
                await peer.say(custom("custom_x", {}, "m2", sender_user=key))
                await peer.say(custom("custom_nobody", {}, "m3", sender_user=key, request_id="r"))
                await peer.say(ack("m0"))
                await peer.say({"type": "nonsense", "meta": {"sender_user": key}})
                await peer.say({"type": key})
                await peer.say(standard(key))
                await peer.say({"type": "sys_error", "payload": {"code": key, "message": key}})
                await SETTLED()
                said += [repr(server.get_stats()), repr(server.get_connections()), repr(server.get_coroutine_status())]
                for to, platform in ((key, "qq"), (key, "raises later"), (SECRETS["receiver"], "qq")):
                    await server.send_message(text_message(to=to, platform=platform))
                said.append(repr(server.config))
                await peer.close(4000, key)
            for key in SECRETS.values():
                for platform in ("qq", "raises", "raises later"):
                    head = request(b"x-apikey: " + key.encode(), b"x-platform: " + platform.encode(), target=b"/ws")
                    answer = await Peer(network.connect()).ask(head)
                    said.append(repr(answer))
                await Peer(network.connect()).ask(request(b"x-uuid: \x01", b"x-apikey: " + key.encode(), target=b"/ws"))
                await Peer(network.connect()).ask(request(b"x-apikey: " + key.encode(), target=b"/elsewhere"))
            with pytest.raises(InvalidMessage) as caught:
                await server.send_message(text_message("\ud800", to=SECRETS["receiver"], platform="qq"))
            said.append(repr(caught.value) + str(caught.value))
            said.append(repr([*server._registry.all(), *server._sessions._sessions.values(), *server.links]))
        said += [repr(server.get_stats()), log.text, *log.lines()]
        everything = "\n".join(said)
        assert "raised" in everything
        assert everything.count("Traceback") > 20
        for name, key in SECRETS.items():
            for form in (key, repr(key)[1:-1], json.dumps(key)[1:-1]):
                assert form not in everything, name

    async def test_the_key_that_a_client_puts_into_meta_is_never_passed_on(self, network: Network) -> None:
        async def relay(message: APIMessageBase, _metadata: Any) -> None:
            await server.send_message(message)

        async with network.server(**HOOKS, on_message=relay) as server:
            peers = await crowd(network)
            envelope = {**standard("m1", to="key b", platform="qq"), "meta": {"sender_user": "key a1"}}
            await peers["1"].say(envelope)
            await SETTLED()
            messages = await heard(peers)
        assert [text_of(message) for message in messages["4"]] == ["hello"]
        assert "key a1" not in json.dumps(messages["4"])
