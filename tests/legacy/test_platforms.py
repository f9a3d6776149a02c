"""Who is connected, by platform."""

from __future__ import annotations

from dataclasses import dataclass, field

from maim_trio._legacy.platforms import RIVALRY_LIMIT, RIVALRY_WINDOW, Platforms, Rivalry


@dataclass(eq=False)
class Member:
    platform: str = "qq"
    rivalry: Rivalry = field(default_factory=Rivalry)


def test_the_newer_connection_of_a_platform_wins():
    platforms, old, new = Platforms(), Member(), Member()
    assert platforms.add(old, 0.0) == (None, False)
    assert platforms.add(new, 1.0) == (old, False)
    assert platforms.get("qq") is new
    assert platforms.all() == [new]
    assert len(platforms) == 1


def test_the_end_of_a_replaced_one_leaves_its_successor_alone():
    platforms, old, new = Platforms(), Member(), Member()
    platforms.add(old, 0.0)
    platforms.add(new, 1.0)
    assert platforms.remove(old) is False
    assert platforms.get("qq") is new
    assert platforms.remove(new) is True
    assert platforms.remove(new) is False
    assert (platforms.get("qq"), platforms.all(), platforms.named()) == (None, [], [])


def test_those_without_a_platform_are_many_and_have_no_name():
    platforms, members = Platforms(), [Member("unknown") for _ in range(3)]
    for member in members:
        assert platforms.add(member, 0.0) == (None, False)
    assert platforms.all() == members
    assert platforms.get("unknown") is None
    assert platforms.named() == []
    assert platforms.remove(members[1])
    assert platforms.all() == [members[0], members[2]]


def test_platforms_do_not_touch_each_other():
    platforms, qq, wechat = Platforms(), Member("qq"), Member("wechat")
    platforms.add(qq, 0.0)
    platforms.add(wechat, 0.0)
    platforms.remove(qq)
    assert platforms.named() == [wechat]


def fights(times):
    platforms = Platforms()
    platforms.add(Member(), 0.0)
    return [now for now in times if platforms.add(Member(), now)[1]]


def test_a_fight_is_told_once():
    assert fights(range(1, 100)) == [RIVALRY_LIMIT + 1]


def test_after_some_peace_it_is_another_fight():
    again = 99 + RIVALRY_WINDOW
    assert fights([*range(1, 100), again, again + 1, again + 2, again + 3]) == [RIVALRY_LIMIT + 1, again + 3]


def test_a_platform_that_moves_now_and_then_fights_with_nobody():
    assert fights([number * RIVALRY_WINDOW / RIVALRY_LIMIT for number in range(100)]) == []
    assert fights([number * RIVALRY_WINDOW for number in range(100)]) == []
