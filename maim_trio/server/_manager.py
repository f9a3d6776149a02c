"""One place for the configurations of a program."""

from __future__ import annotations

from typing import Any, TypeVar

from maim_trio._runtime.config import CallbackConfig
from maim_trio.errors import ConfigError
from maim_trio.server._config import ServerConfig


class ConfigManager:
    """Keeps a server and a client configuration: takes only what can be used, and changes it to nothing else."""

    def __init__(self) -> None:
        self._server: ServerConfig | None = None
        self._client: CallbackConfig | None = None

    def set_server_config(self, config: ServerConfig) -> None:
        """Takes a configuration. ConfigError (a ValueError) when something required is missing or unreadable."""
        if not isinstance(config, ServerConfig):
            raise ConfigError(f"set_server_config takes a ServerConfig, not {type(config).__name__}")
        self._server = _usable(config)

    def set_client_config(self, config: CallbackConfig) -> None:
        """Takes the configuration of a client, single or multi. ConfigError when something required is missing."""
        if not isinstance(config, CallbackConfig) or isinstance(config, ServerConfig):
            raise ConfigError(f"set_client_config takes the configuration of a client, not {type(config).__name__}")
        self._client = _usable(config)

    def get_server_config(self) -> ServerConfig | None:
        """The server's configuration, None when none was set."""
        return self._server

    def get_client_config(self) -> CallbackConfig | None:
        """The client's configuration, None when none was set."""
        return self._client

    def update_server_config(self, **changes: Any) -> None:
        """Changes the server's configuration: all or, with ConfigError, nothing. ConfigError when none was set."""
        _update(self._server, changes, "server")

    def update_client_config(self, **changes: Any) -> None:
        """Changes the client's configuration: all or, with ConfigError, nothing. ConfigError when none was set."""
        _update(self._client, changes, "client")

    def validate_all_configs(self) -> bool:
        """Whether every configuration that was set can be used; what cannot is logged as an ERROR."""
        return all([config.validate() for config in (self._server, self._client) if config is not None])


_manager = ConfigManager()


def get_config_manager() -> ConfigManager:
    """The manager that the whole program shares."""
    return _manager


C = TypeVar("C", bound=CallbackConfig)


def _usable(config: C) -> C:
    problem = config.problem()
    if problem is not None:
        raise ConfigError(problem)
    config.ensure_defaults()
    return config


def _update(config: CallbackConfig | None, changes: dict[str, Any], which: str) -> None:
    if config is None:
        raise ConfigError(f"no {which} configuration was set: call set_{which}_config() first")
    config.update_usable(changes)
