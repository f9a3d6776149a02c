"""Opening the listening sockets, and accepting from them."""

from __future__ import annotations

import errno
import os
import socket
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    Handler = Callable[[Any, Any], Awaitable[None]]
    """Takes a stream and the peer's address, None when nobody knows it. Has closed a SocketStream when it ends."""

ATTEMPTS = 10
"""For port 0 on a host with several addresses: the port the first one got may be taken on another."""

AT_ONCE = 16
"""Connections that are accepted from one socket before others have their turn."""
PAUSE = 0.1
"""Seconds until it is tried again where there was no room for another connection; as `trio.serve_listeners`."""

_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_BROKEN = frozenset({errno.EBADF, errno.EINVAL, errno.ENOTSOCK})
"""Errors of the listening socket; all others are those of a connection that has ended before it was accepted."""


async def serve(
    listeners: Iterable[trio.abc.Listener[Any]],
    handler: Handler,
    nursery: trio.Nursery,
    report: Callable[[str, str], None],
) -> None:
    """Accepts until it is cancelled, and has `handler` called in a task of `nursery` for each connection; closes the
    listeners. `report` is told when there is no room for another one."""
    async with trio.open_nursery() as accepting:
        for listener in listeners:
            if isinstance(listener, trio.SocketListener) and os.name == "posix":
                accepting.start_soon(_accept_all, listener, handler, nursery, report, name="listener")
            else:
                serving = partial(trio.serve_listeners, handler_nursery=nursery)
                accepting.start_soon(serving, partial(_without_address, handler), [listener], name="listener")


async def _without_address(handler: Handler, stream: trio.abc.Stream) -> None:
    await handler(stream, None)


async def _accept_all(
    listener: trio.SocketListener, handler: Handler, nursery: trio.Nursery, report: Callable[[str, str], None]
) -> None:
    """What `trio.serve_listeners` does, but whoever has come is accepted in one step, and with its address."""
    async with listener:
        own = listener.socket
        with socket.fromfd(own.fileno(), own.family, own.type, own.proto) as door:
            door.setblocking(False)
            while True:
                await trio.lowlevel.wait_readable(own)
                try:
                    for _ in range(AT_ONCE):
                        accepted, address = door.accept()
                        stream = trio.SocketStream(trio.socket.from_stdlib_socket(accepted))
                        nursery.start_soon(handler, stream, address, name="connection")
                except BlockingIOError:
                    pass
                except OSError as error:
                    if error.errno in _BROKEN:
                        raise
                    if error.errno in _NO_ROOM:
                        report("no connection can be accepted at the moment: %s", error.strerror or "")
                        await trio.sleep(PAUSE)


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
