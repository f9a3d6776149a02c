"""Every exception the public API raises.

::

    MaimError
    ├── ConfigError     (also ValueError)    a configuration value is missing, of the wrong type or out of range
    ├── InvalidMessage  (also ValueError)    a message that cannot be sent, or text that is not a message
    ├── NotRunning      (also RuntimeError)  the method needs a started (or a stopped) server or client
    ├── NotConnected                         there is no connection, and there will be none by waiting
    ├── RequestTimeout  (also TimeoutError)  no answer came within the timeout of `request()`
    └── RequestFailed                        the other side answered a `request()` with an error

Network trouble is never an exception of `send_*` and `connect()`: they return False, and `get_last_error()` explains.
"""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "InvalidMessage",
    "MaimError",
    "NotConnected",
    "NotRunning",
    "RequestFailed",
    "RequestTimeout",
]


class MaimError(Exception):
    """The root of the tree: `except MaimError` catches whatever this library raises on purpose."""


class ConfigError(MaimError, ValueError):
    """A configuration value is missing, of the wrong type or out of range. The text names the field."""


class UnknownField(ConfigError, TypeError):
    """A name was given that the configuration does not have: a ConfigError, and Python's own error for such a call."""


class Misused(ConfigError, TypeError):
    """A constructor was not given the configuration that it takes: a ConfigError, and Python's own error for that."""


class InvalidMessage(MaimError, ValueError):
    """A message that does not fit the schema. The text names the path of what is wrong, e.g. ``$.message_info.time``.

    `code` is the error code of the wire protocol that fits: ``invalid_payload`` or ``too_deep``.
    """

    def __init__(self, message: str, *, code: str = "invalid_payload") -> None:
        super().__init__(message)
        self.code = code


class NotRunning(MaimError, RuntimeError):
    """The method was called in a state it does not fit: not started yet, started twice, already stopped."""


class NotConnected(MaimError):
    """The client has given up on its server for good, or the asked connection has ended: waiting would never end."""


class RequestTimeout(MaimError, TimeoutError):
    """No answer came in time. The other side may have handled the request all the same, or may still do so."""


class RequestFailed(MaimError):
    """The other side answered with an error. `error` is its name, e.g. the type of the exception that was raised."""

    def __init__(self, message: str, *, error: str) -> None:
        super().__init__(message)
        self.error = error
