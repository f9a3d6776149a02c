"""Many legacy connections, one per platform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from maim_trio._legacy.client import MessageClient
from maim_trio._legacy.core import ClientCore
from maim_trio._legacy.dial import open_stream
from maim_trio._legacy.handlers import HandlerTable
from maim_trio._legacy.message import MessageBase
from maim_trio._legacy.routes import RouteConfig, TargetConfig, target_of, targets_of
from maim_trio._legacy.settings import ClientSettings
from maim_trio._runtime.lifecycle import LifeCycle
from maim_trio._wire import close
from maim_trio.errors import InvalidMessage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from maim_trio._legacy.connection import LegacyConnection
    from maim_trio._legacy.dial import Target
    from maim_trio._runtime.hooks import Handler

__all__ = ["Router"]


class RoutedClient(MessageClient):
    """The client of one platform of a router, whose handlers it has. `up` is set once it runs."""

    def __init__(self, router: Router, settings: ClientSettings, table: HandlerTable, target: Target) -> None:
        ClientCore.__init__(self, settings, table)
        self.up = trio.Event()
        self._router = router
        self._left = False
        self._keeper.aim(target)

    @property
    def target(self) -> Target:
        """Where it connects to."""
        return self._raise_aimless()

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs, unless `leave` was called before it could begin."""
        if self._left:
            self.up.set()
            return
        async with self:
            self.up.set()
            await self._ended.wait()

    async def open_stream(self, target: Target) -> trio.abc.Stream:
        """The stream under the next connection."""
        return await self._router.open_stream(target)

    def leave(self) -> None:
        """It is not wanted any more. Synchronous; its end takes its time."""
        self._left = True
        if self.is_running():
            self._begin_stop()


