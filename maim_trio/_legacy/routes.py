"""The configuration of a router: which server each platform talks to."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from maim_trio._legacy.dial import Target, make_target
from maim_trio._wire.credentials import mask
from maim_trio._wire.text import did_you_mean, one_line
from maim_trio.errors import ConfigError

if TYPE_CHECKING:
    from typing import Self

MAX_SHOWN = 80
"""Characters of what somebody else has named that go into a line of the log."""

__all__ = ["RouteConfig", "TargetConfig", "targets_of"]


@dataclass
class TargetConfig:
    """A server, and what one platform needs to get in.

    `ssl_verify`, for ``wss://``: the path of a CA file, None or True for the system's authorities, False to trust
    everybody. The values are looked at when a router gets them.
    """

    url: str | None = None
    token: str | None = None
    ssl_verify: str | bool | None = None

    def __repr__(self) -> str:
        token = None if self.token is None else mask(str(self.token))
        return f"TargetConfig(url={self.url!r}, token={token!r}, ssl_verify={self.ssl_verify!r})"

    def to_dict(self) -> dict[str, Any]:
        """As a plain dict, with the token in clear."""
        return {"url": self.url, "token": self.token, "ssl_verify": self.ssl_verify}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From a plain dict; absent keys are None, others are ignored, with a WARNING that names them. ConfigError for
        what is no dict."""
        return cls._from_dict(data, "a target")

    @classmethod
    def _from_dict(cls, data: Mapping[str, Any], owner: str) -> Self:
        if not isinstance(data, Mapping):
            raise ConfigError(f"a target must be a dict, not {type(data).__name__}")
        _warn_of_unknown(data, ("url", "token", "ssl_verify"), owner)
        return cls(url=data.get("url"), token=data.get("token"), ssl_verify=data.get("ssl_verify"))


@dataclass
class RouteConfig:
    """The servers by platform."""

    route_config: dict[str, TargetConfig] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.route_config is None:  # maim_message's default
            self.route_config = {}

    def to_dict(self) -> dict[str, Any]:
        """As a plain dict, with the tokens in clear."""
        return {"route_config": {platform: target.to_dict() for platform, target in self.route_config.items()}}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From ``{"route_config": {platform: {"url": …, "token": …}}}``, which is not changed.

        ConfigError for what is not like that. Further keys are ignored, with a WARNING that names them.
        """
        routes = data.get("route_config") if isinstance(data, Mapping) else None
        if not isinstance(routes, Mapping):
            raise ConfigError('a router\'s configuration must be like {"route_config": {"qq": {"url": "ws://…"}}}')
        _warn_of_unknown(data, ("route_config",), "a router's configuration")
        return cls({platform: _target_from(platform, target) for platform, target in routes.items()})


def _target_from(platform: object, target: Any) -> TargetConfig:
    if isinstance(target, TargetConfig):
        return target
    return TargetConfig._from_dict(target, f"the target of platform {one_line(str(platform), MAX_SHOWN)}")


def _warn_of_unknown(data: Mapping[str, Any], known: tuple[str, ...], owner: str) -> None:
    """Programs that keep more in these dicts go on working; who has mistyped something finds it in the log."""
    unknown = [str(name) for name in data if name not in known]
    if unknown:
        shown = one_line(", ".join(unknown), MAX_SHOWN)
        hint = did_you_mean(unknown, known)
        logging.getLogger("maim_trio.config").warning("%s has no field %s: ignored%s", owner, shown, hint)


def targets_of(config: RouteConfig) -> dict[str, Target]:
    """Everything that a configuration names, checked. Raises ConfigError that names the platform."""
    if not isinstance(config, RouteConfig):
        raise ConfigError(f"Router takes a RouteConfig, not {type(config).__name__}")
    if not isinstance(config.route_config, dict):
        raise ConfigError(f"route_config must be a dict, not {type(config.route_config).__name__}")
    return {platform: target_of(platform, target) for platform, target in config.route_config.items()}


def target_of(platform: str, target: TargetConfig) -> Target:
    """One of them."""
    if not isinstance(target, TargetConfig):
        raise ConfigError(f"platform {platform!r:.80} needs a TargetConfig, not {type(target).__name__}")
    return make_target(target.url, platform, target.token, target.ssl_verify, name=f"platform {platform!r:.80}")
