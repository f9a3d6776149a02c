"""`maim-trio bridge` between an adapter and a server that know nothing of it: both are maim_message's own."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.program import Program, command
from tests.conftest import needs
from tests.interop.ours import ALICE, BOB
from tests.peers import peer_python

if TYPE_CHECKING:
    from tests.interop.peer_process import PeerProcess

VERSION = "0.6.8"
PLATFORM = "qq"
TOKEN = "token-of-the-adapters"
FILE = f"""
tokens = ["{TOKEN}"]

[[platform]]
name = "{PLATFORM}"
key = "{ALICE}"

[[platform]]
name = "irc"
key = "{BOB}"
"""


class Bridged(Program):
    """A running ``bridge``."""

    port = 0

    async def wait_ready(self) -> None:
        line = await self.err.next(" ready for adapters of ")
        self.port = int(line.rpartition(" ")[2])

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"


@pytest.fixture
async def run(nursery, tmp_path):
    (tmp_path / "bridge.toml").write_text(FILE, encoding="utf-8")
    programs: list[Program] = []

    async def start(*arguments: str) -> Bridged:
        program = await Bridged.start(nursery, command("bridge", "--config", "bridge.toml", *arguments), cwd=tmp_path)
        programs.append(program)
        return program

    yield start
    for program in programs:
        await program.aclose()


@pytest.fixture
async def server(start_peer) -> PeerProcess:
    peer = await start_peer("maim_message's server", needs(peer_python, VERSION), "maim_message_server.py")
    await peer.do("start", port=0, keys={ALICE: "alice", BOB: "bob"})
    return peer


async def bridge_to(server: PeerProcess, run: Any, *, port: int = 0) -> Bridged:
    """A bridge to the server, whose port the test has not read yet."""
    api = f"ws://127.0.0.1:{(await server.expect('listening'))['port']}/ws"
    bridge = await run("--legacy", f"ws://127.0.0.1:{port}/ws", "--api", api)
    await bridge.wait_ready()
    for user in ("alice", "bob"):
        await server.expect("registered", user=user)
    return bridge


@pytest.fixture
def join(start_peer):
    async def adapter(bridge: Bridged, platform: str = PLATFORM) -> PeerProcess:
        peer = await start_peer(f"the adapter of {platform}", needs(peer_python, VERSION), "maim_message_adapter.py")
        await peer.do("start", url=bridge.url, platform=platform, token=TOKEN)
        await peer.expect("connected")
        return peer

    return adapter


def from_adapter(text: str, platform: str = PLATFORM) -> dict[str, Any]:
    """What an adapter of today sends: integers as ids, user and group beside the message."""
    return {
        "message_info": {
            "platform": platform,
            "message_id": 12345,
            "time": 1703123456,
            "user_info": {"platform": platform, "user_id": 10001, "user_nickname": "小明"},
            "group_info": {"platform": platform, "group_id": 20002},
            "format_info": {"content_format": ["text"], "accept_format": ["text", "image"]},
            "additional_config": {"maimcore_reply_probability_gain": 0.5},
        },
        "message_segment": {"type": "seglist", "data": [{"type": "text", "data": text}]},
        "raw_message": text,
    }


def answer_to(message: dict[str, Any], text: str) -> dict[str, Any]:
    """What a bot makes of a message: back to where it came from."""
    info = dict(message["message_info"])
    info["receiver_info"] = info.pop("sender_info")
    return {**message, "message_info": info, "message_segment": {"type": "text", "data": text}}


async def test_messages_pass_both_ways_unchanged_in_meaning(server, run, join):
    bridge = await bridge_to(server, run)
    adapter, other = await join(bridge), await join(bridge, "irc")
    await adapter.do("send", message=from_adapter("你好"))
    assert (await adapter.expect("sent"))["ok"] is True
    arrived = await server.expect("message", user="alice", platform=PLATFORM)
    assert arrived["message"] == {
        "message_info": {
            "platform": PLATFORM,
            "message_id": "12345",
            "time": 1703123456,
            "sender_info": {
                "user_info": {"platform": PLATFORM, "user_id": "10001", "user_nickname": "小明"},
                "group_info": {"platform": PLATFORM, "group_id": "20002"},
            },
            "format_info": {"content_format": ["text"], "accept_format": ["text", "image"]},
            "additional_config": {"maimcore_reply_probability_gain": 0.5},
        },
        "message_segment": {"type": "seglist", "data": [{"type": "text", "data": "你好"}]},
        "message_dim": {"api_key": ALICE, "platform": PLATFORM},
    }
    await server.do("send", message=answer_to(arrived["message"], "好"))
    assert list((await server.expect("sent"))["results"].values()) == [True]
    answered = (await adapter.expect("message"))["message"]
    assert answered["message_segment"] == {"type": "text", "data": "好"}
    assert answered["message_info"]["platform"] == PLATFORM
    assert answered["message_info"]["user_info"]["user_id"] == "10001"
    assert answered["message_info"]["group_info"]["group_id"] == "20002"
    await other.do("send", message=from_adapter("from elsewhere", "irc"))
    await server.expect("message", user="bob", platform="irc")
    assert not other.unread("message")
    bridge.signal(signal.SIGTERM)
    assert await bridge.wait() == 0
    assert bridge.err.all[-1].endswith("messages passed to the API-Server: 2, to adapters: 1, dropped: 0")
    assert not any(secret in line for line in bridge.err.all for secret in (ALICE, BOB, TOKEN, "你好"))


async def test_custom_messages_pass_both_ways(server, run, join):
    api = f"ws://127.0.0.1:{(await server.expect('listening'))['port']}/ws"
    bridge = await run("--legacy", "ws://127.0.0.1:0/ws", "--api", api)
    await bridge.wait_ready()
    uuid = (await server.expect("registered", user="alice"))["uuid"]
    adapter = await join(bridge)
    await adapter.do("custom", type="ping", content={"number": 7, "名": ["值", None]})
    received = await server.expect("custom", type="custom_ping")
    assert received["envelope"]["payload"] == {"number": 7, "名": ["值", None]}
    await server.do("custom", type="custom_pong", payload={"number": 8}, uuid=uuid)
    message = (await adapter.expect("custom"))["message"]
    assert (message["message_type_name"], message["content"]) == ("pong", {"number": 8})


async def test_after_a_restart_of_the_server_both_directions_work_again(server, run, join):
    bridge = await bridge_to(server, run)
    adapter = await join(bridge)
    await server.do("restart")
    await bridge.err.next(f"platform {PLATFORM}: disconnected")
    await adapter.do("send", message=from_adapter("while it was away"))
    arrived = await server.expect("message", user="alice")
    assert arrived["message"]["message_segment"]["data"][0]["data"] == "while it was away"
    await server.do("send", message=answer_to(arrived["message"], "welcome back"))
    assert (await adapter.expect("message"))["message"]["message_segment"]["data"] == "welcome back"


async def test_what_comes_for_an_adapter_while_it_restarts_is_there_when_it_is_back(server, run, join):
    bridge = await bridge_to(server, run)
    adapter = await join(bridge)
    await adapter.do("send", message=from_adapter("before"))
    arrived = (await server.expect("message"))["message"]
    await adapter.stop()
    for number in range(3):
        await server.do("send", message=answer_to(arrived, f"answer {number}"))
    successor = await join(bridge)
    texts = [(await successor.expect("message"))["message"]["message_segment"]["data"] for _ in range(3)]
    assert texts == ["answer 0", "answer 1", "answer 2"]


async def test_an_adapter_comes_back_by_itself_after_a_restart_of_the_bridge(server, run, join):
    first = await bridge_to(server, run)
    adapter = await join(first)
    first.signal(signal.SIGINT)
    assert await first.wait() == 0
    await adapter.expect("lost")
    await server.do("restart")  # for its port, which the second bridge asks for
    await bridge_to(server, run, port=first.port)
    await adapter.expect("connected")
    await adapter.do("send", message=from_adapter("back again"))
    await server.expect("message", user="alice")


async def test_a_key_that_the_server_refuses_is_one_line_and_status_1(server, run, tmp_path):
    (tmp_path / "bridge.toml").write_text(FILE.replace(BOB, "key-of-nobody"), encoding="utf-8")
    api = f"ws://127.0.0.1:{(await server.expect('listening'))['port']}/ws"
    bridge = await run("--legacy", "ws://127.0.0.1:0/ws", "--api", api)
    assert await bridge.wait() == 1
    assert bridge.err.all[-1].startswith("maim-trio: the API-Server does not take platform irc: ")
    assert "Authentication failed" in bridge.err.all[-1]
    assert not any("key-of-nobody" in line for line in bridge.err.all)
