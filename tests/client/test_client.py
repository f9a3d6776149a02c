"""What a client says about itself."""

from __future__ import annotations

import json

import pytest
import trio
import trio.testing

from tests.client.checks import KEY
from tests.client.raw import hangs_up, refuses, welcomes
from tests.memory import text_message

DOCUMENTED_STATS = {
    "total_connections",
    "active_connections",
    "total_messages",
    "successful_connects",
    "failed_connects",
    "messages_sent",
    "messages_received",
    "uptime",
    "last_activity",
    "active_handler_tasks",
    "last_error",
    "error_count",
}


async def test_update_config_changes_all_or_nothing(network):
    async with network.client() as client:
        client.update_config(platform="wechat", ping_interval=5)
        assert (client.config.platform, client.config.ping_interval) == ("wechat", 5)
        for wrong in ({"no_such_field": 1}, {"ping_interval": "soon"}, {"url": "http://x/"}):
            with pytest.raises(ValueError, match=next(iter(wrong))):
                client.update_config(platform="other", **wrong)
        assert client.config.platform == "wechat"


async def test_get_cached_connection_info(network):
    client = network.client(platform="wechat")
    info = client.get_cached_connection_info()
    assert info == {
        "url": client.config.url,
        "api_key": KEY,
        "platform": "wechat",
        "connection_uuid": client.get_connection_uuid(),
    }
    info["url"] = "changed"
    assert client.get_cached_connection_info()["url"] == client.config.url


async def test_every_client_has_an_id_of_its_own(network):
    assert len({network.client().get_connection_uuid() for _ in range(10)}) == 10


async def test_stats_exist_in_every_state_and_are_fresh_and_serialisable(network, play):
    await play(welcomes)
    client = network.client()

    def stats():
        found = client.get_stats()
        assert set(found) >= DOCUMENTED_STATS
        assert json.loads(json.dumps(found)) == found
        return found

    before = stats()
    assert before["connected"] is False
    assert before["uptime"] == 0
    before["messages_sent"] = 99
    async with client:
        assert stats()["messages_sent"] == 0
        await trio.sleep(5)
        assert await client.connect()
        await client.send_message(text_message())
        during = stats()
        assert during["connected"] is True
        assert during["active_connections"] == during["current_connections"] == 1
        assert during["successful_connects"] == during["total_connections"] == during["connect_attempts"] == 1
        assert during["messages_sent"] == during["total_messages"] == 1
        assert during["uptime"] == pytest.approx(5)
        assert during["connection_uuid"] == client.get_connection_uuid()
        await trio.testing.wait_all_tasks_blocked()
        assert stats()["bytes_sent"] > 300
        assert stats()["bytes_received"] > 50
    after = stats()
    assert after["connected"] is False
    assert after["active_connections"] == 0
    assert after["uptime"] == 0
    assert after["bytes_sent"] > 300


async def test_stats_count_what_went_wrong(network, play):
    await play(hangs_up, refuses(500), refuses(401))
    async with network.client() as client:
        assert not await client.connect()
        stats = client.get_stats()
        assert stats["connect_attempts"] == stats["failed_connects"] == stats["error_count"] == 3
        assert stats["reconnect_attempts"] == 2
        assert stats["successful_connects"] == 0
        assert "401" in stats["last_error"]


async def test_coroutine_status_tells_what_runs(network, play):
    await play(welcomes)
    client = network.client(custom_handlers={"echo": print})
    assert client.get_coroutine_status()["client_running"] is False
    async with client:
        assert await client.connect()
        status = client.get_coroutine_status()
        assert status["client_running"] is True
        assert status["connected"] is True
        assert status["active_handler_tasks"] == 0
        assert status["custom_handlers"] == ["custom_echo"]
        names = json.dumps(status["tasks"])
        assert all(name in names for name in ("connection", "writer", "keepalive", "hooks"))
