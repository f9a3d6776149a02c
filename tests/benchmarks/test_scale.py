"""The curves and their pictures."""

from __future__ import annotations

import pytest

from benchmarks import scale
from benchmarks.works import CURVES, KIB, MIB

POINTS = {"1000": [12.0, 10.0, 11.0], "10": [9.0], "100": [9.0, 11.0]}


def test_a_line_goes_through_the_medians_in_the_order_of_the_parameter():
    values, medians, least, most = scale.line(POINTS)
    assert values == [10, 100, 1000]
    assert medians == [9.0, 10.0, 11.0]
    assert least == [9.0, 9.0, 10.0]
    assert most == [9.0, 11.0, 12.0]


@pytest.mark.parametrize(
    ("value", "text"), [(100, "100"), (KIB, "1k"), (10 * KIB, "10k"), (10_000, "10k"), (16 * MIB, "16M"), (992, "992")]
)
def test_the_axis_has_short_numbers(value, text):
    assert scale.short(value) == text


def test_subjects_take_turns_at_each_point_up_to_what_they_can_bear(monkeypatch):
    measured = []
    monkeypatch.setattr(scale, "measure", lambda name, work, *_: measured.append((name, work.name)) or {"us": 1.0})
    curve = CURVES[0]
    points = scale.run(curve, 2, [])
    assert {name for name, work in measured if work == f"{curve.name} {curve.values[-1]}"} == {"ours", "picows"}
    assert measured[:3] == [(name, f"{curve.name} {curve.values[0]}") for name in curve.subjects]
    assert points["ours"][str(curve.values[0])] == [1.0, 1.0]


def test_the_same_points_are_the_same_picture(tmp_path):
    pytest.importorskip("matplotlib", reason="the dependency group `bench` is not installed")
    pictures = [scale.draw(CURVES[0], {"ours": POINTS, "peer": {}}, tmp_path / name) for name in ("one", "two")]
    first, second = (picture.read_text(encoding="utf-8") for picture in pictures)
    assert first == second
    assert "<svg" in first
    assert len(first) < 100_000
