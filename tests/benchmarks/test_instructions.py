"""What one message costs, counted: no count is above its ceiling, and the counting counts.

When one of the first tests fails, a change has made messages more expensive. ``python -m benchmarks.instructions``
shows all counts, ``--functions pipelined`` what a message goes through, and ``--write`` sets new ceilings.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import trio

from benchmarks import instructions, lockstep
from benchmarks.lockstep import Load

ROOT = Path(__file__).resolve().parents[2]
SMALL = Load(connections=2, outstanding=2)
ROUNDS = 10
MESSAGES = SMALL.delivered * ROUNDS


@pytest.mark.parametrize("name", instructions.LOADS)
def test_a_message_costs_no_more_than_its_ceiling(name):
    # In an interpreter of its own: pytest's plugins change trio's scheduler, and coverage traces, too.
    program = [sys.executable, "-m", "benchmarks.instructions", "--json", name]
    done = subprocess.run(program, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    ceilings = instructions.read_ceilings()
    same = all(ceilings[what] == version for what, version in instructions.versions().items())
    assert instructions.exceeded(json.loads(done.stdout)[name], ceilings[name], same_versions=same) == {}


def test_every_message_of_a_load_is_handled_in_a_task_of_its_own():
    handled = []

    async def handler(server, message):
        handled.append(message.message_segment.data)
        await lockstep.echo(server, message)

    counts, functions = instructions.count_calls(SMALL, ROUNDS, handler)
    assert len(handled) == SMALL.sent * (lockstep.WARM_UP + ROUNDS)
    assert set(handled) == {"x" * SMALL.size}
    sends = sum(count for name, count in functions.items() if name.endswith("WebSocketServer.send_message"))
    assert sends >= MESSAGES
    assert counts["calls"] == sum(functions.values())


def test_a_checkpoint_more_is_a_checkpoint_and_a_step_more():
    async def with_checkpoint(server, message):
        await lockstep.echo(server, message)
        await trio.lowlevel.checkpoint()

    plain, _ = instructions.count_calls(SMALL, ROUNDS)
    more, _ = instructions.count_calls(SMALL, ROUNDS, with_checkpoint)
    assert more["checkpoints"] - plain["checkpoints"] >= MESSAGES * 0.9
    assert more["steps"] - plain["steps"] >= MESSAGES * 0.9
    assert more["calls"] > plain["calls"]


def test_two_runs_count_the_same_but_for_the_order_of_a_tick():
    first, second = (instructions.count_calls(SMALL, ROUNDS)[0] for _ in range(2))
    for key in ("calls", "c_calls", "syscalls", "steps"):
        assert first[key] == pytest.approx(second[key], rel=0.05)


def test_bytecode_is_counted_without_that_of_the_clients():
    one, two = (instructions.count_opcodes(Load(1, outstanding), ROUNDS) for outstanding in (1, 8))
    assert two > one > 0
    assert two / 8 < one  # what belongs to the round is shared by its messages


def test_a_large_message_is_not_held_more_often_than_its_ceiling_says():
    assert 1.0 < instructions.count_copies(Load(1, 1, size=256 * 1024), 2) < 20.0


def test_a_count_above_its_ceiling_is_named():
    ceilings = {"steps": 1.0, "calls": 100.0}
    assert instructions.exceeded({"steps": 1.5, "calls": 90.0}, ceilings, same_versions=True) == {"steps": "1.5 > 1"}


def test_what_the_interpreter_decides_is_held_only_for_the_versions_it_was_counted_with():
    ceilings = {"steps": 1.0, "calls": 100.0}
    above = {"steps": 1.0, "calls": 120.0}
    assert instructions.exceeded(above, ceilings, same_versions=False) == {}
    assert instructions.exceeded(above, ceilings, same_versions=True) == {"calls": "120 > 100"}


def test_written_ceilings_hold_what_was_counted():
    counts = {"steps": 1.25, "epoll_ctl": 0.0, "calls": 240.0}
    written = tomllib.loads(instructions.ceilings_of({"pipelined": counts}))
    assert {what: written[what] for what in ("python", "trio")} == instructions.versions()
    assert written["pipelined"].keys() == counts.keys()
    assert all(counts[key] < ceiling < counts[key] * 1.1 + 0.1 for key, ceiling in written["pipelined"].items())


def test_the_table_has_a_row_for_each_count():
    lines = instructions.table({"pipelined": {"steps": 1.25}, "large": {"copies": 6.5}}, {"large": {"copies": 7.0}})
    assert "| times that trio ran a task (`steps`) | 1.25 (≤ none) |  |" in lines
    assert "| bytes held at the peak, per byte of the message (`copies`) |  | 6.5 (≤ 7.0) |" in lines
