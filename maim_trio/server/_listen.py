"""Opening the listening sockets, and accepting from them."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Any

import trio

from maim_trio._transport.interrupts import protected

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
    listeners. `report` is told when there is no room for another one. Ctrl-C lands in none of these tasks, as it would
    in those of `trio.serve_listeners`."""
    async with trio.open_nursery() as accepting:
        for listener in listeners:
            at_once = isinstance(listener, trio.SocketListener) and os.name == "posix"
            accept = _accept_at_once if at_once else _accept_one_by_one
            accepting.start_soon(_accept, accept, listener, handler, nursery, report, name="listener")


@protected
async def _accept(
    accept: Callable[[Any, Handler, trio.Nursery], Awaitable[None]],
    listener: trio.abc.Listener[Any],
    handler: Handler,
    nursery: trio.Nursery,
    report: Callable[[str, str], None],
) -> None:
    async with listener:
        while True:
            try:
                await accept(listener, handler, nursery)
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                report("no connection can be accepted now: %s", error.strerror or "")
                await trio.sleep(PAUSE)


async def _accept_at_once(listener: trio.SocketListener, handler: Handler, nursery: trio.Nursery) -> None:
    """Whoever has come is accepted in one step, and with its address."""
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
                if error.errno in _NO_ROOM or error.errno in _BROKEN:
                    raise


async def _accept_one_by_one(listener: trio.abc.Listener[Any], handler: Handler, nursery: trio.Nursery) -> None:
    while True:
        nursery.start_soon(_close_after, handler, await listener.accept(), name="connection")


@protected
async def _close_after(handler: Handler, stream: trio.abc.Stream) -> None:
    try:
        await handler(stream, None)
    finally:
        await trio.aclose_forcefully(stream)


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
