"""What servers and clients tell: statistics, status, the log; and configurations that change while running."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
import trio

from maim_trio.client import ClientConfig
from tests.checklist.world import (
    KEY,
    NAME,
    SIDES,
    Gate,
    Recorder,
    content,
    linked,
    made,
    settle,
    side_of,
    talking,
    user_is_key,
)
from tests.memory import Network, text_message

if TYPE_CHECKING:
    from tests.checklist.rows import Row

EACH_SIDE = sorted(set(SIDES.values()))


class Lines:
    """A logger of a kind that the library does not know: it has the four methods, and no more."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def debug(self, line: str) -> None:
        self.lines.append(("DEBUG", line))

    def info(self, line: str) -> None:
        self.lines.append(("INFO", line))

    def warning(self, line: str) -> None:
        self.lines.append(("WARNING", line))

    def error(self, line: str) -> None:
        self.lines.append(("ERROR", line))

    def levels(self) -> set[str]:
        return {level for level, _ in self.lines}

    def having(self, *words: str) -> list[str]:
        return [line for _, line in self.lines if all(word in line for word in words)]


# -- the log


async def any_logger_will_do(row: Row) -> None:
    lines = Lines()
    async with talking(side_of(row), custom_logger=lines, log_level="DEBUG"):
        pass
    assert lines.having("connected")
    standard = logging.getLogger("maim_trio.tests.checklist")
    async with talking(side_of(row), custom_logger=standard):
        pass


async def the_log_level_silences_what_is_below(row: Row) -> None:
    for level, expected in (("DEBUG", {"DEBUG", "INFO"}), ("INFO", {"INFO"}), ("ERROR", {"ERROR"})):
        lines = Lines()
        async with talking(side_of(row), custom_logger=lines, log_level=level, on_message=_raise_or_pass) as talk:
            for text in ("hi", "raise"):
                await talk.say(text)
            await settle()
        assert expected <= lines.levels()
        assert not {"DEBUG": set(), "INFO": {"DEBUG"}, "ERROR": {"DEBUG", "INFO", "WARNING"}}[level] & lines.levels()


def _raise_or_pass(message: Any, _metadata: Any) -> None:
    if content(message) == "raise":
        raise ZeroDivisionError


async def connections_are_logged_when_wanted(row: Row) -> None:
    for wanted in (True, False):
        lines = Lines()
        async with talking(side_of(row), custom_logger=lines, enable_connection_log=wanted) as talk:
            await talk.say("hi")
            await settle()
        assert bool(lines.having("connected")) == wanted
        assert not lines.having("msg_"), "at INFO there is no line per message"


async def messages_are_logged_without_their_content(row: Row) -> None:
    side = side_of(row) if row.kind == "field" else "server"
    for wanted in (True, False):
        lines = Lines()
        async with talking(side, custom_logger=lines, log_level="DEBUG", enable_message_log=False) as talk:
            talk.subject.config.enable_message_log = wanted
            await talk.say("the content")
            await settle()
            if side == "multi":  # its clients take it over from the shared configuration
                talk.subject.update_connection(NAME, enable_message_log=wanted)
                await talk.say("the content")
                await settle()
        assert bool(lines.having("received", "sys_std", "msg_", "bytes")) == wanted
        assert not lines.having("the content")


# -- statistics


async def stats_count_what_happens(row: Row) -> None:
    side = side_of(row)
    async with talking(side, on_message=lambda *_: None, custom_handlers={"ping": lambda _: None}) as talk:
        for text in ("a", "b"):
            await talk.say(text)
        await talk.say_custom("ping", {})
        await talk.reply("c")
        await settle()
        await trio.sleep(30)
        stats = talk.subject.get_stats()
    expected = {
        "active_connections": 1,
        "total_connections": 1,
        "successful_connects": 1,
        "failed_connects": 0,
        "messages_received": 3,
        "messages_sent": 1,
        "total_messages": 4,
        "messages_processed": 2,
        "custom_messages_processed": 1,
        "messages_acked": 1,
        "active_handler_tasks": 0,
        "error_count": 0,
        "last_error": None,
    }
    assert {key: stats[key] for key in expected} == expected
    assert stats["uptime"] >= 30
    assert stats["last_activity"] > 0
    assert min(stats["bytes_received"], stats["bytes_sent"]) > 0


