"""Who is connected: user, platform, connections."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from maim_trio.server._registry import Registry


@dataclass(eq=False)
class Somebody:
    uuid: str
    user_id: str = "alice"
    platform: str = "qq"
    api_key: str = "key"


@pytest.fixture
def registry() -> Registry[Somebody]:
    return Registry()


def test_a_connection_is_found_by_id_user_platform_and_key(registry: Registry[Somebody]) -> None:
    alice = Somebody("u1")
    assert registry.add(alice) is None
    assert registry.get("u1") is alice
    assert registry.of_user("alice") == registry.of_user("alice", "qq") == registry.on_platform("qq") == [alice]
    assert registry.user_of_key("key", "qq") == "alice"
    assert (len(registry), registry.user_count(), registry.all()) == (1, 1, [alice])


def test_users_and_platforms_are_told_apart(registry: Registry[Somebody]) -> None:
    everybody = [Somebody(f"{user} {platform}", user, platform) for user in ("a", "b") for platform in ("p", "q")]
    for somebody in everybody:
        registry.add(somebody)
    assert [found.uuid for found in registry.of_user("a")] == ["a p", "a q"]
    assert [found.uuid for found in registry.of_user("a", "q")] == ["a q"]
    assert [found.uuid for found in registry.on_platform("p")] == ["a p", "b p"]
    assert (len(registry), registry.user_count()) == (4, 2)
    assert registry.of_user("nobody") == registry.of_user("a", "r") == registry.on_platform("r") == []


def test_the_same_id_replaces_and_the_old_end_changes_nothing(registry: Registry[Somebody]) -> None:
    old, new = Somebody("u1", platform="qq"), Somebody("u1", platform="wx")
    registry.add(old)
    assert registry.add(new) is old
    assert not registry.remove(old)
    assert registry.get("u1") is new
    assert registry.of_user("alice", "qq") == []
    assert registry.of_user("alice", "wx") == [new]


def test_after_the_last_connection_nothing_is_left(registry: Registry[Somebody]) -> None:
    everybody = [
        Somebody(str(number), f"user {number % 3}", f"p{number % 2}", f"k{number % 4}") for number in range(20)
    ]
    for somebody in everybody:
        registry.add(somebody)
    for somebody in everybody:
        assert registry.remove(somebody)
        assert not registry.remove(somebody)
    assert (len(registry), registry.user_count()) == (0, 0)
    assert registry._by_user == registry._by_key == registry._by_uuid == {}


def test_what_it_returns_are_copies(registry: Registry[Somebody]) -> None:
    registry.add(Somebody("u1"))
    registry.all().clear()
    registry.of_user("alice").clear()
    registry.of_user("alice", "qq").clear()
    assert len(registry.all()) == len(registry.of_user("alice", "qq")) == 1


def test_of_several_users_with_one_key_the_one_on_the_platform_counts_then_the_latest(
    registry: Registry[Somebody],
) -> None:
    registry.add(Somebody("u1", "alice", "qq"))
    registry.add(Somebody("u2", "bob", "wx"))
    registry.add(Somebody("u3", "carol", "wx"))
    assert registry.user_of_key("key", "qq") == "alice"
    assert registry.user_of_key("key", "wx") == "carol"
    assert registry.user_of_key("key", "telegram") == "carol"
    assert registry.user_of_key("another key", "qq") is None
