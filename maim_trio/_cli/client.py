"""The client under `send` and `listen`."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from maim_trio._cli.failure import CommandError, UsageError
from maim_trio._wire.credentials import API_KEY_PARAMETER
from maim_trio.client import WebSocketClient, create_client_config
from maim_trio.client._dial import beaten_by_url
from maim_trio.client._url import parse_url
from maim_trio.errors import ConfigError

if TYPE_CHECKING:
    from argparse import Namespace

    import trio

    from maim_trio._runtime.hooks import Handler
    from maim_trio._wire.codec import Custom, Standard

KEY_VARIABLE: Final = "MAIM_API_KEY"
RECEIVER_VARIABLE: Final = "MAIM_TO_KEY"

_KINDS: Final = {"key": "API key", "token": "token"}

Take = Callable[[Any, dict[str, Any]], Awaitable[None]]
"""Takes a message or the payload of a custom one, and its metadata."""

CLOSE_TIMEOUT: Final = 2.0
"""Seconds that a server gets to say goodbye: somebody waits in front of the terminal."""


class CommandClient(WebSocketClient):
    """A client that hands whatever it receives to one function, standard and custom messages alike, in order."""

    def __init__(self, take: Take, **config: Any) -> None:
        super().__init__(create_client_config(**config, handler_ordering="per_connection", close_timeout=CLOSE_TIMEOUT))
        self._take = take

    def _handler_of(self, envelope: Standard | Custom) -> Handler | None:
        return self._take

    async def converse(self, interruptible: trio.CancelScope, body: Callable[[], Awaitable[None]]) -> None:
        """Runs `body` while it is connected, in the scope, and then leaves for good.

        CommandError when there is no connection to be had; that of `body` comes out.
        """
        failure: CommandError | None = None
        async with self:
            with interruptible:
                try:
                    await self._connect_or_fail()
                    await body()
                except CommandError as error:
                    failure = error
            # Not just the end of the block, which would tell the server to expect this client again.
            await self.disconnect()
        if failure is not None:
            raise failure

    async def _connect_or_fail(self) -> None:
        if not await self.connect():
            raise CommandError(f"cannot connect to {self.shown_url}: {self.get_last_error()}")


def client_for(arguments: Namespace, take: Take, **config: Any) -> CommandClient:
    """The client that the arguments describe; UsageError when they describe none."""
    try:
        parse_url(arguments.url)  # its own words, which do not repeat the URL
        client = CommandClient(
            take,
            url=arguments.url,
            api_key=own_key(arguments),
            platform=arguments.platform,
            connect_timeout=arguments.connect_timeout,
            max_reconnect_attempts=0,
            log_level=arguments.log_level,
            **config,
        )
    except ConfigError as error:
        raise UsageError(str(error)) from None
    if API_KEY_PARAMETER in beaten_by_url(client.config):
        raise UsageError("--url has an api_key= that differs from the API key given otherwise: leave one of them out")
    return client


def own_key(arguments: Namespace) -> str:
    """The API key to connect with: ``--key``, ``--key-file`` or the environment."""
    key = getattr(arguments, "key", None)
    if key is None and arguments.key_file is not None:
        key = read_secret(arguments.key_file, "key")
    if key is None:
        key = os.environ.get(KEY_VARIABLE)
    if not key:
        options = "--key-file FILE or --key KEY" if "key" in arguments else "--key-file FILE"
        raise UsageError(f"no API key: set {KEY_VARIABLE}, or give {options}")
    return str(key)


def read_secret(path: str, what: str) -> str:
    """What a file holds in its one line; errors call it the `what` file."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig").strip()
    except OSError as error:
        raise UsageError(f"cannot read the {what} file {path}: {error.strerror or error}") from None
    except ValueError:
        raise UsageError(f"the {what} file {path} is not UTF-8 text") from None
    if not text or not text.isprintable():
        raise UsageError(f"the {what} file {path} must hold one line: the {_KINDS[what]}")
    return text