async def stats_are_fresh_and_plain(row: Row) -> None:
    async with talking(side_of(row)) as talk:
        stats = talk.subject.get_stats()
        assert json.loads(json.dumps(stats)) == stats
        for value in stats.values():
            if isinstance(value, dict | list):
                value.clear()
        stats.clear()
        assert talk.subject.get_stats()["total_connections"] == 1


async def stats_show_no_key(row: Row) -> None:
    async with talking(side_of(row), on_message=lambda *_: None) as talk:
        await talk.say("hi")
        await talk.reply("hi")
        await settle()
        assert KEY not in json.dumps(talk.subject.get_stats())


async def the_stats_callback_is_told_while_something_changes(row: Row) -> None:
    told = Recorder()
    async with talking(side_of(row), stats_callback=told, stats_interval=2.0, on_message=lambda *_: None) as talk:
        await talk.say("hi")
        began = trio.current_time()
        (stats,) = await told.wait()
        assert trio.current_time() <= began + 2.0
        assert (stats["messages_received"], stats["active_connections"]) == (1, 1)
        assert set(stats) == set(talk.subject.get_stats())
        await trio.sleep(5)
        quiet = len(told.calls)
        await trio.sleep(8)  # not so long that a ping is sent, which counts as bytes
        assert len(told.calls) == quiet, "nothing has changed"


async def without_enable_stats_nobody_is_told(row: Row) -> None:
    told = Recorder()
    async with talking(side_of(row), stats_callback=told, enable_stats=False, stats_interval=1.0) as talk:
        await talk.say("hi")
        await trio.sleep(10)
        assert told.calls == []


async def a_status_shows_what_runs(row: Row) -> None:
    side = side_of(row)
    subject = made(side, Network())
    running = "server_running" if side == "server" else "client_running"
    assert subject.get_coroutine_status()[running] is False
    assert subject.get_coroutine_status()["tasks"] is None
    gate = Gate()
    async with talking(side, on_message=gate, custom_handlers={"ping": print}) as talk:
        await talk.say("hi")
        await settle()
        status = talk.subject.get_coroutine_status()
        assert status[running] is True
        assert status["custom_handlers"] == ["custom_ping"]
        assert "on_message" in _names(status["tasks"])
        if side != "multi":
            assert status["active_handler_tasks"] == 1
        gate.opened.set()


def _names(tree: dict[str, Any]) -> set[str]:
    return {tree["name"]}.union(*map(_names, tree["children"]))


# -- changing the configuration


async def an_update_changes_all_or_nothing(row: Row) -> None:
    async with talking(side_of(row)) as talk:
        config = talk.subject.config
        for wrong in ({"log_level": "ERROR", "no_such_field": 1}, {"log_level": "ERROR", "ping_interval": "often"}):
            with pytest.raises(ValueError, match=r"no_such_field|ping_interval"):
                talk.subject.update_config(**wrong)
            assert config.log_level == "INFO"
        talk.subject.update_config(log_level="ERROR", ping_interval=5)
        assert (config.log_level, config.ping_interval) == ("ERROR", 5)


async def hooks_are_read_live() -> None:
    for side in EACH_SIDE:
        first, second, third = Recorder(), Recorder(), Recorder()
        async with talking(side, on_message=first) as talk:
            await talk.say("1")
            await first.wait()
            talk.subject.config.on_message = second
            await talk.say("2")
            await second.wait()
            talk.subject.config.custom_handlers["ping"] = third
            await talk.say_custom("ping", {})
            await third.wait()
        assert [len(recorder.calls) for recorder in (first, second, third)] == [1, 1, 1]


# -- what a client is told


async def a_client_tells_when_it_comes_and_goes() -> None:
    came, went = Recorder(), Recorder()
    async with linked(client={"on_connect": came, "on_disconnect": went}) as (server, client):
        uuid, config = await came.wait()
        assert uuid == client.get_connection_uuid()
        assert isinstance(config, ClientConfig)
        await server.disconnect(uuid, code=4003, reason="revoked")
        assert (await went.wait())[0] == uuid
        assert "revoked" in went.calls[0][1]
        await client.connect()
        await came.wait(2)
        await client.disconnect()
        assert await went.wait(2) == (uuid, None), "no error when the client itself has closed"


async def a_client_learns_who_a_message_is_from() -> None:
    heard = Recorder()
    async with linked({"on_auth_extract_user": user_is_key}, {"on_message": heard}) as (server, _client):
        await server.send_message(text_message("hi"))
        _, metadata = await heard.wait()
        assert (metadata["sender_user"], metadata["target_user"]) == ("server", KEY)
