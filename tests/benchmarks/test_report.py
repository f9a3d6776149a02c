"""The tables say what the results say, and a goal is reached or not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.report import Verdict, judge, ratio, ratios, written_into
from benchmarks.works import MICROSECONDS, RATE, WORKS, Goal

ROOT = Path(__file__).resolve().parents[2]
WORK = WORKS[0]
BEGIN, END = "<!-- results -->", "<!-- end of results -->"


def rounds(*numbers: tuple[float, float]) -> list[dict[str, float]]:
    return [{"us": us, "per_second": per_second} for us, per_second in numbers]


RESULTS = {
    "ours": rounds((10.0, 90_000.0), (14.0, 70_000.0), (11.0, 80_000.0)),
    "peer": rounds((132.0, 7000.0), (100.0, 8000.0), (140.0, 7500.0)),
    "ours, durable": rounds((20.0, 19_000.0)),
    "picows": rounds((10.0, 90_000.0)),
}


def result_file(**changes):
    return {
        "date": "2026-01-02",
        "machine": {"processor": "a processor", "cores": "2", "memory": "8 GiB", "system": "Linux 6"},
        "versions": {"Python": "3.11.7", "trio": "0.35.0"},
        "rounds": 3,
        "seconds": 2.5,
        "works": [{"name": WORK.name, "results": RESULTS}],
        **changes,
    }


def test_a_ratio_of_costs_says_how_many_times_as_good_the_first_is_in_the_median_turn():
    assert ratios(RESULTS, MICROSECONDS, "ours", "peer") == [132.0 / 10.0, 100.0 / 14.0, 140.0 / 11.0]
    assert ratio(RESULTS, MICROSECONDS, "ours", "peer") == 140.0 / 11.0
    assert ratio(RESULTS, MICROSECONDS, "peer", "ours") == 11.0 / 140.0


def test_a_turn_is_compared_with_the_turn_beside_it():
    assert ratios(RESULTS, MICROSECONDS, "ours", "picows") == [1.0]
    assert ratios(RESULTS, MICROSECONDS, "picows", "ours") == [1.0]


def test_a_ratio_of_rates_is_the_other_way_round():
    assert ratio(RESULTS, RATE, "ours", "peer") == 80_000.0 / 7500.0
    assert max(ratios(RESULTS, RATE, "ours", "peer")) == 90_000.0 / 7000.0


def test_there_is_no_ratio_to_what_was_not_measured():
    assert ratio(RESULTS, MICROSECONDS, "ours", "node") is None
    assert judge(Goal("us", 1.0, "node"), MICROSECONDS, RESULTS) is None
    assert judge(Goal("us", 1.0, of="node"), MICROSECONDS, RESULTS) is None


def test_what_costs_nothing_is_better_by_any_factor():
    assert ratio({"ours": [{"us": 0.0}], "peer": [{"us": 1.0}]}, MICROSECONDS, "ours", "peer") == float("inf")


@pytest.mark.parametrize(
    ("goal", "number", "verdict"),
    [
        (Goal("us", 12.7, "peer"), MICROSECONDS, Verdict(140.0 / 11.0, True)),
        (Goal("us", 12.8, "peer"), MICROSECONDS, Verdict(140.0 / 11.0, False)),
        (Goal("us", 11.0), MICROSECONDS, Verdict(11.0, True)),
        (Goal("us", 10.9), MICROSECONDS, Verdict(11.0, False)),
        (Goal("per_second", 20_000, of="ours, durable"), RATE, Verdict(19_000.0, False)),
        (Goal("per_second", 19_000, of="ours, durable"), RATE, Verdict(19_000.0, True)),
    ],
)
def test_a_goal_is_judged(goal, number, verdict):
    assert judge(goal, number, RESULTS) == verdict


def test_the_table_of_goals_has_a_row_for_each_that_could_be_judged():
    lines = report.goals_table([(WORK, RESULTS)]).splitlines()
    assert lines[2:] == [
        f"| {WORK.name} | µs CPU per message | ≥ 12x maim_message 0.6.8 (stretch 18x) | 12.7x (7.14 to 13.2) | yes |",
        f"| {WORK.name} | µs CPU per message | ≥ 1x picows on uvloop | 1x | yes |",
        f"| {WORK.name} (maim_trio, durable) | messages/s | ≥ 20,000 messages/s | 19,000 | **no** |",
    ]


def test_the_table_of_numbers_has_medians_with_minimum_and_maximum():
    lines = report.numbers_table([(WORK, RESULTS)]).splitlines()
    assert lines[2] == f"| {WORK.name} | µs CPU per message | maim_trio | 11 (10 to 14) |  |"
    assert lines[3] == f"| {WORK.name} | µs CPU per message | maim_message 0.6.8 | 132 (100 to 140) | 12.7x |"
    assert f"| {WORK.name} | messages/s | maim_trio, durable | 19,000 | 4.74x |" in lines


@pytest.mark.parametrize(("value", "shown"), [(0.0123, "0.0123"), (11.04, "11"), (123.4, "123"), (1234.5, "1,234")])
def test_numbers_have_the_digits_they_deserve(value, shown):
    assert report.show(value) == shown


def test_date_machine_and_versions_are_told():
    said = report.circumstances(result_file())
    assert said.startswith("Measured on 2026-01-02: a processor, 2 cores, 8 GiB, Linux 6. 3 rounds of 2.5 s.")
    assert "trio 0.35.0" in said
    assert "1 round of 6 turns of 0.5 s." in report.circumstances(result_file(rounds=1, turns=6, seconds=0.5))


def test_numbers_of_a_busy_machine_say_so():
    assert "busy" not in report.circumstances(result_file(load=0.1))
    assert "**The machine was busy (3.0 processes for each core)" in report.circumstances(result_file(load=3.0))


def test_works_that_are_no_longer_known_are_left_out():
    assert "juggling" not in report.tables(result_file(works=[{"name": "juggling", "results": RESULTS}]))


def test_the_tables_replace_what_stood_in_the_page_and_nothing_else():
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    written = written_into(page, "results", "new")
    assert written == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    assert written_into(written, "results", "new") == written


@pytest.mark.parametrize("page", ["nothing", BEGIN, END, f"{END} {BEGIN}", "<!-- counts --><!-- end of counts -->"])
def test_a_page_without_a_place_for_results_is_not_touched(page):
    with pytest.raises(ValueError, match="no place"):
        written_into(page, "results", "new")


def test_the_program_writes_the_tables_into_a_page(tmp_path):
    results, page = tmp_path / "results.json", tmp_path / "page.md"
    results.write_text(json.dumps(result_file()), encoding="utf-8")
    page.write_text(f"{BEGIN}\n{END}\n", encoding="utf-8")
    program = [sys.executable, "-m", "benchmarks.report", str(results), "--write", str(page)]
    subprocess.run(program, check=True, cwd=ROOT)
    assert report.tables(result_file()) in page.read_text(encoding="utf-8")
