"""Counters: plain integers that are added to where things happen, and copied out as a dict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_NETWORK = ("total_connections", "messages_received", "messages_sent", "bytes_received", "bytes_sent")


def network_of(stats: Mapping[str, Any], current_connections: int) -> dict[str, int]:
    """What maim_message tells once more under ``network``."""
    return {**{key: stats[key] for key in _NETWORK}, "current_connections": current_connections}


class Counters:
    """What a server or a client has counted since it was made; restarting does not reset it."""

    __slots__ = (
        "bytes_received",
        "bytes_sent",
        "connect_attempts",
        "custom_messages_processed",
        "duplicate_messages_ignored",
        "error_count",
        "failed_auths",
        "failed_connects",
        "handler_errors",
        "handler_timeouts",
        "invalid_frames",
        "last_activity",
        "last_error",
        "late_answers",
        "messages_acked",
        "messages_expired",
        "messages_processed",
        "messages_received",
        "messages_resent",
        "messages_sent",
        "messages_undelivered",
        "peer_errors",
        "reconnect_attempts",
        "slow_consumers_closed",
        "successful_auths",
        "successful_connects",
        "total_auth_requests",
        "total_connections",
        "unhandled_messages",
    )

    def __init__(self) -> None:
        for name in self.__slots__:
            setattr(self, name, 0)
        self.last_error: str | None = None
        self.last_activity = 0.0

    def failed(self, reason: str) -> None:
        """Remembers what went wrong last. `reason` must not hold a secret."""
        self.error_count += 1
        self.last_error = reason

    def snapshot(self) -> dict[str, Any]:
        """A fresh dict, `total_messages` included."""
        result: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        result["total_messages"] = self.messages_received + self.messages_sent
        return result

    bytes_received: int
    bytes_sent: int
    connect_attempts: int
    custom_messages_processed: int
    duplicate_messages_ignored: int
    error_count: int
    messages_expired: int
    messages_resent: int
    messages_undelivered: int
    failed_auths: int
    failed_connects: int
    handler_errors: int
    handler_timeouts: int
    invalid_frames: int
    late_answers: int
    messages_acked: int
    messages_processed: int
    messages_received: int
    messages_sent: int
    peer_errors: int
    reconnect_attempts: int
    slow_consumers_closed: int
    successful_auths: int
    successful_connects: int
    total_auth_requests: int
    total_connections: int
    unhandled_messages: int
