"""Opening the listening sockets."""

from __future__ import annotations

import trio

ATTEMPTS = 10
"""For port 0 on a host with several addresses: the port the first one got may be taken on another."""


async def open_listeners(host: str, port: int) -> list[trio.SocketListener]:
    """Listens on every address of `host`, on the same port on all of them, also when `port` is 0.

    Raises OSError that names host and port when an address cannot be had.
    """
    try:
        listeners = await trio.open_tcp_listeners(port, host=host or None)
        for _ in range(ATTEMPTS):
            first = int(listeners[0].socket.getsockname()[1])
            if all(listener.socket.getsockname()[1] == first for listener in listeners):
                return listeners
            _close(listeners)
            try:
                listeners = await trio.open_tcp_listeners(first, host=host or None)
            except OSError:
                listeners = await trio.open_tcp_listeners(0, host=host or None)
        _close(listeners)
    except OSError as error:
        raise OSError(
            error.errno, f"cannot listen on {host or 'any address'}, port {port}: {error.strerror or error}"
        ) from error
    raise OSError(f"found no port that is free on all addresses of {host}")


def _close(listeners: list[trio.SocketListener]) -> None:
    """Synchronous: cancelled in between, none is left open."""
    for listener in listeners:
        listener.socket.close()
