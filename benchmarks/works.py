"""What is measured: the subjects, the loads they are put under, and the goals."""

from __future__ import annotations

from dataclasses import dataclass, field

PEER_VERSION = "0.6.8"


@dataclass(frozen=True)
class Subject:
    """A program under load. `runs_on`: whose interpreter (`own`, `peer`, `node`); `files`: options that name a file."""

    title: str
    script: str
    runs_on: str = "own"
    files: tuple[str, ...] = ()


SUBJECTS = {
    "ours": Subject("maim_trio", "ours.py"),
    "ours, logging": Subject("maim_trio, logging", "ours.py", files=("--log",)),
    "ours, durable": Subject("maim_trio, durable", "ours.py", files=("--outbox",)),
    "our senders": Subject("maim_trio, 50 senders", "ours_sender.py"),
    "our senders, durable": Subject("maim_trio, 50 senders, durable", "ours_sender.py", files=("--outbox",)),
    "peer's senders": Subject(f"maim_message {PEER_VERSION}, 50 senders", "peer_sender.py", "peer"),
    "our client": Subject("maim_trio client", "ours_client.py"),
    "peer": Subject(f"maim_message {PEER_VERSION}", "peer.py", "peer"),
    "peer's client": Subject(f"maim_message {PEER_VERSION} client", "peer_client.py", "peer"),
    "picows": Subject("picows on uvloop", "picows_uvloop.py"),
    "websockets": Subject("websockets", "websockets_asyncio.py"),
    "aiohttp": Subject("aiohttp", "aiohttp_server.py"),
    "node": Subject("Node ws", "node_ws.js", "node"),
    "trio-websocket": Subject("trio-websocket", "trio_websocket_server.py"),
}
MAIN = ("ours", "peer", "picows")
BESIDE = ("websockets", "aiohttp", "node", "trio-websocket")


@dataclass(frozen=True)
class Number:
    """One number of a result. Smaller is better, unless `more`."""

    key: str
    title: str
    more: bool = False


MICROSECONDS = Number("us", "µs CPU per message")
RATE = Number("per_second", "messages/s", more=True)


@dataclass(frozen=True)
class Goal:
    """A promise about one number of one subject.

    `against` another subject: at least `factor` times as good (2.0: half the CPU, or twice the rate). Without it: at
    most `factor`, or at least where more is better.
    """

    key: str
    factor: float
    against: str | None = None
    of: str = "ours"
    stretch: float | None = None


@dataclass(frozen=True)
class Work:
    """One kind of load: what the subject is to do with messages (`server`), and the arguments of the generator."""

    name: str
    load: tuple[str, ...]
    numbers: tuple[Number, ...] = (MICROSECONDS,)
    goals: tuple[Goal, ...] = ()
    server: str = "echo"
    subjects: tuple[str, ...] = MAIN
    beside: tuple[str, ...] = ()
    """Subjects that are measured once, for comparison."""
    tls: bool = False
    timed: bool = True
    """Whether the generator is told for how long; otherwise `load` says it."""
    turns: bool = True
    """Whether subjects take turns under load. Else each runs alone, once in a round."""
    most_rounds: int = 100
    quick: bool = True
    """Whether it is part of the quick run."""

    @property
    def has_clients(self) -> bool:
        """Whether the subject is a program of clients, and the generator their server."""
        return self.load[0] in ("clients", "sink")


def _load(work: str, connections: int, outstanding: int = 1, *more: object) -> tuple[str, ...]:
    return (work, "--connections", str(connections), "--outstanding", str(outstanding), *map(str, more))


def _size(text: int) -> tuple[object, ...]:
    return ("--size", text)


KIB, MIB = 1024, 1024 * 1024
IDLE = (
    Number("kib", "KiB per connection"),
    Number("connects_per_second", "connects/s", more=True),
    Number("connect_us", "µs CPU per connect"),
)
BOTH = ("ours", "peer")

