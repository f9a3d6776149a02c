"""What importing costs is measured in fresh interpreters."""

from __future__ import annotations

from benchmarks import startup


def test_an_import_costs_more_than_none(tmp_path):
    cache = str(tmp_path)
    for statement in ("pass", "import trio"):
        startup.cpu_seconds(statement, cache)  # compiles
    empty = min(startup.cpu_seconds("pass", cache) for _ in range(3))
    assert 0 < empty < min(startup.cpu_seconds("import trio", cache) for _ in range(3))
    assert list(tmp_path.rglob("*.pyc"))


def test_the_table_compares_the_medians_with_the_goals():
    lines = startup.table({"trio": [90.0, 80.0, 100.0], "maim_trio.message": [41.0, 30.0, 39.0]}).splitlines()
    assert lines[2] == "| `trio` | 80 ms | 90 ms | 100 ms |  |  |"
    assert lines[3] == "| `maim_trio.message` | 30 ms | 39 ms | 41 ms | 40 ms | yes |"
