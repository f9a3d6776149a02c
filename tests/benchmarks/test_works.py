"""What is to be measured fits together, and one real measurement of each kind."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import pytest

from benchmarks import run
from benchmarks.measuring import (
    HERE,
    Measurement,
    command,
    environment,
    free_port,
    generator,
    machine,
    measure,
    wait_listening,
)
from benchmarks.works import BESIDE, CURVES, MAIN, SUBJECTS, WORKS


def test_every_script_is_a_subject_and_every_subject_has_a_script():
    scripts = {path.name for path in (HERE / "subjects").iterdir() if path.is_file()}
    assert {subject.script for subject in SUBJECTS.values()} == scripts - {"by_hand.py"}


def test_works_have_names_of_their_own():
    assert len({work.name for work in WORKS}) == len(WORKS)


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.name)
def test_a_goal_is_about_a_number_and_subjects_that_are_measured(work):
    assert {*work.subjects, *work.beside} <= SUBJECTS.keys()
    for goal in work.goals:
        assert goal.key in {number.key for number in work.numbers}
        assert goal.of in work.subjects
        assert goal.against is None or goal.against in work.subjects


def test_a_work_that_is_not_timed_says_itself_how_long_it_takes():
    for work in WORKS:
        assert work.timed != ("--seconds" in generator(work, 1, 2.0)[: 2 + len(work.load)])


@pytest.mark.parametrize("curve", CURVES, ids=lambda curve: curve.name)
def test_a_curve_grows_and_each_point_is_a_work_of_its_own(curve):
    assert list(curve.values) == sorted(set(curve.values))
    assert len({curve.work(value).load for value in curve.values}) == len(curve.values)
    assert curve.subjects.keys() <= SUBJECTS.keys()


def test_subjects_run_on_the_core_that_the_generator_leaves_alone():
    assert command(SUBJECTS["ours"], "echo", "1")[:3] == ["taskset", "-c", "0"]
    assert "--core 1" in " ".join(generator(WORKS[0], 1, 2.0))


def test_only_our_own_subjects_see_our_package():
    assert environment(SUBJECTS["ours"])["PYTHONPATH"] == str(HERE.parent)
    assert environment(SUBJECTS["peer"])["PYTHONPATH"] == ""


def test_the_machine_is_described():
    assert set(machine()) == {"processor", "cores", "memory", "system"}
    assert all(machine().values())


def test_waiting_for_a_subject_that_has_ended_ends_the_benchmark():
    def check():
        raise SystemExit("a subject ended")

    with pytest.raises(SystemExit, match="ended"):
        wait_listening(free_port(), check)


class Pretended:
    """A measurement of nothing, which notes whose turn it was."""

    turns: ClassVar[list[str]] = []

    def __init__(self, name, *_):
        self.name = name

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.turns.append(f"end of {self.name}")

    def turn(self):
        self.turns.append(self.name)
        return {"us": 1.0, "idle_percent": 0.0}


@pytest.fixture
def turns(monkeypatch):
    monkeypatch.setattr(run, "Measurement", Pretended)
    monkeypatch.setattr(run, "measure", lambda *arguments: Pretended(*arguments).turn())
    monkeypatch.setattr(Pretended, "turns", [])
    return Pretended.turns


def test_subjects_take_turns_to_and_fro_and_what_stands_beside_does_so_in_the_first_round(turns):
    work = next(work for work in WORKS if work.beside == BESIDE and work.subjects == MAIN)
    results = run.run(work, 2, 2, [], beside=True)
    first, second = [*MAIN, *BESIDE], [*MAIN]
    assert [name for name in turns if not name.startswith("end")] == [*first, *first[::-1], *second, *second[::-1]]
    assert [len(numbers) for numbers in results["results"].values()] == [4] * len(MAIN) + [2] * len(BESIDE)


def test_what_cannot_take_turns_is_measured_alone_in_more_rounds(turns):
    work = next(work for work in WORKS if not work.turns and work.subjects == MAIN)
    results = run.run(work, 2, 5, [], beside=False)
    assert turns == [*MAIN] * 2 * run.ALONE
    assert [len(numbers) for numbers in results["results"].values()] == [2 * run.ALONE] * len(MAIN)


def test_a_work_has_no_more_rounds_than_it_wants(turns):
    work = next(work for work in WORKS if work.most_rounds == 1)
    assert [len(rounds) for rounds in run.run(work, 5, 3, [], beside=False)["results"].values()] == [1, 1]


def test_a_server_and_a_client_are_measured_turn_by_turn():
    pytest.importorskip("picows", reason="the dependency group `bench` is not installed")
    echo = next(work for work in WORKS if "ours" in work.subjects)
    clients = next(work for work in WORKS if "our client" in work.subjects)
    for name, work in (("ours", echo), ("our client", clients)):
        with Measurement(name, work, 0.2, []) as measurement:
            for _ in range(2):
                numbers = measurement.turn()
                assert numbers["per_second"] > 0
                assert {number.key for number in work.numbers} <= numbers.keys()


def test_clients_that_send_are_measured():
    pytest.importorskip("picows", reason="the dependency group `bench` is not installed")
    work = next(work for work in WORKS if work.load[0] == "sink")
    numbers = measure("our senders, durable", work, 0.2, [])
    assert numbers["per_second"] > 0
    assert {number.key for number in work.numbers} <= numbers.keys()


def test_a_subject_that_ends_says_why():
    pytest.importorskip("picows", reason="the dependency group `bench` is not installed")
    unknown = replace(WORKS[0], server="juggling")
    with pytest.raises(SystemExit, match="juggling"), Measurement("ours", unknown, 0.2, []):
        pytest.fail("it runs")


def test_a_load_that_fails_says_why():
    pytest.importorskip("picows", reason="the dependency group `bench` is not installed")
    unknown = replace(WORKS[0], load=("echo", "--juggle"))
    with pytest.raises(SystemExit, match="--juggle"), Measurement("ours", unknown, 0.2, []):
        pytest.fail("it runs")
