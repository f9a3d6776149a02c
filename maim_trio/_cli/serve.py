"""`serve`: the relay as a program."""

from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING

import trio

from maim_trio._cli.access import AnyKey, KnownKeys
from maim_trio._cli.failure import CommandError, UsageError
from maim_trio._cli.keys import check_entries, parse_assignment, read_key_file
from maim_trio._cli.logs import set_up_logging
from maim_trio._cli.relay import Relay
from maim_trio._cli.signals import watch_signals
from maim_trio.errors import ConfigError
from maim_trio.server import create_server_config

if TYPE_CHECKING:
    from argparse import Namespace

    from maim_trio._cli.access import Access

SHUTDOWN_TIMEOUT = 5.0
CLOSE_TIMEOUT = 5.0
"""Seconds that clients get when the server stops: somebody waits in front of the terminal."""

_log = logging.getLogger("maim_trio.relay")


def serve(arguments: Namespace) -> int:
    """Runs a relay until SIGINT or SIGTERM; returns the exit status."""
    access = _access(arguments)
    try:
        relay = Relay(
            access,
            host=arguments.host,
            port=arguments.port,
            path=arguments.path,
            allowed_origins=arguments.allowed_origin,
            log_level=arguments.log_level,
            shutdown_timeout=SHUTDOWN_TIMEOUT,
            close_timeout=CLOSE_TIMEOUT,
        )
    except ConfigError as error:
        raise UsageError(str(error)) from None
    set_up_logging(arguments.log_level)
    trio.run(_run, relay, access)
    return 0


def _access(arguments: Namespace) -> Access:
    """Who may connect, as the arguments say."""
    if arguments.allow_any:
        if arguments.keys or arguments.key:
            raise UsageError("--allow-any lets every key in: it does not go together with --keys and --key")
        if not arguments.i_know and not create_server_config(host=arguments.host).is_loopback():
            raise UsageError("--allow-any on an address that others can reach needs --i-know as well")
        return AnyKey(arguments.allowed_origin)
    entries = read_key_file(arguments.keys) if arguments.keys else []
    entries += [parse_assignment(text, number) for number, text in enumerate(arguments.key or [], 1)]
    if not entries:
        raise UsageError("who may connect? Give --keys FILE, --key KEY=USER or, to try things out, --allow-any")
    return KnownKeys(check_entries(entries))


async def _run(relay: Relay, access: Access) -> None:
    stop = trio.Event()
    failure: CommandError | None = None

    def ask_to_stop(number: int) -> None:
        _log.info("%s: stopping; a second one stops at once", signal.Signals(number).name)
        stop.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(watch_signals, ask_to_stop)
        try:
            await _serve_until(stop, relay, access)
        except OSError as error:
            failure = UsageError(error.strerror or str(error))
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _serve_until(stop: trio.Event, relay: Relay, access: Access) -> None:
    async with relay.server as server:
        config = server.config
        host = f"[{config.host}]" if ":" in config.host else config.host
        line = _log.warning if isinstance(access, AnyKey) else _log.info
        line("ready at ws://%s:%d%s for %s", host, server.port, config.path, access)
        await stop.wait()
    _log.info("messages relayed: %d, not delivered: %d", relay.relayed, relay.undelivered)
