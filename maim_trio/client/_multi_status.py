"""What a multi client tells about its connections, and which of them fits a message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from maim_trio._runtime.stats import Counters
from maim_trio._wire.credentials import mask
from maim_trio.client._url import parse_url
from maim_trio.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from maim_trio.client._connections import ConnectionEntry
    from maim_trio.client._named import NamedClient
    from maim_trio.message import APIMessageBase

_GAUGES = ("active_handler_tasks", "current_connections", "active_connections", "outbox_size")


def info(client: NamedClient, problem: str | None) -> dict[str, Any]:
    """What is told about one connection. `problem`: why it still goes by its earlier configuration, if it does."""
    config = client.config
    return {
        "name": client.connection_name,
        "url": client.shown_url,
        "api_key": mask(config.api_key),
        "platform": config.platform,
        "connected": client.is_connected(),
        "connection_uuid": client.get_connection_uuid(),
        "last_error": problem or client.get_last_error(),
    }


def info_of_unusable(name: str, entry: ConnectionEntry, problem: str | None) -> dict[str, Any]:
    """The same of a connection that cannot be used as it is configured."""
    try:
        url = parse_url(entry.url).shown
    except ConfigError:
        url = ""
    return {
        "name": name,
        "url": url,
        "api_key": mask(entry.api_key),
        "platform": entry.platform,
        "connected": False,
        "connection_uuid": entry.connection_uuid,
        "last_error": problem,
    }


def no_stats(problem: str | None) -> dict[str, Any]:
    """The numbers of a connection that cannot be used as it is configured."""
    return {**sum_of([]), "last_error": problem, "connected": False}


def counters_of(client: NamedClient) -> dict[str, int]:
    """What a connection has counted, without what comes and goes."""
    stats = client.get_stats()
    return {key: value for key, value in sum_of([stats]).items() if isinstance(value, int) and key not in _GAUGES}


def sum_of(each: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Counters and gauges added up, and the time of the latest activity. A key that is missing counts as 0."""
    total: dict[str, Any] = {**Counters().snapshot(), **dict.fromkeys(_GAUGES, 0), "uptime": 0.0}
    for stats in each:
        for key, value in total.items():
            if key == "last_activity":
                total[key] = max(value, stats.get(key, 0.0))
            elif isinstance(value, int):
                total[key] = value + stats.get(key, 0)
    return total


def without_uptime(stats: Mapping[str, Any]) -> dict[str, Any]:
    """What tells whether something has happened: `uptime` always grows."""
    each = {name: {**one, "uptime": 0} for name, one in stats["connections"].items()}
    return {**stats, "uptime": 0, "connections": each}


def best_fit(clients: list[NamedClient], message: APIMessageBase) -> NamedClient | None:
    """Wire protocol, section 4."""
    api_key, platform = message.message_dim.api_key, message.message_dim.platform
    by_key = [client for client in clients if client.config.api_key == api_key]
    by_platform = [client for client in clients if client.config.platform == platform]
    exact = [client for client in by_key if client in by_platform]
    return next(iter([*exact, *by_key, *by_platform]), None)
