"""Turns the results of `benchmarks.run` into Markdown, alone or into a page.

``python -m benchmarks.report results.json [--write docs/benchmarks.md]``. What stands in the page between the comments
``<!-- results -->`` and ``<!-- end of results -->`` is replaced. `benchmarks.startup` and `benchmarks.instructions` have
places of their own there.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks import measuring
from benchmarks.works import SUBJECTS, WORKS, Goal, Number, Work

BUSY = 0.5
"""Processes for each core, before a benchmark begins, from which on its numbers are worth little."""

Results = dict[str, list[dict[str, float]]]


@dataclass(frozen=True)
class Verdict:
    """What became of a goal: the number that decides, and whether it is reached."""

    value: float
    reached: bool


def values_of(results: Results, subject: str, key: str) -> list[float]:
    """One number of one subject in all turns."""
    return [result[key] for result in results.get(subject, ())]


def ratios(results: Results, number: Number, of: str, against: str) -> list[float]:
    """How many times as good `of` is as `against`, turn by turn: a turn beside the other's nearest. Empty: not measured."""
    ours, theirs = values_of(results, of, number.key), values_of(results, against, number.key)
    if number.more:
        ours, theirs = theirs, ours
    return [other / mine if mine else float("inf") for mine, other in zip(ours, theirs, strict=False)]


def ratio(results: Results, number: Number, of: str, against: str) -> float | None:
    """The median of the ratios. None: one of the two was not measured."""
    return statistics.median(found) if (found := ratios(results, number, of, against)) else None


def judge(goal: Goal, number: Number, results: Results) -> Verdict | None:
    """Whether a goal is reached. None: what it needs was not measured."""
    if goal.against is not None:
        value = ratio(results, number, goal.of, goal.against)
        return None if value is None else Verdict(value, value >= goal.factor)
    values = values_of(results, goal.of, goal.key)
    if not values:
        return None
    median = statistics.median(values)
    return Verdict(median, median >= goal.factor if number.more else median <= goal.factor)


def show(value: float) -> str:
    """Three digits are all that such a number is worth."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def spread(values: list[float], unit: str = "") -> str:
    """Median, and minimum and maximum where there are any."""
    median = show(statistics.median(values)) + unit
    return median if len(values) == 1 else f"{median} ({show(min(values))} to {show(max(values))})"


def goal_text(goal: Goal, number: Number) -> str:
    """The goal in words."""
    stretch = f" (stretch {goal.stretch:g}x)" if goal.stretch else ""
    if goal.against is not None:
        return f"≥ {goal.factor:.3g}x {SUBJECTS[goal.against].title}{stretch}"
    return f"{'≥' if number.more else '≤'} {goal.factor:,g} {number.title}"


def goals_table(works: list[tuple[Work, Results]]) -> str:
    """A row for every goal."""
    lines = ["| work | number | goal | measured | reached |", "|---|---|---|---:|---|"]
    for work, results in works:
        numbers = {number.key: number for number in work.numbers}
        for goal in work.goals:
            number = numbers[goal.key]
            verdict = judge(goal, number, results)
            if verdict is None:
                continue
            who = "" if goal.of in ("ours", "our client") else f" ({SUBJECTS[goal.of].title})"
            measured = show(verdict.value)
            if goal.against is not None:
                measured = spread(ratios(results, number, goal.of, goal.against), "x")
            reached = "yes" if verdict.reached else "**no**"
            lines.append(f"| {work.name}{who} | {number.title} | {goal_text(goal, number)} | {measured} | {reached} |")
    return "\n".join(lines)


def numbers_table(works: list[tuple[Work, Results]]) -> str:
    """A row for every subject and number, with what ours is against it."""
    lines = ["| work | number | subject | median (min to max) | ours is better by |", "|---|---|---|---:|---:|"]
    for work, results in works:
        first = next(iter(results))
        for number in work.numbers:
            for subject in results:
                against = ratio(results, number, first, subject)
                share = "" if subject == first or against is None else f"{show(against)}x"
                values = values_of(results, subject, number.key)
                title = SUBJECTS[subject].title
                lines.append(f"| {work.name} | {number.title} | {title} | {spread(values)} | {share} |")
    return "\n".join(lines)


def measured_on() -> str:
    """Date and machine of now, in one sentence."""
    return _place_and_date({"date": date.today().isoformat(), "load": measuring.load(), "machine": measuring.machine()})


def _place_and_date(facts: dict[str, Any]) -> str:
    machine = facts["machine"]
    load = facts.get("load", 0.0)
    busy = f" **The machine was busy ({load:.1f} processes for each core): do not rely on it.**" if load > BUSY else ""
    where = f"{machine['processor']}, {machine['cores']} cores, {machine['memory']}, {machine['system']}"
    return f"Measured on {facts['date']}: {where}.{busy}"


def circumstances(results: dict[str, Any]) -> str:
    """Date, machine and versions in one paragraph."""
    used = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    turns = f"{results['turns']} turns of " if "turns" in results else ""
    rounds = f"{results['rounds']} round{'s' if results['rounds'] != 1 else ''} of {turns}{results['seconds']:g} s"
    return f"{_place_and_date(results)} {rounds}. {used}."


def tables(results: dict[str, Any]) -> str:
    """Everything that is said of a result file."""
    by_name = {work.name: work for work in WORKS}
    works = [(by_name[entry["name"]], entry["results"]) for entry in results["works"] if entry["name"] in by_name]
    return "\n\n".join([
        circumstances(results), "### Goals", goals_table(works), "### All numbers", numbers_table(works)
    ])  # fmt: skip


def written_into(page: str, place: str, text: str) -> str:
    """The page with `text` between the two comments that name the place. ValueError: it has no such place."""
    begin, end = f"<!-- {place} -->", f"<!-- end of {place} -->"
    before, found, rest = page.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found or not found_end:
        raise ValueError(f"the page has no place for {place}: {begin} … {end}")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def write(path: Path, place: str, text: str) -> None:
    """Puts `text` into its place in a page."""
    path.write_text(written_into(path.read_text(encoding="utf-8"), place, text), encoding="utf-8")


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--write", type=Path, help="the page to write the tables into")
    arguments = parser.parse_args()
    text = tables(json.loads(arguments.results.read_text(encoding="utf-8")))
    if arguments.write is None:
        print(text)
    else:
        write(arguments.write, "results", text)


if __name__ == "__main__":
    main()
