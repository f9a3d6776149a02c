"""The command line: what there is, what it is called, and how a mistake in it is told."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

import maim_trio
from maim_trio._cli.failure import UsageError
from maim_trio._cli.keys import EXAMPLE
from maim_trio._cli.logs import LEVELS

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "maim-trio"
MODULE = "python -m maim_trio"

_DESCRIPTION = """\
The message bus between chat bots and their platforms: a relay server, small clients to use it from a shell, and a
bridge for adapters that speak the legacy protocol."""

_EPILOG = """\
try it, in three terminals:
  {program} serve --allow-any
  {program} listen --key key-of-bob
  {program} send --key key-of-alice --to key-of-bob 'Hello, Bob!'
"""

_SERVE_EPILOG = """\
the key file (TOML):
{example}
Options of --key can be seen by every user of this machine (ps); a key file can be protected.
The sender of a message that nobody got is told with a custom_relay_report.
"""

_SEND_EPILOG = """\
A line of stdin is text, or a JSON object:
  {"message_segment": {"type": "image", "data": "..."}}    a message; what it lacks is filled in
  {"custom": "status", "payload": {"busy": true}}          a custom message
For each one JSON line says whether it was accepted. Exit status 0: all were accepted, acknowledged, and none was
reported back by a relay as undelivered.

--key and --to can be seen by every user of this machine (ps). MAIM_API_KEY and MAIM_TO_KEY, or --key-file, are safer.
"""

_LISTEN_EPILOG = """\
One JSON line per message: {"message": {...}, "from": ..., "msg_id": ..., "timestamp": ...}, or for a custom message
{"custom": type, "payload": {...}, ...}. The message is without message_dim, which names this client itself. So `send`
can pass both kinds on: listen ... | send --to KEY

--key can be seen by every user of this machine (ps). MAIM_API_KEY or --key-file are safer.
"""

_OUTBOX_EPILOG = """\
A message that was given up (its time was over, the client went away for good, ...) stays in the file as "dead" for 30
days. on_undelivered was called for it. Exit status 1: an id is not that of a dead message.
"""

_BRIDGE_EPILOG = """\
One platform needs no file:
  MAIM_API_KEY=... {program} bridge --platform qq
The bridge file (TOML), for --config:
{example}
Adapters are set up as if this were their legacy server. Messages for an adapter that is away are kept for --hold
seconds, those for an API-Server that is away for five minutes. Exit status 1: the API-Server refuses a platform's key.

MAIM_LEGACY_TOKEN, or --token-file, is what adapters have to give. MAIM_TO_KEY is the API key that messages are for,
where that is not the platform's own.
"""

_BRIDGE_EXAMPLE = """\
tokens = ["what-adapters-have-to-give"]

[[platform]]
name = "qq"
key = "api-key-of-the-qq-adapter"

