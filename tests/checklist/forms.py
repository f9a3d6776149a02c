"""What introspection shows: one check per kind of row. `FORMS` has every kind that a row may have."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import inspect
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from maim_trio.errors import ConfigError
from tests.checklist import library, observations
from tests.checklist.signatures import actual, documented, spelled

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.checklist.rows import Row


def export(row: Row) -> None:
    """`of` is a module, which exports the name."""
    assert row.name in library.exports(row.of)
    assert getattr(importlib.import_module(row.of), row.name) is not None


def class_of(row: Row) -> None:
    """`of` is a module that exports the class; `bases`: the names of what it is too."""
    assert row.name in library.exports(row.of)
    kind = library.thing(f"{row.of}.{row.name}")
    assert inspect.isclass(kind)
    assert set(row.get("bases", [])) <= {base.__name__ for base in kind.__mro__}


def constructor(row: Row) -> None:
    _same_signature(row, actual(library.thing(row.of)))


def method(row: Row) -> None:
    function = getattr(library.thing(row.of), row.name)
    _same_signature(row, actual(function))
    assert inspect.getdoc(function), f"{row.of}.{row.name} has no docstring"


def function(row: Row) -> None:
    """`of` is the module that exports the function."""
    call = getattr(importlib.import_module(row.of), row.name)
    _same_signature(row, actual(call))
    assert inspect.getdoc(call), f"{row.name} has no docstring"


def attribute(row: Row) -> None:
    """`type`: the name of the class of its value."""
    value = getattr(library.example(row.of), row.name)
    assert fits(value, row["type"]), f"{value!r} is no {row['type']}"


def keyword(row: Row) -> None:
    """`of` is a factory that takes the keyword and gives it to the configuration it makes."""
    make: Callable[..., Any] = library.thing(row.of)
    required = {} if "server" in row.of or "multi" in row.of else {"url": library.URL, "api_key": library.KEY}
    if row.of.endswith("with_connections"):
        required = {"connections": {}}
    if "default" in row.data:
        assert getattr(make(**required), row.name) == ast.literal_eval(row["default"])
    value = ast.literal_eval(row["good"]) if "good" in row.data else print
    assert getattr(make(**{**required, row.name: value}), row.name) == value


def field(row: Row) -> None:
    """A field of a configuration: its type, its default, and that the constructor checks what it is given."""
    kind = library.thing(row.of)
    found = {field.name: field for field in dataclasses.fields(kind)}[row.name]
    ours = row.get("ours_type", row["type"])
    _differs_only_with_a_reason(row, ours, "ours_type")
    assert spelled(str(found.type)) == spelled(ours)
    if row.get("required"):
        assert row.name in library.REQUIRED[row.of]
    else:
        default = ast.literal_eval(row["default"])
        assert getattr(library.example(row.of), row.name) == default
    if row.of in library.CONFIGS:
        _is_checked(row, spelled(ours))


def _is_checked(row: Row, kind: str) -> None:
    good, bad = _values(row, kind)
    made = library.config(row.of, **{row.name: good})
    assert getattr(made, row.name) == good
    if not row.get("fixed"):
        changed, assigned = library.config(row.of), library.config(row.of)
        changed.update({row.name: good})
        setattr(assigned, row.name, good)
        assert getattr(changed, row.name) == getattr(assigned, row.name) == good
    if kind != "Any":
        with pytest.raises(ConfigError, match=rf"\b{row.name}\b"):
            library.config(row.of, **{row.name: bad})


def _values(row: Row, kind: str) -> tuple[Any, Any]:
    """A value that the field takes, and one that it refuses."""
    samples: dict[str, tuple[Any, Any]] = {
        "str": ("/x", 5),
        "bool": (True, "yes"),
        "int": (2000, "many"),
        "float": (1.5, "soon"),
        "Handler": (print, 5),
        "dict[str, str]": ({"a": "b"}, 5),
        "dict[str, Handler]": ({"custom_a": print}, 5),
        "Sequence[str]": (["https://chat.example"], 5),
        "Any": (object(), None),
        "dict[str, ConnectionEntry]": ({"qq": library.config("ConnectionEntry", name="qq")}, 5),
    }
    good, bad = samples[kind.removesuffix(" | None")]
    return (ast.literal_eval(row["good"]) if "good" in row.data else good), bad


def struct_field(row: Row) -> None:
    """A field of a message class: its place, its type, its default."""
    kind = library.thing(row.of)
    assert kind.__struct_fields__[row.position] == row.name
    found = msgspec.structs.fields(kind)[row.position]
    ours = row.get("ours_type", row["type"])
    _differs_only_with_a_reason(row, ours, "ours_type", "optional")
    assert spelled(str(kind.__annotations__.get(row.name) or _inherited(kind, row.name))) == spelled(ours)
    if "default" in row.data:
        default = found.default_factory() if found.default is msgspec.NODEFAULT else found.default
        assert default == ast.literal_eval(row["default"])
    elif not row.get("optional"):
        assert found.required


def _inherited(kind: type[Any], name: str) -> str:
    return next(found[name] for found in map(inspect.get_annotations, kind.__mro__) if name in found)


def key(row: Row) -> None:
    """`of` is a dict that the library hands out; it has the key whenever it was looked at."""
    seen = observations.of(row.of)
    assert seen, f"nobody has seen {row.of}"
    for state, observed in seen.items():
        assert row.name in observed, f"{row.of} has no {row.name} {state}"
        value = observed[row.name]
        assert fits(value, row["type"]), f"{row.name} is {value!r} {state}"


def callback(row: Row) -> None:
    """`of` is the class of the configuration that has the hook; `doc` is how it is called."""
    assert row.name in library.fields_of(library.thing(row.of)) | {"handler"}
    documented(row["doc"])


def internal(row: Row) -> None:
    """A name without underscore that is no part of the API, as `why` says."""
    assert row["why"]
    assert row.name in library.methods_of(library.thing(row.of)) | library.attributes_of(row.of)


def later(row: Row) -> None:
    """What `api.md` promises and is not there yet. Fails once it is there: then its row belongs elsewhere."""
    assert row["why"]
    assert not _is_there(row.of, row.name), f"{row.of} has {row.name} now: give it a row of its own"


def _is_there(of: str, name: str) -> bool:
    if of == "modules":
        return importlib.util.find_spec(name) is not None
    if of in library.MODULES:
        return hasattr(importlib.import_module(of), name)
    if of.endswith("()"):
        return any(name in observed for observed in observations.of(of).values())
    return name in dir(library.thing(of)) or name in library.fields_of(library.thing(of))


def nothing(_row: Row) -> None:
    """What only behaviour shows."""


FORMS: dict[str, Callable[[Row], None]] = {
    "export": export,
    "class": class_of,
    "constructor": constructor,
    "method": method,
    "function": function,
    "attribute": attribute,
    "keyword": keyword,
    "field": field,
    "struct field": struct_field,
    "key": key,
    "callback": callback,
    "internal": internal,
    "later": later,
    "form of a callback": nothing,
    "pattern": nothing,
    "promise": nothing,
}
WITHOUT_BEHAVIOUR = {"export", "class", "keyword", "field", "struct field", "key", "internal", "later"}
"""Kinds whose introspection is enough; rows of all others have to name a behaviour."""


def fits(value: Any, kind: str) -> bool:
    """Whether a value is of a documented type; a bool is no number."""
    kind = spelled(kind)
    if kind.endswith(" | None"):
        return value is None or fits(value, kind.removesuffix(" | None"))
    if kind == "Any":
        return True
    if kind in ("dict[str, str]", "dict[str, bool]"):
        inner = kind[10:-1]
        return isinstance(value, dict) and all(fits(k, "str") and fits(v, inner) for k, v in value.items())
    if kind == "list[str]":
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    return type(value).__name__ == kind.partition("[")[0]


def _same_signature(row: Row, ours: Any) -> None:
    wanted = documented(row["doc"])
    if "ours" not in row.data:
        assert "differs" not in row.data, "a difference without our form"
        assert ours.fits(wanted), f"{ours} is not as documented: {wanted}"
        return
    assert row.get("differs"), "our form without the reason"
    assert not ours.fits(wanted), "our form is the documented one: the difference has gone"
    assert ours.fits(documented(row["ours"])), f"{ours} is not {row['ours']}"


def _differs_only_with_a_reason(row: Row, ours: str, *keys: str) -> None:
    assert any(name in row.data for name in keys) == bool(row.get("differs"))
    if "ours_type" in row.data:
        assert spelled(ours) != spelled(row["type"]), "our type is the documented one: the difference has gone"
