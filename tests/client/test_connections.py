"""Connection entries, and the table that holds them."""

from __future__ import annotations

import copy
import dataclasses

import pytest

from maim_trio.client import ClientConfig, ConnectionEntry
from maim_trio.client._connections import ConnectionTable
from maim_trio.errors import ConfigError

URL = "ws://bot.example/ws"
FIELDS = {"url": URL, "api_key": "key_of_wechat"}


@pytest.fixture
def told():
    return []


@pytest.fixture
def table(told):
    return ConnectionTable({"a": FIELDS}, lambda: told.append(1))


# -- entries


def test_an_entry_has_the_documented_fields_and_defaults():
    entry = ConnectionEntry("wechat", URL, "key_of_wechat")
    assert (entry.name, entry.url, entry.api_key, entry.platform) == ("wechat", URL, "key_of_wechat", "default")
    assert (entry.ssl_enabled, entry.ssl_verify, entry.ssl_check_hostname) == (False, True, True)
    assert (entry.ssl_ca_certs, entry.ssl_certfile, entry.ssl_keyfile) == (None, None, None)
    assert (entry.max_reconnect_attempts, entry.reconnect_delay, entry.headers) == (5, 1.0, {})


def test_an_entry_takes_every_field_of_a_single_client():
    for field in dataclasses.fields(ClientConfig):
        entry = ConnectionEntry("wechat", **{**FIELDS, field.name: getattr(ClientConfig(**FIELDS), field.name)})
        assert entry.is_given(field.name)


def test_an_entry_knows_what_was_set_on_purpose():
    entry = ConnectionEntry("wechat", URL, "key_of_wechat", ping_interval=20.0)
    assert entry.given() == {"url": URL, "api_key": "key_of_wechat", "ping_interval": 20.0}
    assert ConnectionEntry("wechat", URL, "key_of_wechat", "default").is_given("platform")


def test_what_is_assigned_or_put_into_a_dict_of_it_counts_as_given():
    entry = ConnectionEntry("wechat", URL, "key_of_wechat")
    entry.platform = "default"
    entry.headers["x-trace"] = "1"
    assert {"platform", "headers"} <= set(entry.given())


@pytest.mark.parametrize(("name", "value"), [("platform", 5), ("ping_interval", "soon"), ("url", "http://x")])
def test_a_wrong_value_is_refused_with_the_name_of_the_field_however_it_comes(name, value):
    with pytest.raises(ConfigError, match=f"ConnectionEntry.{name} "):
        ConnectionEntry("wechat", **{**FIELDS, name: value})
    entry = ConnectionEntry("wechat", **FIELDS)
    with pytest.raises(ConfigError, match=f"ConnectionEntry.{name} "):
        setattr(entry, name, value)
    with pytest.raises(ConfigError, match=f"ConnectionEntry.{name} "):
        entry.update({"headers": {"a": "b"}, name: value})
    assert entry.given() == FIELDS


def test_an_unknown_field_is_refused():
    with pytest.raises(TypeError, match="no field pingu"):
        ConnectionEntry("wechat", URL, "key", pingu=1)
    with pytest.raises(ConfigError, match="no field pingu"):
        ConnectionEntry("wechat", URL, "key").update({"pingu": 1})


def test_an_entry_cannot_be_renamed_by_an_update():
    entry = ConnectionEntry("wechat", **FIELDS)
    with pytest.raises(ConfigError, match="renamed"):
        entry.update({"name": "qq"})
    assert entry.update({"name": "wechat"}) == set()


def test_tls_follows_the_url_of_an_entry():
    assert ConnectionEntry("wechat", "wss://bot.example/ws", "key").ssl_enabled
    assert not ConnectionEntry("wechat", URL, "key").ssl_enabled


def test_the_repr_of_an_entry_shows_no_secret():
    entry = ConnectionEntry("wechat", URL + "?api_key=hush_in_url", "hush_as_key", headers={"cookie": "hush_cookie"})
    assert "hush" not in repr(entry)
    assert "wechat" in repr(entry)


