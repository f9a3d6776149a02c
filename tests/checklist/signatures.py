"""Signatures as the documents write them, and as Python tells them, in one spelling."""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_LOWER = {"Dict": "dict", "List": "list", "Set": "set", "Tuple": "tuple", "Mapping": "dict", "Callable": "Handler"}
"""Names for the same thing. A parameter that is documented as a dict takes any mapping."""

ANY_DEFAULT = "…"


@dataclass(frozen=True)
class Parameter:
    """`default` is a Python expression, None when there is none; `annotation` is None when none was written."""

    name: str
    kind: str
    annotation: str | None
    default: str | None

    def fits(self, documented: Parameter) -> bool:
        """Whether this is the documented parameter. What takes all further keywords may have any name."""
        if self.kind == "**" == documented.kind:
            return True
        annotated = documented.annotation is None or self.annotation == documented.annotation
        same = (self.name, self.kind, self.default) == (documented.name, documented.kind, documented.default)
        return annotated and same


@dataclass(frozen=True)
class Signature:
    """What a caller has to know of a function."""

    parameters: tuple[Parameter, ...]
    returns: str | None
    is_async: bool

    def fits(self, documented: Signature) -> bool:
        """Whether a caller who has read the documents is right in everything. What they leave out may be anything."""
        return (
            self.is_async == documented.is_async
            and len(self.parameters) == len(documented.parameters)
            and all(ours.fits(theirs) for ours, theirs in zip(self.parameters, documented.parameters, strict=True))
            and (documented.returns is None or self.returns == documented.returns)
        )


def documented(text: str) -> Signature:
    """The signature in ``async name(a: int, *, b: str = "x") -> bool``."""
    is_async = text.startswith("async ")
    source = f"async def {text.removeprefix('async ')}: ..."
    (function,) = ast.parse(source).body
    assert isinstance(function, ast.AsyncFunctionDef)
    arguments = function.args
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(plain) - len(arguments.defaults)) + [*arguments.defaults]
    parameters = [_parameter(arg, "", default) for arg, default in zip(plain, defaults, strict=True)]
    keyword_only = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    parameters += [_parameter(arg, "keyword", default) for arg, default in keyword_only]
    if arguments.kwarg is not None:
        parameters.append(_parameter(arguments.kwarg, "**", None))
    return Signature(tuple(parameters), spelled(function.returns) if function.returns else None, is_async)


def actual(function: Callable[..., Any]) -> Signature:
    """The signature of a function, method or class as it is, without `self`."""
    signature = inspect.signature(function)
    parameters = [
        Parameter(
            parameter.name,
            _KINDS[parameter.kind],
            _annotation(parameter.annotation),
            None if parameter.default is parameter.empty else _expression(parameter.default),
        )
        for parameter in signature.parameters.values()
        if parameter.name != "self"
    ]
    returns = None if inspect.isclass(function) else _annotation(signature.return_annotation)
    return Signature(tuple(parameters), returns, inspect.iscoroutinefunction(function))


def spelled(annotation: ast.expr | str) -> str:
    """A type in one spelling: ``Optional[Dict[str, Any]]`` is ``dict[str, Any] | None``, any callable a ``Handler``."""
    node = ast.parse(annotation, mode="eval").body if isinstance(annotation, str) else annotation
    match node:
        case ast.Constant(value=str() as text):
            return spelled(text)
        case ast.Name(id=name):
            return _LOWER.get(name, name)
        case ast.Attribute(value=value, attr=name):
            module = spelled(value)
            return name if module in ("typing", "collections.abc", "os") else f"{module}.{name}"
        case ast.Subscript(value=ast.Name(id="Optional"), slice=inner):
            return f"{spelled(inner)} | None"
        case ast.Subscript(value=ast.Name(id="Callable")):
            return "Handler"
        case ast.Subscript(value=outer, slice=inner):
            return f"{spelled(outer)}[{spelled(inner)}]"
        case ast.Tuple(elts=items):
            return ", ".join(map(spelled, items))
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return f"{spelled(left)} | {spelled(right)}"
    return ast.unparse(node)


_KINDS = {
    inspect.Parameter.POSITIONAL_ONLY: "",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "",
    inspect.Parameter.KEYWORD_ONLY: "keyword",
    inspect.Parameter.VAR_KEYWORD: "**",
    inspect.Parameter.VAR_POSITIONAL: "*",
}


def _parameter(argument: ast.arg, kind: str, default: ast.expr | None) -> Parameter:
    annotation = None if argument.annotation is None else spelled(argument.annotation)
    return Parameter(argument.arg, kind, annotation, None if default is None else _plain(ast.unparse(default)))


def _annotation(annotation: Any) -> str | None:
    if annotation is inspect.Parameter.empty:
        return None
    if isinstance(annotation, str):
        return spelled(annotation)
    return "None" if annotation is None or annotation is type(None) else spelled(_type_text(annotation))


def _type_text(annotation: Any) -> str:
    """A type object as an expression without module names."""
    if isinstance(annotation, type) and not hasattr(annotation, "__args__"):
        return "None" if annotation is type(None) else annotation.__name__
    text = str(annotation)
    for module in ("maim_trio.message._info.", "maim_trio.message._segments.", "maim_trio.message._api.", "typing."):
        text = text.replace(module, "")
    return text


def _expression(default: Any) -> str:
    """A default as an expression; objects that have none stand as ``…``."""
    if isinstance(default, str):
        return repr(str(default))
    if default is None or isinstance(default, bool | int | float | dict | list | tuple):
        return repr(default)
    return ANY_DEFAULT


def _plain(expression: str) -> str:
    """``"x"`` and ``'x'`` are the same default."""
    try:
        return repr(ast.literal_eval(expression))
    except ValueError:
        return ANY_DEFAULT
