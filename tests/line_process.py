"""A program that answers each line of JSON on its standard input with one on its standard output."""

from __future__ import annotations

import json
import subprocess
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class LineProcess:
    """The running program."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._to_it = cast("IO[str]", process.stdin)
        self._from_it = cast("IO[str]", process.stdout)

    def ask(self, *questions: Any) -> list[Any]:
        """What it answers to each. All are written before an answer is read: they have to fit into a pipe."""
        self._to_it.writelines(json.dumps(question) + "\n" for question in questions)
        self._to_it.flush()
        return [json.loads(self._from_it.readline()) for _ in questions]


@contextmanager
def line_process(python: Path, script: Path) -> Iterator[LineProcess]:
    """The script under this interpreter, for as long as the body runs."""
    command = [str(python), "-I", str(script)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield LineProcess(process)
