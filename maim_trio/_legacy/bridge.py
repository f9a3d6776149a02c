"""The bridge: legacy adapters on one side, an API-Server on the other, and neither notices.

Each platform has a connection of its own to the API-Server, with its own key. A message of an adapter goes out over the
connection of its platform; what arrives there goes to the adapter of the platform.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

import trio

from maim_trio._legacy.bridge_ends import LOGGER, AdapterEnd, ApiEnd, LastWords, Route
from maim_trio._legacy.converter import MessageConverter
from maim_trio._legacy.message import MessageBase
from maim_trio._runtime.log import Log
from maim_trio._wire.envelope import CUSTOM_PREFIX
from maim_trio.errors import ConfigError, InvalidMessage, NotConnected
from maim_trio.message import APIMessageBase, MessageDim

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

__all__ = ["Bridge", "Route"]

RETRY_AFTER: Final = 60.0
"""Seconds after which a connection that has given up tries again: somebody may have given its key back."""
DROPS_SAID: Final = 100
"""Kinds of dropped messages that are told as warnings: the adapters choose the names of platforms."""


class Bridge:
    """Passes messages between legacy adapters and an API-Server, in both directions and in order. It runs once.

    `api_url` is the API-Server, `routes` has one entry per platform. `tokens`: an adapter needs one of them; none at
    all lets everybody in. `hold`: for how many seconds after an adapter was last there messages for it are kept; what
    comes later is dropped until it is back. `adapter_options` are arguments of `MessageServer`, `api_options` fields of
    `ClientConfig`. Raises ConfigError for what cannot work.
    """

    adapter_end: ClassVar[type[AdapterEnd]] = AdapterEnd
    api_end: ClassVar[type[ApiEnd]] = ApiEnd

    def __init__(
        self,
        api_url: str,
        routes: Sequence[Route],
        *,
        tokens: Iterable[str] = (),
        hold: float = 300.0,
        adapter_options: Mapping[str, Any] | None = None,
        api_options: Mapping[str, Any] | None = None,
    ) -> None:
        if not routes:
            raise ConfigError("a bridge needs at least one platform")
        self._hold = hold
        valid = set(tokens)
        self.adapters = self.adapter_end(self._from_adapter, enable_token=bool(valid), **(adapter_options or {}))
        for token in valid:
            self.adapters.add_valid_token(token)
        self.apis: dict[str, ApiEnd] = {}
        for route in routes:
            if route.platform in self.apis:
                raise ConfigError(f"platform {route.platform} stands there twice")
            self.apis[route.platform] = self.api_end(route, self._from_api, api_url, **(api_options or {}))
        self.log = Log(LOGGER, self.adapters.config)
        self.to_api = self.to_adapters = self.dropped = 0
        self._said: set[str] = set()
        self._away_since: dict[str, float] = {}
        self._lost: dict[str, int] = {}  # messages that were dropped while an adapter was away
        self._stop_wanted = trio.Event()
        self._failure: Exception | None = None

    # -- running

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        """Bridges until `stop` is called or it is cancelled.

        ``await nursery.start(bridge.run)`` returns the bridge once it listens.

        Raises OSError when the port is taken, ConfigError for a durable outbox that cannot be used, and NotConnected
        when the API-Server refuses a platform that it has never accepted. One that it accepted before is tried again
        every minute.
        """
        async with trio.open_nursery() as nursery:
            try:
                for api in self.apis.values():
                    await nursery.start(self._keep, api)
                await self.adapters.start(nursery)
            except (OSError, ConfigError) as error:
                self._fail(error)
            else:
                self.log.info("ready for adapters of %s on port %d", ", ".join(self.apis), self.adapters.port)
                task_status.started(self)
            await self._stop_wanted.wait()
            await self._stop_ends()
            nursery.cancel_scope.cancel()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Has `run` end in order: what has arrived is passed on, in both directions, before all connections close."""
        self._stop_wanted.set()
        self.adapters.wake()

    def _fail(self, error: Exception) -> None:
        self._failure = self._failure or error
        self.stop()

    async def _stop_ends(self) -> None:
        """At the same time, so that both sides refuse what is new; none closes before the other has passed on all."""
        ends: list[AdapterEnd | ApiEnd] = [self.adapters, *self.apis.values()]
        last_words = LastWords(sum(end.is_running() and not end.stopping for end in ends))
        async with trio.open_nursery() as nursery:
            for end in ends:
                end.last_words = last_words
                nursery.start_soon(end.stop)
        given_up = sum(api.stats.messages_undelivered for api in self.apis.values())
        self.log.info(
            "messages passed to the API-Server: %d, to adapters: %d, dropped: %d",
            self.to_api - given_up, self.to_adapters, self.dropped + given_up,
        )  # fmt: skip

    async def _keep(self, api: ApiEnd, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        """Keeps the connection of one platform."""
        while True:  # a stop ends `run`; while it waits, it is cancelled
            try:
                await api.run(task_status=task_status)
            except NotConnected as error:
                platform, why = api.route.platform, api.get_last_error() or str(error)
                if not api.ever_connected:
                    self._fail(NotConnected(f"the API-Server does not take platform {platform}: {why}"))
                    return
                self.log.error("platform %s: %s; next attempt in %g s", platform, why, RETRY_AFTER)
                task_status = trio.TASK_STATUS_IGNORED
                await trio.sleep(RETRY_AFTER)
            else:
                return

    # -- from adapters to the API-Server

    async def _from_adapter(self, adapters_platform: str, message: dict[str, Any]) -> None:
        platform = adapters_platform if adapters_platform in self.apis else _platform_in(message)
        api = self.apis.get(platform)
        if api is None:
            self._drop_unknown(platform)
            return
        try:
            sent = await _send_to_api(api, message)
        except InvalidMessage as error:
            self._drop(f"platform {platform}: messages of its adapter cannot be passed on", str(error))
            return
        refused = f"platform {platform}: messages of its adapter are dropped"
        if sent:
            self.to_api += 1
            self._said.discard(refused)
        else:
            self._drop(refused, _why(api))

    def _drop_unknown(self, platform: str) -> None:
        known = ", ".join(self.apis)
        self._drop(
            f"messages of platform {platform!r} are dropped", f"there is no API key for it here, only for {known}"
        )

    def _drop(self, what: str, why: str) -> None:
        """One WARNING for what an adapter can bring about again and again, DEBUG from then on."""
        self.dropped += 1
        if what in self._said or len(self._said) >= DROPS_SAID:
            self.log.debug("%s: %s", what, why)
        else:
            self._said.add(what)
            self.log.warning("%s: %s", what, why)

    # -- from the API-Server to adapters

    async def _from_api(self, api: ApiEnd, content: Any, metadata: dict[str, Any]) -> None:
        platform = api.route.platform
        if isinstance(content, APIMessageBase):
            message = MessageConverter.from_api_send(content)
            message.message_info.platform = platform
            await self._give(platform, partial(self.adapters.send_message, message))
        else:
            name = metadata["message_type"].removeprefix(CUSTOM_PREFIX)
            await self._give(platform, partial(self.adapters.send_custom_message, platform, name, content))

    async def _give(self, platform: str, send: Callable[[], Awaitable[bool]]) -> None:
        """Sends to the adapter, or waits for it to come; bounded by `hold`, counted from when it was missed first."""
        while True:
            arrival = self.adapters.next_arrival(platform)
            if platform in self.adapters.get_platforms() and await send():
                self.to_adapters += 1
                self._is_there(platform)
                return
            if platform not in self._away_since:
                self.log.warning(
                    "platform %s: its adapter is away; messages for it are kept for %g s", platform, self._hold
                )
            since = self._away_since.setdefault(platform, trio.current_time())
            with trio.move_on_at(since if self._stop_wanted.is_set() else since + self._hold):
                await arrival.wait()
            if self._stop_wanted.is_set() or not arrival.is_set():
                self._drop_for_adapter(platform)
                return
            self._away_since.pop(platform, None)

    def _is_there(self, platform: str) -> None:
        self._away_since.pop(platform, None)
        lost = self._lost.pop(platform, 0)
        if lost:
            self.log.warning("platform %s: its adapter is back; %d messages for it were lost meanwhile", platform, lost)

    def _drop_for_adapter(self, platform: str) -> None:
        self.dropped += 1
        self._lost[platform] = self._lost.get(platform, 0) + 1
        if self._lost[platform] == 1:
            why = "the bridge stops" if self._stop_wanted.is_set() else f"none has taken it for {self._hold:g} s"
            self.log.warning("platform %s: a message for its adapter was dropped: %s", platform, why)


async def _send_to_api(api: ApiEnd, message: dict[str, Any]) -> bool:
    """Sends what an adapter has sent. Raises InvalidMessage for what is neither a message nor a custom one."""
    if _is_custom(message):
        name, content = message.get("message_type_name"), message.get("content")
        if not isinstance(name, str) or not name or not isinstance(content, dict):
            raise InvalidMessage("a custom message needs a name, `message_type_name`, and an object, `content`")
        return await api.send_custom_message(name, content)
    route = api.route
    converted = MessageConverter.to_api_receive(MessageBase.from_dict(message), route.api_key, route.platform)
    converted.message_dim = MessageDim(route.to_key or route.api_key, route.to_platform or route.platform)
    return await api.send_message(converted)


def _is_custom(message: Mapping[str, Any]) -> bool:
    if message.get("is_custom_message"):
        return True
    return "message_type_name" in message and "message_segment" not in message


def _platform_in(message: Mapping[str, Any]) -> str:
    """What the message itself says: some clients do not say their platform when they connect."""
    info = message.get("message_info")
    platform = info.get("platform") if isinstance(info, dict) else message.get("platform")
    return platform if isinstance(platform, str) else ""


def _why(api: ApiEnd) -> str:
    return api.get_last_error() or "the outbox is full: the API-Server does not acknowledge fast enough"