def test_a_copy_of_an_entry_goes_its_own_way():
    entry = ConnectionEntry("wechat", **FIELDS)
    twin = copy.copy(entry)
    twin.platform = "qq"
    assert (entry.platform, entry.is_given("platform")) == ("default", False)
    assert twin.given() == {**FIELDS, "platform": "qq"}


def test_watchers_are_told_of_each_change_once(told):
    entry = ConnectionEntry("wechat", **FIELDS)
    entry.watch(lambda: told.append(entry.given()))
    entry.platform = "qq"
    entry.update({"url": "ws://new/ws", "api_key": "new_key_of_wechat"})
    assert len(told) == 2
    assert told[-1] == {"url": "ws://new/ws", "api_key": "new_key_of_wechat", "platform": "qq"}


# -- the table


def test_dicts_that_are_put_in_become_entries_and_stay_as_they_were(table):
    fields = {"name": "ignored", **FIELDS}
    before = dict(fields)
    table["b"] = fields
    assert fields == before
    assert isinstance(table["b"], ConnectionEntry)
    assert table["b"].name == "b"


def test_an_entry_is_taken_as_it_is_and_copied_only_for_another_name(table):
    entry = ConnectionEntry("b", **FIELDS)
    table["b"] = entry
    table["c"] = entry
    assert table["b"] is entry
    assert (table["c"].name, entry.name) == ("c", "b")


def test_every_way_of_changing_the_table_is_told(table, told):
    changes = [
        lambda: table.__setitem__("x", FIELDS),
        lambda: table.update({"y": FIELDS}),
        lambda: table.update(z=FIELDS),
        lambda: table.setdefault("d", FIELDS),
        lambda: table.__ior__({"e": FIELDS}),
        lambda: table.__delitem__("x"),
        lambda: table.pop("y"),
        lambda: table.popitem(),
        lambda: table.clear(),
    ]
    for index, change in enumerate(changes):
        told.clear()
        change()
        assert told, index
        assert all(isinstance(entry, ConnectionEntry) for entry in table.values())
    assert table == {}


def test_what_changes_nothing_is_not_told(table, told):
    assert table.pop("nobody", None) is None
    assert table.setdefault("a", {"url": "ws://other/ws"}).url == URL
    for change in (lambda: table.pop("nobody"), lambda: table.__delitem__("nobody")):
        with pytest.raises(KeyError):
            change()
    with pytest.raises(KeyError):
        ConnectionTable().popitem()
    assert told == []


def test_the_last_one_is_popped_first(table):
    table["b"] = FIELDS
    assert [table.popitem()[0], table.popitem()[0]] == ["b", "a"]


def test_an_entry_in_the_table_tells_of_its_changes_until_it_is_out(table, told):
    entry = table["a"]
    entry.platform = "qq"
    assert len(told) == 1
    del table["a"]
    told.clear()
    entry.platform = "wechat"
    assert told == []


def test_an_entry_that_was_replaced_tells_no_more(table, told):
    old = table["a"]
    table["a"] = FIELDS
    told.clear()
    old.platform = "qq"
    assert told == []
    table["a"].platform = "qq"
    assert len(told) == 1


@pytest.mark.parametrize("value", [None, "ws://x", 5, [("url", "ws://x")]])
def test_what_is_no_connection_is_refused_and_changes_nothing(table, told, value):
    with pytest.raises(ConfigError, match="connection 'a' must be a ConnectionEntry or a dict"):
        table["a"] = value
    assert table["a"].url == URL
    assert told == []


def test_a_name_is_a_string(table):
    with pytest.raises(ConfigError, match="connection 7"):
        table[7] = FIELDS


def test_what_is_wrong_inside_is_told_with_the_name_of_the_connection(table):
    with pytest.raises(ConfigError, match=r"connection 'b': ConnectionEntry.ping_interval must be a number of seconds"):
        table["b"] = {**FIELDS, "ping_interval": "soon"}
    with pytest.raises(ConfigError, match="connection 'b': a connection has no field apikey"):
        table["b"] = {"url": URL, "apikey": "k"}
    assert "b" not in table
