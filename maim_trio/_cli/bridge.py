"""`bridge`: legacy adapters and an API-Server, connected by a program."""

from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING

import trio

from maim_trio._cli.failure import CommandError, UsageError
from maim_trio._cli.logs import set_up_logging
from maim_trio._cli.routes import TOKEN_VARIABLE, Routes, routes_of
from maim_trio._cli.signals import watch_signals
from maim_trio._legacy.bridge import Bridge
from maim_trio.client._url import parse_url
from maim_trio.errors import ConfigError, NotConnected
from maim_trio.server._config import is_loopback

if TYPE_CHECKING:
    from argparse import Namespace

SHUTDOWN_TIMEOUT = 5.0
CLOSE_TIMEOUT = 5.0
"""Seconds that both sides get when the bridge stops: somebody waits in front of the terminal."""

_log = logging.getLogger("maim_trio.bridge")


def bridge(arguments: Namespace) -> int:
    """Runs a bridge until SIGINT or SIGTERM; returns the exit status."""
    try:
        parse_url(arguments.api)  # its own words, which do not repeat the URL
        made = _bridge_for(arguments, routes_of(arguments))
    except ConfigError as error:
        raise UsageError(str(error)) from None
    set_up_logging(arguments.log_level)
    trio.run(_run, made)
    return 0


def _bridge_for(arguments: Namespace, told: Routes) -> Bridge:
    legacy = arguments.legacy
    if not told.tokens and not arguments.i_know and not is_loopback(legacy.host):
        raise UsageError(
            f"without a token everybody who reaches {legacy.host} could use your API keys: set {TOKEN_VARIABLE}, give "
            "--token-file FILE or tokens in the --config file, or insist with --i-know"
        )
    if legacy.secure and not arguments.certfile:
        raise UsageError("--legacy wss://… needs --certfile FILE, and --keyfile FILE when the key is not in it")
    if arguments.certfile and not legacy.secure:
        raise UsageError("--certfile is for --legacy wss://…")
    both = {
        "log_level": arguments.log_level,
        "shutdown_timeout": SHUTDOWN_TIMEOUT,
        "close_timeout": CLOSE_TIMEOUT,
    }
    certificates = {"ssl_certfile": arguments.certfile, "ssl_keyfile": arguments.keyfile}
    return Bridge(
        arguments.api,
        told.routes,
        tokens=told.tokens,
        hold=arguments.hold,
        adapter_options={"host": legacy.host, "port": legacy.port, "path": legacy.path, "mode": legacy.mode}
        | both
        | certificates,
        api_options={"ssl_ca_certs": arguments.ca_file} | both,
    )


async def _run(made: Bridge) -> None:
    failure: CommandError | None = None

    def ask_to_stop(number: int) -> None:
        _log.info("%s: stopping; a second one stops at once", signal.Signals(number).name)
        made.stop()

    async with trio.open_nursery() as nursery:
        await nursery.start(watch_signals, ask_to_stop)
        try:
            await made.run()
        except OSError as error:
            failure = UsageError(error.strerror or str(error))
        except ConfigError as error:
            failure = UsageError(str(error))
        except NotConnected as error:
            failure = CommandError(str(error))
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
