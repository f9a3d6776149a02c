"""Lines in and out, over real pipes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from maim_trio._cli import lines
from maim_trio._cli.failure import CommandError
from maim_trio._cli.lines import LineReader, LineWriter, OutputClosed

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for descriptor in ends:
        try:
            os.close(descriptor)
        except OSError:
            continue  # the test has closed it already


async def test_lines_come_one_by_one_however_they_were_written(pipe):
    reader = LineReader(pipe[0])
    os.write(pipe[1], "一\nsecond\r\n\nlast".encode())
    assert [await reader.next() for _ in range(3)] == ["一".encode(), b"second", b""]
    os.write(pipe[1], b" one")
    os.close(pipe[1])
    assert await reader.next() == b"last one"
    assert await reader.next() is None
    assert await reader.next() is None


async def test_waiting_for_a_line_lets_others_run_and_can_be_cancelled(pipe, nursery):
    reader = LineReader(pipe[0])
    got: list[bytes | None] = []

    async def wait() -> None:
        got.append(await reader.next())

    nursery.start_soon(wait)
    await trio.testing.wait_all_tasks_blocked()
    os.write(pipe[1], b"late\n")
    with trio.fail_after(10):
        while not got:
            await trio.lowlevel.checkpoint()
    assert got == [b"late"]
    nursery.start_soon(wait)
    await trio.testing.wait_all_tasks_blocked()
    nursery.cancel_scope.cancel()


async def test_a_line_without_end_is_refused(pipe):
    os.write(pipe[1], b"x" * 2000)
    with pytest.raises(CommandError, match="longer than 1000 bytes"):
        await LineReader(pipe[0], max_line=1000).next()


async def test_what_cannot_be_read_is_an_error_of_the_command(tmp_path):
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(CommandError, match="cannot read stdin: Is a directory"):
            await LineReader(descriptor).next()
    finally:
        os.close(descriptor)


async def test_objects_leave_as_one_line_each(pipe):
    writer = LineWriter(pipe[1])
    await writer.write({"text": "你好\n"})
    await writer.write({"big": 2**80})
    assert os.read(pipe[0], 1000) == '{"text":"你好\\n"}\n{"big":1208925819614629174706176}\n'.encode()


async def test_long_lines_of_several_tasks_do_not_mix(pipe, nursery):
    writer, reader = LineWriter(pipe[1]), LineReader(pipe[0])
    for letter in "abc":
        nursery.start_soon(writer.write, {letter: letter * 200_000})
    with trio.fail_after(10):
        got = {await reader.next() for _ in range(3)}
    assert got == {f'{{"{letter}":"{letter * 200_000}"}}'.encode() for letter in "abc"}


async def test_a_reader_that_has_gone_is_told_apart(pipe):
    os.close(pipe[0])
    with pytest.raises(OutputClosed):
        await LineWriter(pipe[1]).write({})


async def test_a_full_device_is_an_error_of_the_command():
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(CommandError, match="cannot write to stdout: No space left"):
            await LineWriter(descriptor).write({})
    finally:
        os.close(descriptor)


def test_a_program_started_without_stdin_or_stdout_says_so(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    monkeypatch.setattr("sys.stdout", None)
    with pytest.raises(CommandError, match="no stdin"):
        lines.stdin_lines()
    with pytest.raises(CommandError, match="no stdout"):
        lines.stdout_lines()
