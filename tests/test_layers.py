"""The layers of the house, checked: who may import whom, and what the light parts load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "maim_trio"
PURE = [
    "errors.py",
    "message",
    "_wire",
    "_delivery",
    "_transport/frames.py",
    "_transport/large.py",
    "_legacy/message.py",
    "_legacy/convert.py",
    *(f"_legacy/_tcp/{name}.py" for name in ("framing", "crypto", "parser", "registration")),
]
IMPURE = {"trio", "trio_websocket", "socket", "ssl", "time", "random", "uuid", "asyncio", "threading"}
CALLS_OF_OS = {"urandom"}  # the masks of frames need it; nothing else of os is for a pure module


def modules_loaded_by(statement: str) -> set[str]:
    """What a fresh interpreter has loaded after the statement, beyond what it loads by itself."""
    program = f"import sys; before = set(sys.modules); {statement}; print(*(set(sys.modules) - before))"
    # From an empty folder's point of view (-I): what is imported is the installed package, with no help of this one.
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def imported_names(path: Path) -> set[str]:
    """The absolute modules that a file imports anywhere, functions included, and ``os.x`` for every use of os."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.update([f"os.{alias.name}" for alias in node.names] if node.module == "os" else [node.module])
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            names.add(f"os.{node.attr}")
    return names


def pure_files() -> list[Path]:
    files: list[Path] = []
    for part in PURE:
        path = PACKAGE / part
        files += [path] if path.is_file() else sorted(path.rglob("*.py"))
    return files


def test_imports_only_point_down():
    linter = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(linter, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("path", pure_files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_that_decides_knows_no_clock_no_dice_and_no_network(path):
    names = imported_names(path)
    assert not {name.partition(".")[0] for name in names} & IMPURE
    assert {name.partition(".")[2] for name in names if name.startswith("os.")} <= CALLS_OF_OS


def test_the_messages_alone_load_neither_trio_nor_the_network_layer():
    loaded = modules_loaded_by("import maim_trio.message")
    assert "maim_trio.message" in loaded
    assert not {name.partition(".")[0] for name in loaded} & {"trio", "trio_websocket", "wsproto", "asyncio", "ssl"}
    assert not {name for name in loaded if name.startswith(("maim_trio._", "maim_trio.server", "maim_trio.client"))}


def test_a_client_is_imported_without_what_only_a_connection_or_a_durable_outbox_needs():
    loaded = modules_loaded_by("import maim_trio.client")
    assert "trio" in loaded
    slow = {"trio_websocket", "wsproto", "h11", "sqlite3", "tomllib", "asyncio", "http.client", "concurrent.futures"}
    assert not loaded & slow


def test_a_server_is_imported_without_what_only_a_connection_or_a_durable_outbox_needs():
    loaded = modules_loaded_by("import maim_trio.server")
    assert not loaded & {"trio_websocket", "wsproto", "h11", "sqlite3", "tomllib", "asyncio"}


def test_the_root_alone_loads_nothing_of_ours_but_itself():
    assert {name for name in modules_loaded_by("import maim_trio") if name.startswith("maim_trio")} == {"maim_trio"}
