"""Which legacy platforms a bridge serves, with which API keys and tokens: from a TOML file or from the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from maim_trio._cli.client import RECEIVER_VARIABLE, own_key, read_secret
from maim_trio._cli.failure import UsageError
from maim_trio._cli.keys import checked_text, hint_at, load_toml, placed_entries, read_text
from maim_trio._legacy.bridge import Route
from maim_trio._wire.credentials import MAX_API_KEY, MAX_NAME

if TYPE_CHECKING:
    from argparse import Namespace

TOKEN_VARIABLE: Final = "MAIM_LEGACY_TOKEN"  # noqa: S105 - the name of a variable

MAX_PATH: Final = 4096  # characters

_TABLES: Final = {"platform", "tokens"}
_FIELDS: Final = {"name", "key", "to", "to_platform", "outbox"}


@dataclass(frozen=True, slots=True)
class Routes:
    """What a bridge is told. Without tokens every adapter is let in."""

    routes: list[Route]
    tokens: list[str] = field(repr=False)


def routes_of(arguments: Namespace) -> Routes:
    """What the arguments say; UsageError when that is not enough."""
    if arguments.config is None:
        return Routes(_from_arguments(arguments), _token_of(arguments))
    if arguments.platform or arguments.key_file:
        raise UsageError("--config says all about platforms: it does not go together with --platform and --key-file")
    found = parse_routes(read_text(arguments.config, "bridge file"), arguments.config)
    return Routes(found.routes, found.tokens + _token_of(arguments))


def parse_routes(text: str, name: str) -> Routes:
    """The routes of a bridge file's text; `name` is what errors call the file. UsageError never says a key."""
    document = load_toml(text, name)
    if set(document) - _TABLES:
        hint = hint_at(document, _TABLES)
        raise UsageError(f"{name}: only tokens and [[platform]] entries may stand in a bridge file{hint}")
    tokens = document.get("tokens", [])
    if not isinstance(tokens, list) or ("tokens" in document and not tokens):
        raise UsageError(f'{name}: tokens must be a list such as ["a-long-random-string"]')
    valid = [checked_text(token, f"{name}: a token", MAX_API_KEY) for token in tokens]
    routes: dict[str, Route] = {}
    for item, where in placed_entries(document, "platform", text, name):
        route = _route(item, where)
        if routes.setdefault(route.platform, route) is not route:
            raise UsageError(f"{where}: platform {route.platform} stands there twice")
    return Routes(list(routes.values()), valid)


def _route(raw: Any, where: str) -> Route:
    if not isinstance(raw, dict):
        raise UsageError(f"{where}: must be a table with name and key")
    if set(raw) - _FIELDS:
        hint = "; tokens stands above the first [[platform]]" if "tokens" in raw else hint_at(raw, _FIELDS)
        raise UsageError(f"{where}: has a field that is not name, key, to, to_platform or outbox{hint}")
    return Route(
        checked_text(raw.get("name"), f"{where}: name", MAX_NAME),
        checked_text(raw.get("key"), f"{where}: key", MAX_API_KEY),
        _optional(raw, "to", where, MAX_API_KEY),
        _optional(raw, "to_platform", where, MAX_NAME),
        _optional(raw, "outbox", where, MAX_PATH),
    )


def _optional(raw: dict[str, Any], name: str, where: str, limit: int) -> str | None:
    return checked_text(raw[name], f"{where}: {name}", limit) if name in raw else None


def _from_arguments(arguments: Namespace) -> list[Route]:
    names = list(dict.fromkeys(arguments.platform or []))
    if not names:
        raise UsageError("which platforms? Give --platform P for each, or --config FILE")
    key, to_key = own_key(arguments), os.environ.get(RECEIVER_VARIABLE) or None
    return [Route(checked_text(name, "--platform", MAX_NAME), key, to_key, arguments.to_platform) for name in names]


def _token_of(arguments: Namespace) -> list[str]:
    if arguments.token_file is not None:
        return [read_secret(arguments.token_file, "token")]
    token = os.environ.get(TOKEN_VARIABLE)
    return [token] if token else []
