"""The command line of maim_trio: ``python -m maim_trio`` and ``maim-trio``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from maim_trio._cli.arguments import PROGRAM, build_parser
from maim_trio._cli.failure import CommandError
from maim_trio._cli.logs import tell

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Returns its exit status; what keeps it from being run is one line on stderr and status 2."""
    try:
        arguments = build_parser().parse_args(argv)
        # Only now: asking for help must not cost the loading of the network layer.
        command = importlib.import_module(f"maim_trio._cli.{arguments.command}")
        status: int = getattr(command, arguments.command)(arguments)
    except CommandError as error:
        tell(f"{PROGRAM}: {error}")
        return error.status
    except KeyboardInterrupt:
        return 130
    return status
