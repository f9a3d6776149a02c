"""A file of its own for the durable outbox of each connection."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from maim_trio.client import ClientConfig, ConnectionEntry, MultiClientConfig
from maim_trio.client._files import outbox_of
from maim_trio.client._layers import NamedConfig
from tests.client.multi import fields
from tests.memory import Hosts, text_message
from tests.runtime.test_durable import at_once, in_file


@pytest.mark.parametrize(
    ("path", "name", "expected"),
    [
        ("outbox.db", "qq", "outbox-qq.db"),
        ("/var/lib/bot/outbox.db", "my-bot_2", "/var/lib/bot/outbox-my-bot_2.db"),
        ("outbox", "qq", "outbox-qq"),
        ("data.d/out.box.db", "qq", "data.d/out.box-qq.db"),
    ],
)
def test_a_plain_name_stands_in_the_name_of_the_file(path: str, name: str, expected: str) -> None:
    assert outbox_of(path, name) == expected


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a/b", "a\\b", "CON:", "a\0b", "\ud800", "微信", "QQ", "", "x" * 300, "."]
)
def test_any_other_name_is_made_harmless(name: str) -> None:
    made = Path(outbox_of("/folder/outbox.db", name))
    assert made.parent == Path("/folder")
    assert made.name.isascii()
    assert made.name.isprintable()
    assert len(made.name) < 100


names = st.one_of(st.text(max_size=40), st.text("abAB-_~1/", max_size=8))


@given(names, names)
def test_different_names_never_share_a_file_even_where_capitals_do_not_count(one: str, other: str) -> None:
    same = outbox_of("o.db", one).lower() == outbox_of("o.db", other).lower()
    assert same == (one == other)


@given(names)
def test_the_file_of_one_name_is_no_other_name_made_harmless(name: str) -> None:
    made = outbox_of("o.db", name).removeprefix("o-").removesuffix(".db")
    assert name == made or outbox_of("o.db", made) != outbox_of("o.db", name)


def test_a_path_that_an_entry_names_itself_is_taken_as_it_is() -> None:
    entry = ConnectionEntry("qq", url="ws://bot/ws", api_key="k", outbox_path="/own.db")
    shared, default = MultiClientConfig(), ClientConfig(outbox_path="/all.db")
    assert NamedConfig(entry, shared, default).outbox_path == "/own.db"
    assert (
        NamedConfig(ConnectionEntry("qq", url="ws://bot/ws", api_key="k"), shared, default).outbox_path == "/all-qq.db"
    )
    config = NamedConfig(entry, shared, default)
    assert config.refresh() == set()


async def test_one_path_in_the_default_config_serves_all_connections(tmp_path, monkeypatch, autojump_clock):
    monkeypatch.setattr(trio.to_thread, "run_sync", at_once)
    path, hosts = tmp_path / "outbox.db", Hosts()
    connections = {name: fields(host) for name, host in (("qq", "one"), ("微信", "two"), ("QQ", "one"))}
    default = ClientConfig(outbox_path=str(path), max_reconnect_attempts=0, connect_timeout=1)
    async with hosts.client(connections=connections, default_config=default) as client:
        assert await client.connect() == dict.fromkeys(connections, False)
        for number, name in enumerate(connections):
            assert await client.send_message(name, text_message(number))
    files = sorted(tmp_path.glob("*.db"))
    assert sorted(number for file in files for number in in_file(str(file))) == [0, 1, 2]
    assert len(files) == 3
    assert not path.exists()
    client = hosts.client(connections=connections, default_config=default)
    async with hosts["one"].server(), hosts["two"].server(), client:
        assert await client.connect() == dict.fromkeys(connections, True)
        await trio.sleep(1)
        assert client.get_stats()["messages_acked"] == 3
    assert [in_file(str(file)) for file in files] == [[], [], []]