WORKS = (
    Work(
        "echo, 32 connections, 8 outstanding each", _load("echo", 32, 8), (MICROSECONDS, RATE),
        (Goal("us", 12, "peer", stretch=18), Goal("us", 1.0, "picows"), Goal("us", 1 / 1.05, "ours", of="ours, logging"),
         Goal("per_second", 20_000, of="ours, durable")),
        subjects=(*MAIN, "ours, logging", "ours, durable"), beside=BESIDE,
    ),
    Work("echo, 64 connections, 1 outstanding each", _load("echo", 64, 1),
         goals=(Goal("us", 7, "peer", stretch=9), Goal("us", 0.85, "picows")), beside=BESIDE),
    Work("fan-out to 500 connections", _load("fanout", 500, 2), (Number("us", "µs CPU per delivery"),),
         (Goal("us", 3, "peer"), Goal("us", 1.0, "picows")), "fanout", beside=BESIDE),
    Work("1 MiB messages", _load("echo", 4, 1, *_size(MIB)),
         goals=(Goal("us", 2.8, "peer"), Goal("us", 0.75, "picows")), beside=BESIDE),
    Work("8 MiB messages", _load("echo", 2, 1, *_size(8 * MIB)),
         goals=(Goal("us", 2.8, "peer"), Goal("us", 0.75, "picows")), beside=BESIDE),
    Work("latency at 500 messages/s", _load("latency", 16), (Number("p50", "ms, p50"), Number("p99", "ms, p99")),
         (Goal("p50", 2.0, "peer"), Goal("p99", 2.0, "peer"), Goal("p50", 1 / 1.3, "picows")), beside=BESIDE),
    Work("2,000 connections", _load("idle", 2000, 1, "--seconds", 0), IDLE,
         (Goal("connects_per_second", 1.5, "peer"), Goal("kib", 2.0, "peer"), Goal("kib", 20)), beside=BESIDE, timed=False, turns=False),
    Work("5,000 idle connections", _load("idle", 5000, 1, "--seconds", 20), (Number("idle_percent", "% of a core"),),
         (Goal("idle_percent", 5),), subjects=BOTH, timed=False, turns=False, most_rounds=1, quick=False),
    Work("the client's side, 4 clients, 8 outstanding each", _load("clients", 4, 8), (MICROSECONDS, RATE),
         (Goal("us", 5, "peer's client", of="our client"),), subjects=("our client", "peer's client")),
    Work("a client that sends, 50 tasks", _load("sink", 1), (MICROSECONDS, RATE),
         (Goal("per_second", 20_000, of="our senders, durable"),),
         subjects=("our senders", "our senders, durable", "peer's senders"), turns=False, most_rounds=4),
    Work("TLS: echo, 32 connections, 8 outstanding each", _load("echo", 32, 8, "--tls"),
         goals=(Goal("us", 3, "peer"),), subjects=BOTH, tls=True),
    Work("TLS: 1 MiB messages", _load("echo", 4, 1, *_size(MIB), "--tls"),
         goals=(Goal("us", 3, "peer"),), subjects=BOTH, tls=True),
    Work("TLS: 500 connections", _load("idle", 500, 1, "--seconds", 0, "--tls"), IDLE[:1],
         (Goal("kib", 45),), subjects=BOTH, tls=True, timed=False, turns=False),
)  # fmt: skip


@dataclass(frozen=True)
class Curve:
    """The same load with one parameter that grows. `values` are that parameter's; `flat` says what theory says."""

    name: str
    title: str
    axis: str
    values: tuple[int, ...]
    number: Number = MICROSECONDS
    server: str = "echo"
    subjects: dict[str, int] = field(default_factory=dict)
    """The largest value each subject is measured with: the slow ones are left out where it would take minutes."""

    def work(self, value: int) -> Work:
        return Work(f"{self.name} {value}", _points(self.name, value), (self.number,), server=self.server)


def _points(name: str, value: int) -> tuple[str, ...]:
    if name == "connections":
        return _load("echo", value, 1)
    if name == "size":
        return _load("echo", 4, 1, *_size(value))
    if name == "fan-out":
        return _load("fanout", value, 2)
    return _load("echo", 32, value // 32)


CURVES = (
    Curve("connections", "Cost of a message by number of connections", "connections, one message outstanding on each",
          (10, 30, 100, 300, 1000, 3000, 10_000), subjects={"ours": 10_000, "picows": 10_000, "peer": 1000}),
    Curve("size", "Cost of a message by its size", "bytes of text", (100, KIB, 10 * KIB, 100 * KIB, MIB, 4 * MIB, 16 * MIB),
          subjects={"ours": 16 * MIB, "picows": 16 * MIB, "peer": 16 * MIB}),
    Curve("fan-out", "Cost of a delivery by width of the fan-out", "receivers", (10, 30, 100, 300, 1000, 3000),
          Number("us", "µs CPU per delivery"), "fanout", {"ours": 3000, "picows": 3000, "peer": 1000}),
    Curve("handlers", "Cost of a message by number of handlers that wait", "handlers at the same time, 0.1 s each",
          (32, 64, 128, 256, 512, 992), server="wait", subjects={"ours": 992, "picows": 992}),
)  # fmt: skip
