"""What docs/api.md says about names, signatures and defaults, and where links lead, held against the truth."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import TYPE_CHECKING, Any

import pytest

import maim_trio
import maim_trio.client
import maim_trio.client_factory
import maim_trio.errors
import maim_trio.message
import maim_trio.server
from tests.documents import ROOT, blocks_of, documents

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REFERENCE = ROOT / "docs" / "api.md"
MODULES = [maim_trio, maim_trio.message, maim_trio.server, maim_trio.client, maim_trio.client_factory, maim_trio.errors]
PUBLIC = {name: getattr(module, name) for module in MODULES for name in module.__all__}
CONFIGS = ["ServerConfig", "ClientConfig", "MultiClientConfig"]


def rows() -> Iterator[tuple[str, list[str]]]:
    """The cells of all rows of all tables, and the heading that each stands under."""
    heading = ""
    for line in REFERENCE.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("|") and not line.startswith("|---"):
            yield heading, [cell.strip() for cell in line.strip("|").split("|")]


def documented_calls() -> list[tuple[str, str]]:
    """(owner, signature) of each call in a table; the owner is a class, or "" for a function."""
    calls = []
    for heading, cells in rows():
        owners = [name for name in quoted(heading) if name in PUBLIC] or [""]
        calls += [(owner, call) for owner in owners for call in quoted(cells[0]) if "(" in call]
    return calls


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def signature_of(function: Any) -> str:
    """As the reference writes it: without annotations and self."""
    signature = inspect.signature(function)
    empty = inspect.Parameter.empty
    parameters = [p.replace(annotation=empty) for p in signature.parameters.values() if p.name != "self"]
    return str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty))


@pytest.mark.parametrize(("owner", "call"), documented_calls())
def test_a_documented_call_has_this_signature(owner, call):
    name, _, rest = call.partition("(")
    function = PUBLIC[name] if owner in ("", name) else getattr(PUBLIC[owner], name)
    assert f"({rest}" == signature_of(function)


def test_what_has_to_be_awaited_is_marked():
    for heading, cells in rows():
        for owner in (name for name in quoted(heading) if name in PUBLIC):
            for call in quoted(cells[0]):
                function = getattr(PUBLIC[owner], call.partition("(")[0], None)
                if "(" in call and function is not None:
                    assert cells[0].startswith("async ") == inspect.iscoroutinefunction(function), call


def test_every_exported_name_is_documented():
    text = REFERENCE.read_text(encoding="utf-8")
    assert {name for name in PUBLIC if not re.search(rf"`{name}[`(]", text)} == set()


@pytest.mark.parametrize("name", CONFIGS)
def test_the_fields_of_a_configuration_and_their_defaults_are_documented(name):
    documented = {
        quoted(cells[0])[0]: quoted(cells[1])[0]
        for heading, cells in rows()
        if heading == f"`{name}` fields" and cells[0] != "field"
    }
    assert documented == {field.name: repr(default_of(field)) for field in dataclasses.fields(PUBLIC[name])}


def default_of(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


@pytest.mark.parametrize(("chapter", "module"), [("Messages", maim_trio.message), ("Legacy messages", maim_trio)])
def test_the_fields_of_the_messages_are_documented(chapter, module):
    documented = [cells for heading, cells in rows() if heading == chapter][1:]
    assert documented
    for cells in documented:
        cls = getattr(module, quoted(cells[0])[0])
        expected = signature_of(cls).strip("()").replace("<factory>", "True").split(", ")
        assert quoted(cells[1]) == expected


def test_every_statistic_is_documented():
    documented = {name for heading, cells in rows() if heading == "Stats" for name in quoted(cells[0])}
    server, multi = maim_trio.server.WebSocketServer(), maim_trio.client.WebSocketMultiClient()
    client = maim_trio.client_factory.create_client("ws://localhost/ws", "key")
    assert documented == {*server.get_stats(), *client.get_stats(), *multi.get_stats()}


def test_the_status_of_the_tasks_is_documented_key_by_key():
    server, multi = maim_trio.server.WebSocketServer(), maim_trio.client.WebSocketMultiClient()
    client = maim_trio.client_factory.create_client("ws://localhost/ws", "key")
    for known in (server, client, multi):
        described = [
            quoted(cells[2])
            for heading, cells in rows()
            if heading == f"`{type(known).__name__}`" and "get_coroutine_status()" in cells[0]
        ]
        assert described == [list(known.get_coroutine_status())]


def test_the_modules_that_the_design_names_are_there():
    table = (ROOT / "docs" / "design.md").read_text(encoding="utf-8").partition("| package |")[2].partition("\n\n")[0]
    missing = []
    for line in table.splitlines()[2:]:
        package, *modules = quoted(line)
        missing += [module for module in modules if not (ROOT / "maim_trio" / package / f"{module}.py").is_file()]
    assert missing == []


# -- links


def anchors_of(path: Path) -> set[str]:
    """What GitHub makes of the headings."""
    code = {number for block in blocks_of(path) for number in range(block.line, block.line + block.code.count("\n"))}
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    headings = [line.lstrip("# ") for number, line in lines if line.startswith("#") and number not in code]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def links() -> list[tuple[Path, str]]:
    return [
        (path, link)
        for path in documents()
        for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8"))
        if not link.startswith("https://")
    ]


@pytest.mark.parametrize(("path", "link"), links(), ids=str)
def test_a_link_leads_somewhere(path, link):
    name, _, anchor = link.partition("#")
    target = (path.parent / name).resolve() if name else path
    assert target.exists()
    if anchor:
        assert anchor in anchors_of(target)


def test_the_changelog_knows_this_version():
    assert f"## [{maim_trio.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
