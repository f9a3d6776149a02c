"""A client with many connections: named single clients in one nursery."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from maim_trio._runtime.config import HandlerTable
from maim_trio._runtime.dispatch import task_tree
from maim_trio._runtime.hooks import call, split_errors
from maim_trio._runtime.lifecycle import LifeCycle, interruption_alone
from maim_trio._runtime.log import Log
from maim_trio._runtime.misuse import takes
from maim_trio._runtime.stats import network_of
from maim_trio._transport.interrupts import interruptible, protected
from maim_trio.client._config import ClientConfig
from maim_trio.client._connections import DEFAULT_PLATFORM
from maim_trio.client._dial import open_stream
from maim_trio.client._layers import Layers, LogSettings
from maim_trio.client._multi_config import MultiClientConfig
from maim_trio.client._multi_status import best_fit, info, info_of_unusable, no_stats, sum_of, without_uptime
from maim_trio.client._roster import Roster
from maim_trio.errors import ConfigError, InvalidMessage
from maim_trio.message import APIMessageBase

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from maim_trio._runtime.hooks import Handler
    from maim_trio.client._connections import ConnectionEntry
    from maim_trio.client._named import NamedClient
    from maim_trio.client._url import Address


class WebSocketMultiClient(LifeCycle):
    """A client with many named connections; what happens to one never touches another.

    ::

        async with WebSocketMultiClient(config) as client:
            print(await client.connect())            # {"wechat": True, "qq": False}
            await client.send_message("wechat", message)

    `default_config` is where hooks and every field that a registration leaves unset come from; it makes no connection
    itself. Raises ConfigError for a configuration that cannot work.
    """

    @takes(MultiClientConfig, "WebSocketMultiClient(create_multi_client_config(connections={…}))")
    def __init__(self, config: MultiClientConfig | None = None, *, default_config: ClientConfig | None = None) -> None:
        super().__init__()
        self.config = config if config is not None else MultiClientConfig()
        if not isinstance(default_config, ClientConfig | None):
            raise ConfigError(f"default_config must be a ClientConfig, not {type(default_config).__name__}")
        self.default_config = default_config
        self._layers = Layers((self.config,), default_config)
        self.log = Log("maim_trio.client", LogSettings(self._layers))
        self._tables = [HandlerTable(layer) for layer in (self.config, default_config) if layer is not None]
        self._roster = Roster(self)
        self._started_at: float | None = None
        self._stop_wanted, self._connecting = trio.Event(), trio.CancelScope()
        self._roster.sync()
        for problem in self._roster.problems.values():
            raise ConfigError(problem)

    # -- connecting

    async def connect(self, name: str | None = None) -> dict[str, bool]:
        """Connects one connection or (None) all, concurrently; returns the truth per name after the attempts.

        Each behaves like `WebSocketClient.connect`. ``{name: False}`` for an unknown name or when it does not run.
        """

        async def connect(client: NamedClient) -> bool:
            return await self._roster.started(client) and await client.connect()

        return await self._for_each(name, connect)

    async def disconnect(self, name: str | None = None) -> dict[str, bool]:
        """Closes one connection or (None) all, concurrently, and ends their attempts to reconnect.

        ``{name: False}`` for an unknown name or when it does not run.
        """

        async def disconnect(client: NamedClient) -> bool:
            return await client.disconnect() if client.is_running() else self.is_running()

        return await self._for_each(name, disconnect)

    def is_connected(self, name: str | None = None) -> bool:
        """Whether this connection (None: any) is there right now."""
        if name is None:
            return any(client.is_connected() for client in self._clients().values())
        client = self._clients().get(name)
        return client is not None and client.is_connected()

    # -- the connections

    def register_connection(
        self, name: str, url: str, api_key: str, platform: str = DEFAULT_PLATFORM, **fields: Any
    ) -> bool:
        """Adds a connection, or replaces the one of this name, here and in the configuration.

        With `auto_connect_on_start` a running client connects it in the background, and so it does where it replaces
        one that was connected. False when it cannot be used as it is (`get_last_error` says why); ConfigError for
        values of a wrong type or range.
        """
        self.config.register_connection(name, url, api_key, platform, **fields)
        self._clients()
        return name not in self._roster.problems

    def update_connection(self, name: str, **fields: Any) -> bool:
        """Changes fields of a connection: all or, with ConfigError, none. A change of url, key or platform closes a
        live connection and opens it anew.

        False when there is none of this name, or when it cannot be used like that (`get_last_error` says why).
        """
        entry = self.config.connections.get(name)
        if entry is None:
            return False
        entry.update(fields)
        self._clients()
        return name not in self._roster.problems

    def unregister_connection(self, name: str) -> bool:
        """Removes a connection and closes it. False when there is none of this name."""
        removed = self.config.remove_connection(name)
        self._clients()
        return removed

    def list_connections(self) -> dict[str, dict[str, Any]]:
        """All registered connections by name; keys are masked."""
        return {name: self._info(name) for name in self._registered()}

    def get_active_connections(self) -> dict[str, dict[str, Any]]:
        """Those that are connected right now."""
        return {name: self._info(name) for name, client in self._clients().items() if client.is_connected()}

    def get_connection_info(self, name: str) -> dict[str, Any] | None:
        """What is known of one connection, or None."""
        return self._info(name) if name in self._registered() else None

    def get_last_error(self, name: str | None = None) -> str | None:
        """Why a connection is not there, in a sentence; for None, the latest error of any."""
        clients, problems = self._clients(), self._roster.problems
        if name is not None:
            if name in problems:
                return problems[name]
            return clients[name].get_last_error() if name in clients else f"there is no connection {name!r:.80}"
        failed = [client for client in clients.values() if client.get_last_error() is not None]
        latest = max(failed, key=lambda client: client.last_error_at, default=None)
        if latest is None:
            return next(iter(problems.values()), None)
        return f"{latest.connection_name}: {latest.get_last_error()}"

    # -- sending

    async def send_message(self, connection_name: str, message: APIMessageBase) -> bool:
        """Sends over the named connection, like `WebSocketClient.send_message`. False for an unknown name."""
        await trio.lowlevel.checkpoint_if_cancelled()
        client = self._clients().get(connection_name)
        return client is not None and await client.send_message(message)

    async def send_custom_message(self, connection_name: str, message_type: str, payload: Mapping[str, Any]) -> bool:
        """Sends a custom message over the named connection. False for an unknown name."""
        await trio.lowlevel.checkpoint_if_cancelled()
        client = self._clients().get(connection_name)
        return client is not None and await client.send_custom_message(message_type, payload)

    async def route_message(self, message: APIMessageBase) -> bool:
        """Sends over the connected connection that fits `message_dim` best: key and platform, then key, then platform.

        False when none fits. Raises InvalidMessage for a message that cannot be encoded.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if not isinstance(message, APIMessageBase):
            raise InvalidMessage(f"route_message takes an APIMessageBase, not {type(message).__name__}")
        client = best_fit([client for client in self._clients().values() if client.is_connected()], message)
        return client is not None and await client.send_message(message)

    # -- handlers and numbers

    def register_custom_handler(self, message_type: str, handler: Handler) -> None:
        """Has `handler` called for custom messages of this type on all connections. TypeError when it fits no form."""
        self.config.register_custom_handler(message_type, handler)

    def unregister_custom_handler(self, message_type: str) -> None:
        """Messages of this type are no longer handled."""
        self.config.unregister_custom_handler(message_type)

    def get_stats(self) -> dict[str, Any]:
        """The sum over all connections, those that were removed included, and under ``connections`` the numbers of each
        by name. A fresh dict that is JSON-serialisable; keys are masked, times are in seconds."""
        clients, problems = self._clients(), self._roster.problems
        each = {
            name: clients[name].get_stats() if name in clients else no_stats(problems.get(name))
            for name in self._registered()
        }
        total = sum_of([*each.values(), self._roster.departed])
        return {
            **total,
            "network": network_of(total, total["current_connections"]),
            "uptime": 0.0 if self._started_at is None else trio.current_time() - self._started_at,
            "last_error": self.get_last_error(),
            "connections_registered": len(each),
            "connections_active": sum(stats["connected"] for stats in each.values()),
            "connection_names": sorted(each),
            "connections": each,
        }

    def get_coroutine_status(self) -> dict[str, Any]:
        """What runs right now; `tasks` is the tree of task names."""
        task, clients = self._main_task, self._roster.all()
        return {
            "client_running": self.is_running(),
            "active_connections": sum(client.is_connected() for client in clients),
            "active_handler_tasks": sum(client.get_stats()["active_handler_tasks"] for client in clients),
            "custom_handlers": sorted(self.config.custom_handlers),
            "tasks": task_tree(task) if task is not None else None,
        }

    # -- for the named clients

    def find_handler(self, message_type: str) -> Handler | None:
        """The handler for a type that its connection has none for."""
        return next(filter(None, (table.find(message_type) for table in self._tables)), None)

    async def open_stream(self, config: ClientConfig, address: Address) -> trio.abc.Stream:
        """The stream under the next connection of one of the clients."""
        return await open_stream(config, address)

    # -- life cycle

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        """Starts, connects all and runs until `stop()` is called or it is cancelled."""
        with interruption_alone():
            async with self:
                task_status.started(self)
                await self.connect()
                await self._ended.wait()

    def _prepare(self) -> None:
        self._roster.sync()
        self._stop_wanted, self._connecting = trio.Event(), trio.CancelScope()

    def _begin_stop(self) -> None:
        self._stop_wanted.set()
        self._connecting.cancel()

    async def _main(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self.config.listen(self._roster.sync)
        self._started_at = trio.current_time()
        try:
            async with trio.open_nursery() as nursery:
                self._roster.open(nursery)
                nursery.start_soon(self._tell_stats, name="stats")
                if self.config.auto_connect_on_start:
                    await self._connect_at_start()
                task_status.started()
                await self._stop_wanted.wait()
                await self._roster.stop()
                nursery.cancel_scope.cancel()
        finally:
            self._started_at = None
            self._roster.close()
            self.config.unlisten(self._roster.sync)

    async def _connect_at_start(self) -> None:
        """Returns after the first attempt of each; a stop ends it."""
        with self._connecting:
            async with trio.open_nursery() as nursery:
                for client in self._roster.clients.values():
                    nursery.start_soon(self._roster.try_once, client)

    async def _tell_stats(self) -> None:
        """Calls `stats_callback` every `stats_interval` seconds, while something has changed."""
        told: dict[str, Any] = {}
        while True:
            await trio.sleep(self._layers.find("stats_interval"))
            callback = self._layers.find("stats_callback")
            if callback is None or not self._layers.find("enable_stats"):
                continue
            stats = self.get_stats()
            changed = without_uptime(stats)
            if changed != told:
                told = changed
                await self._call_stats_callback(callback, stats)

    @interruptible
    async def _call_stats_callback(self, callback: Handler, stats: dict[str, Any]) -> None:
        what = "stats_callback raised %s"
        try:
            await call(callback, stats)
        except Exception as error:  # the fence: one hook
            self.log.exception(what, type(error).__name__, error=error)
        except BaseExceptionGroup as group:
            errors, rest = split_errors(group)
            if errors is not None:
                self.log.exception(what, type(errors).__name__, error=errors)
            raise rest from None

    # -- small things

    def _clients(self) -> dict[str, NamedClient]:
        """The clients of all connections that can be used, by what the configuration says now."""
        self._roster.sync()
        return self._roster.clients

    def _registered(self) -> dict[str, ConnectionEntry]:
        self._roster.sync()
        return self.config.connections

    def _info(self, name: str) -> dict[str, Any]:
        client, problem = self._roster.clients.get(name), self._roster.problems.get(name)
        if client is None:
            return info_of_unusable(name, self.config.connections[name], problem)
        return info(client, problem)

    async def _for_each(self, name: str | None, action: Callable[[NamedClient], Awaitable[bool]]) -> dict[str, bool]:
        await trio.lowlevel.checkpoint()
        results = dict.fromkeys(list(self._registered()) if name is None else [name], False)

        @protected
        async def one(name: str, client: NamedClient) -> None:
            results[name] = await action(client)

        async with trio.open_nursery() as nursery:
            for wanted in results:
                self._roster.look_again(wanted)
                if wanted in self._roster.clients:
                    nursery.start_soon(one, wanted, self._roster.clients[wanted])
        return results