class Router(LifeCycle):
    """Keeps a connection to a server for each platform; what happens to one never touches another.

    ::

        router = Router(RouteConfig({"qq": TargetConfig("ws://127.0.0.1:18000/ws", token)}))
        router.register_class_handler(on_message)
        async with router:
            await router.send_message(message)      # over the connection of message.message_info.platform

    ``await router.start(nursery)`` … ``await router.stop()`` and ``trio.run(router.run)`` do the same: as soon as it is
    started, all platforms are connected in the background, and again whenever a connection is lost. `options` are those
    of `MessageClient`. Raises ConfigError, which names the platform, for a configuration that cannot work.
    """

    def __init__(self, config: RouteConfig, custom_logger: Any = None, **options: Any) -> None:
        super().__init__()
        self.config = config
        self._by_platform: dict[str, RoutedClient] = {}
        self._options = ClientSettings(custom_logger=custom_logger, **options)
        self._table = HandlerTable()
        self._stop_wanted = trio.Event()
        self._clients: trio.Nursery | None = None
        targets_of(config)

    @property
    def clients(self) -> dict[str, MessageClient]:
        """The clients by platform, while it runs; a copy."""
        return {**self._by_platform}

    # -- handlers

    @property
    def handlers(self) -> list[Handler]:
        """The handlers of standard messages, in the order in which they were registered."""
        return self._table.standard

    @property
    def custom_message_handlers(self) -> dict[str, list[Handler]]:
        """The handlers of custom messages by type."""
        return self._table.custom

    def register_class_handler(self, handler: Handler) -> None:
        """Has `handler` called for the standard messages of all platforms, like
        `MessageClient.register_message_handler`; works on a running router too."""
        self._table.add(handler)

    def register_message_handler(self, handler: Handler) -> None:
        """Another name of `register_class_handler`."""
        self.register_class_handler(handler)

    def register_custom_message_handler(self, message_type_name: str, handler: Handler) -> None:
        """Has `handler` called for custom messages of this type of all platforms; works on a running router too."""
        self._table.add_custom(message_type_name, handler)

    def unregister_message_handler(self, message_type: str, handler: Handler) -> None:
        """Has `handler` no longer called for custom messages of this type. Nothing happens when it never was."""
        self._table.remove_custom(message_type, handler)

    # -- the platforms

    async def add_platform(self, platform: str, config: TargetConfig) -> None:
        """Adds a platform, or changes what it connects to; a running router connects it in the background.

        Raises ConfigError, and nothing has changed, for values that cannot work.
        """
        await trio.lowlevel.checkpoint()
        target_of(platform, config)
        self.config.route_config[platform] = config
        await self._apply()

    async def remove_platform(self, platform: str) -> None:
        """Removes a platform and returns when its connection is closed. Nothing happens when there is none."""
        await trio.lowlevel.checkpoint()
        self.config.route_config.pop(platform, None)
        await self._apply()

    async def update_config(self, config_data: Mapping[str, Any] | RouteConfig) -> None:
        """Takes another configuration: closes what is no longer named, connects what is new, and what has changed anew.

        All or, with ConfigError, nothing. The dict is like that of `RouteConfig.from_dict` and is not changed.
        """
        await trio.lowlevel.checkpoint()
        config = config_data if isinstance(config_data, RouteConfig) else RouteConfig.from_dict(config_data)
        targets_of(config)
        self.config = config
        await self._apply()

    async def connect(self, platform: str) -> bool:
        """Connects a platform now, or waits for the attempt under way, like `MessageClient.connect`.

        False also when the router does not run. Raises ValueError for a platform that the configuration does not name.
        """
        self._check_known(platform)
        await self._apply()
        client = self._by_platform.get(platform)
        return client is not None and await client.connect_to(client.target)

    def check_connection(self, platform: str) -> bool:
        """Whether this platform is connected right now."""
        client = self._by_platform.get(platform)
        return client is not None and client.is_connected()

    def get_last_error(self, platform: str) -> str | None:
        """Why a platform is not connected, in a sentence; None while it is, or before anything went wrong."""
        client = self._by_platform.get(platform)
        return client.get_last_error() if client is not None else None

    def get_target_url(self, message: MessageBase) -> str | None:
        """The URL of the server that a message would go to; None when its platform has none."""
        target = self.config.route_config.get(_platform_of(message) or "")
        return target.url if target is not None else None

    # -- sending

    async def send_message(self, message: MessageBase) -> bool:
        """Sends a message over the connection of its `message_info.platform`, like `MessageClient.send_message`.

        False also when the router does not run. Raises ValueError for a platform that the configuration does not name,
        InvalidMessage for a message that cannot be encoded.
        """
        client = self._client_of(_platform_of(message))
        if client is None:
            await trio.lowlevel.checkpoint()
            return False
        return await client.send_message(message)

    async def send_custom_message(self, platform: str, message_type_name: str, message: Mapping[str, Any]) -> bool:
        """Sends a custom message with the content `message` over the connection of a platform. Otherwise like
        `send_message`."""
        client = self._client_of(platform)
        if client is None:
            await trio.lowlevel.checkpoint()
            return False
        return await client.send_custom_message(message_type_name, message)

    def get_stats(self) -> dict[str, dict[str, Any]]:
        """The numbers of each platform's client, by platform; see `MessageClient.get_stats`."""
        return {platform: client.get_stats() for platform, client in self._by_platform.items()}

    async def open_stream(self, target: Target) -> trio.abc.Stream:
        """The stream under the next connection of one of the clients."""
        return await open_stream(target)

    def _check_known(self, platform: str | None) -> None:
        if platform not in self.config.route_config:
            raise ValueError(f"there is no platform {platform!r:.80} in the configuration of this router")

    def _client_of(self, platform: str | None) -> MessageClient | None:
        self._check_known(platform)
        return self._by_platform.get(platform or "")

    # -- life cycle

    def _prepare(self) -> None:
        targets_of(self.config)
        self._stop_wanted = trio.Event()

    def _begin_stop(self) -> None:
        self._stop_wanted.set()

    async def _main(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        try:
            async with trio.open_nursery() as nursery:
                self._clients = nursery
                await self._apply()
                task_status.started()
                await self._stop_wanted.wait()
                self._clients = None
                for client in self._by_platform.values():
                    client.leave()
        finally:
            self._clients = None
            self._by_platform.clear()

    async def _apply(self) -> None:
        """Brings the clients in step with the configuration; returns when those that are new run, and those that are
        not wanted any more are gone. Cancelling it leaves that to the background."""
        if self._clients is None:
            return
        coming, leaving, changed = self._sync(self._clients, targets_of(self.config))
        for client in coming:
            await client.up.wait()
        async with trio.open_nursery() as nursery:
            for client in leaving:
                nursery.start_soon(client.stop)
            for outdated in changed:
                nursery.start_soon(outdated.aclose, close.NORMAL, "")

    def _sync(
        self, nursery: trio.Nursery, targets: Mapping[str, Target]
    ) -> tuple[list[RoutedClient], list[RoutedClient], list[LegacyConnection]]:
        """One synchronous step: nothing that happens meanwhile can leave a client without a place. Returns the clients
        that are new, those that leave, and connections to servers that are others now."""
        coming: list[RoutedClient] = []
        changed: list[LegacyConnection] = []
        leaving = [self._by_platform.pop(platform) for platform in self._by_platform.keys() - targets.keys()]
        for client in leaving:
            client.leave()
        for platform, target in targets.items():
            if platform not in self._by_platform:
                client = self._by_platform[platform] = RoutedClient(self, self._options, self._table, target)
                coming.append(client)
                nursery.start_soon(client.run, name=platform)
                continue
            client = self._by_platform[platform]
            if client.target != target and (outdated := client.aim(target)) is not None:
                changed.append(outdated)
        return coming, leaving, changed


def _platform_of(message: MessageBase) -> str | None:
    if not isinstance(message, MessageBase):
        raise InvalidMessage(f"only a MessageBase can be sent, not {type(message).__name__}")
    return message.message_info.platform