[[platform]]
name = "telegram"
key = "api-key-of-the-telegram-adapter"
to = "api-key-of-the-bot"          # behind a relay: whom its messages are for
to_platform = "bot"
outbox = "telegram-outbox.db"      # messages survive the end of this program
"""

_LEVEL_NAMES = ", ".join(LEVELS).lower()

DEFAULT_URL = "ws://127.0.0.1:18040/ws"
DEFAULT_LEGACY_URL = "ws://127.0.0.1:18000/ws"
DEFAULT_LEGACY_PORT = 18000


@dataclass(frozen=True, slots=True)
class LegacyAddress:
    """Where to listen for adapters, and how."""

    mode: str
    secure: bool
    host: str
    port: int
    path: str


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are exceptions, in one line, and never repeat what may be an API key."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(_unknown(unknown))
        return known, unknown


def _unknown(arguments: Sequence[str]) -> str:
    """Names options; of anything else, which may be a key, only how many there are."""
    options = [argument.partition("=")[0] for argument in arguments if argument.startswith("--")]
    if options:
        return f"there is no option {options[0]}"
    return f"{len(arguments)} more argument{'' if len(arguments) == 1 else 's'} than expected"


def build_parser() -> Parser:
    """The parser of the whole program. `arguments.command` is the name of the command that was chosen."""
    called = PROGRAM if Path(sys.argv[0]).stem == PROGRAM else MODULE
    parser = Parser(prog=called, description=_DESCRIPTION, epilog=_EPILOG.format(program=called))
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {maim_trio.__version__}")
    chosen = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    for add in (_add_serve, _add_send, _add_listen, _add_outbox):
        add(chosen)
    _add_bridge(chosen, called)
    return parser


def _add_serve(commands: Any) -> None:
    example = "".join(f"  {line}" for line in EXAMPLE.splitlines(keepends=True))
    parser: Parser = commands.add_parser(
        "serve",
        help="run a relay server",
        description="A server that hands every standard message on to whom its message_dim names. Ctrl-C stops it.",
        epilog=_SERVE_EPILOG.format(example=example),
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=_port, default=18040, help="port to listen on; 0 takes a free one (%(default)s)")
    parser.add_argument("--path", type=_path, default="/ws", help="path of the WebSocket (%(default)s)")
    who = parser.add_argument_group("who may connect")
    who.add_argument("--keys", metavar="FILE", help="key file: API keys, their users and platforms")
    who.add_argument("--key", metavar="KEY=USER", action="append", help="one API key and its user; repeatable")
    who.add_argument("--allow-any", action="store_true", help="every key, each as a user of its own; loopback only")
    who.add_argument("--i-know", action="store_true", help="--allow-any also where others can reach it")
    who.add_argument(
        "--allowed-origin",
        metavar="ORIGIN",
        action="append",
        help="web pages that may connect, such as https://chat.example; repeatable. Without it: any page that has a "
        "key, and with --allow-any only pages of this host",
    )
    _add_log_level(parser, "INFO")


def _add_send(commands: Any) -> None:
    parser: Parser = commands.add_parser(
        "send",
        help="send messages",
        description="Sends TEXT, or every line of stdin, and prints what came of it as JSON lines.",
        epilog=_SEND_EPILOG,
    )
    _add_connection(parser)
    parser.add_argument("--to", metavar="KEY", help="whom it is for: the receiver's API key (or MAIM_TO_KEY)")
    parser.add_argument("--to-platform", metavar="P", help="the receiver's platform (the same as --platform)")
    parser.add_argument("--plain", action="store_true", help="every line is text, also one that begins with {")
    parser.add_argument(
        "--ack-timeout", type=_seconds, default=5.0, metavar="S", help="how long to wait for acks; 0: not (%(default)g)"
    )
    parser.add_argument(
        "--wait", type=_seconds, default=0.2, metavar="S", help="how long then to wait for reports (%(default)g)"
    )
    _add_log_level(parser, "ERROR")
    parser.add_argument("text", nargs="?", metavar="TEXT", help="the text to send; without it stdin is read")


def _add_listen(commands: Any) -> None:
    parser: Parser = commands.add_parser(
        "listen",
        help="print what arrives",
        description="Prints every message that arrives as a JSON line. Stays connected when the server restarts.",
        epilog=_LISTEN_EPILOG,
    )
    _add_connection(parser)
    parser.add_argument("--count", type=_count, metavar="N", help="stop after N messages")
    parser.add_argument(
        "--timeout", type=_seconds, metavar="S", help="stop after S seconds; that is a failure while --count is open"
    )
    parser.add_argument("--quiet", action="store_true", help="no lines on stderr about the connection")
    _add_log_level(parser, "WARNING")


def _add_outbox(commands: Any) -> None:
    parser: Parser = commands.add_parser(
        "outbox",
        help="look after the file of a durable outbox",
        description="Lists what is in the file of a durable outbox (outbox_path): what is to be sent, what was given "
        "up, and what was received and waits for a handler. Sends again what was given up, or deletes it. The program "
        "that uses the file has to be stopped.",
        epilog=_OUTBOX_EPILOG,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    listing = actions.add_parser("list", help="one JSON line per message, oldest first")
    which = listing.add_mutually_exclusive_group()
    which.add_argument("--dead", action="store_const", const=True, help="only what was given up")
    waiting = "only what is to be sent or handled"
    which.add_argument("--waiting", dest="dead", action="store_const", const=False, help=waiting)
    listing.add_argument("--envelope", action="store_true", help="with the whole envelope, which holds API keys")
    retry = actions.add_parser("retry", help="has messages that were given up sent again at the next start")
    retry.add_argument(
        "--ttl", type=_positive, default=86_400.0, metavar="S", help="for how many seconds they live (%(default)g)"
    )
    drop = actions.add_parser("drop", help="deletes messages that were given up, or, by their ids, received ones")
    for action in (listing, retry, drop):
        action.add_argument("file", metavar="FILE", help="the file that outbox_path names")
    for action in (retry, drop):
        action.add_argument("ids", type=_count, nargs="*", metavar="ID", help="ids from the list")
        action.add_argument("--all", action="store_true", help="all that were given up")


def _add_bridge(commands: Any, called: str) -> None:
    example = "".join(f"  {line}" for line in _BRIDGE_EXAMPLE.splitlines(keepends=True))
    parser: Parser = commands.add_parser(
        "bridge",
        help="connect legacy adapters to an API-Server",
        description="Lets adapters that speak maim_message's legacy protocol talk to an API-Server. Ctrl-C stops it.",
        epilog=_BRIDGE_EPILOG.format(program=called, example=example),
    )
    parser.add_argument(
        "--legacy", type=_legacy_url, default=DEFAULT_LEGACY_URL, metavar="URL",
        help="where adapters connect to: ws://, wss:// or tcp:// with this machine's address (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--api", default=DEFAULT_URL, metavar="URL", help="the API-Server (%(default)s)")
    which = parser.add_argument_group("which platforms")
    which.add_argument("--config", metavar="FILE", help="bridge file: platforms, their API keys, tokens")
    which.add_argument("--platform", metavar="P", action="append", help="a platform, with MAIM_API_KEY; repeatable")
    which.add_argument("--key-file", metavar="FILE", help="file that holds the API key, instead of MAIM_API_KEY")
    which.add_argument("--to-platform", metavar="P", help="the platform that messages are for (the same)")
    who = parser.add_argument_group("who may connect")
    who.add_argument("--token-file", metavar="FILE", help="file that holds the token of the adapters")
    who.add_argument("--i-know", action="store_true", help="no token, also where others can reach it")
    tls = parser.add_argument_group("TLS")
    tls.add_argument("--certfile", metavar="FILE", help="certificate for --legacy wss://…")
    tls.add_argument("--keyfile", metavar="FILE", help="its key")
    tls.add_argument("--ca-file", metavar="FILE", help="authorities for --api wss://…, instead of the system's")
    parser.add_argument(
        "--hold", type=_seconds, default=300.0, metavar="S",
        help="how long messages are kept for an adapter that is away (%(default)g)",
    )  # fmt: skip
    _add_log_level(parser, "INFO")


def _add_connection(parser: Parser) -> None:
    parser.add_argument("--url", default=DEFAULT_URL, help="the server (%(default)s)")
    key = parser.add_mutually_exclusive_group()
    key.add_argument("--key", metavar="KEY", help="API key to connect with (or MAIM_API_KEY); visible in ps")
    key.add_argument("--key-file", metavar="FILE", help="file that holds the API key")
    parser.add_argument("--platform", default="default", metavar="P", help="platform to connect as (%(default)s)")
    parser.add_argument(
        "--connect-timeout", type=_positive, default=5.0, metavar="S", help="how long to try (%(default)g)"
    )


def _add_log_level(parser: Parser, default: str) -> None:
    parser.add_argument(
        "--log-level", type=_log_level, default=default, metavar="L", help=f"{_LEVEL_NAMES} ({default.lower()})"
    )


def _log_level(text: str) -> str:
    if text.upper() not in LEVELS:
        raise argparse.ArgumentTypeError(f"must be one of {_LEVEL_NAMES}")
    return text.upper()


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError("must be a number from 0 to 65535")
    return int(text)


def _legacy_url(text: str) -> LegacyAddress:
    """The text may hold a password, so it is not repeated."""
    try:
        parts = urlsplit(text)
        port = DEFAULT_LEGACY_PORT if parts.port is None else parts.port
    except ValueError:
        raise argparse.ArgumentTypeError(f"must look like {DEFAULT_LEGACY_URL}") from None
    if parts.scheme not in ("ws", "wss", "tcp") or not parts.hostname or "@" in parts.netloc:
        raise argparse.ArgumentTypeError(f"must look like {DEFAULT_LEGACY_URL}")
    if parts.query or parts.fragment or (parts.scheme == "tcp" and parts.path not in ("", "/")):
        raise argparse.ArgumentTypeError("must end with the path, and tcp:// has none")
    mode = "tcp" if parts.scheme == "tcp" else "ws"
    return LegacyAddress(mode, parts.scheme == "wss", parts.hostname, port, parts.path or "/ws")


def _path(text: str) -> str:
    if not text.startswith("/"):
        raise argparse.ArgumentTypeError("must begin with /")
    return text


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number from 1 on")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 86_400:
        raise argparse.ArgumentTypeError("must be a number of seconds, at most a day")
    return value


def _positive(text: str) -> float:
    value = _seconds(text)
    if not value:
        raise argparse.ArgumentTypeError("must be more than 0 seconds")
    return value
