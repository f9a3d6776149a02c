"""What all configurations share: handlers by type, live lookup."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from maim_trio._runtime.config import CommonConfig, HandlerTable
from maim_trio.errors import ConfigError

PAYLOAD, METADATA = {"a": 1}, {"uuid": "u"}


def two(payload: Any, metadata: Any) -> Any:
    return payload, metadata


def one(payload: Any) -> Any:
    return payload


async def three(payload: Any, metadata: Any, more: Any) -> Any:
    return payload, metadata, more


def none() -> None:
    """Takes nothing."""


class TestRegistering:
    @pytest.mark.parametrize("name", ["ping", "custom_ping"])
    def test_the_prefix_makes_no_difference(self, name: str) -> None:
        config = CommonConfig(custom_handlers={name: one})
        assert config.custom_handlers == {"custom_ping": one}
        config.register_custom_handler(name, two)
        assert config.custom_handlers == {"custom_ping": two}
        config.unregister_custom_handler("custom_ping")
        config.unregister_custom_handler("ping")
        assert config.custom_handlers == {}

    def test_the_callers_dict_is_not_touched(self) -> None:
        handlers = {"ping": one}
        config = CommonConfig(custom_handlers=handlers)
        config.register_custom_handler("pong", one)
        assert handlers == {"ping": one}

    @pytest.mark.parametrize("handler", [none, three, 5, None, "print"])
    def test_what_fits_neither_form_is_refused_there_and_then(self, handler: Any) -> None:
        config = CommonConfig()
        with pytest.raises(TypeError):
            config.register_custom_handler("ping", handler)
        with pytest.raises(TypeError):
            CommonConfig(custom_handlers={"ping": handler})
        with pytest.raises(TypeError):
            config.update({"custom_handlers": {"ping": handler}, "inbox_size": 5})
        assert config == CommonConfig()

    @pytest.mark.parametrize("name", ["", "custom_", None, 5])
    def test_a_type_needs_a_name(self, name: Any) -> None:
        with pytest.raises(ValueError, match="non-empty string"):
            CommonConfig().register_custom_handler(name, one)
        with pytest.raises(ConfigError, match="custom_handlers must be a dict"):
            CommonConfig(custom_handlers={name: one})

    def test_defaults_are_filled_in_and_nothing_is_overwritten(self) -> None:
        config = CommonConfig(custom_handlers={"ping": one})
        config.ensure_defaults()
        assert config.custom_handlers == {"custom_ping": one}
        config.custom_handlers = None  # type: ignore[assignment]
        config.ensure_defaults()
        assert config.custom_handlers == {}


def test_the_log_level_is_read_in_any_case() -> None:
    assert CommonConfig(log_level="debug").log_level == "DEBUG"


class TestTheTable:
    @pytest.mark.parametrize("form", [one, lambda payload: payload, functools.partial(one)])
    def test_a_handler_of_one_argument_is_called_with_the_payload(self, form: Any) -> None:
        handler = HandlerTable(CommonConfig(custom_handlers={"ping": form})).find("custom_ping")
        assert handler is not None
        assert handler(PAYLOAD, METADATA) == PAYLOAD

    @pytest.mark.parametrize("form", [two, lambda *args: args, functools.partial(three, PAYLOAD), print])
    def test_a_handler_of_two_arguments_is_found_as_it_is(self, form: Any) -> None:
        table = HandlerTable(CommonConfig(custom_handlers={"ping": form}))
        assert table.find("custom_ping") is form
        assert table.find("custom_pong") is None

    def test_the_configuration_is_read_live(self) -> None:
        config = CommonConfig()
        table = HandlerTable(config)
        assert table.find("custom_ping") is None
        config.register_custom_handler("ping", two)
        assert table.find("custom_ping") is two
        config.custom_handlers["custom_ping"] = print
        assert table.find("custom_ping") is print
        config.unregister_custom_handler("ping")
        assert table.find("custom_ping") is None

    def test_what_was_put_into_the_dict_by_hand_needs_no_prefix(self) -> None:
        config = CommonConfig()
        config.custom_handlers["ping"] = one
        config.custom_handlers = {"pong": two}
        assert HandlerTable(config).find("custom_pong") is two

    def test_what_was_put_in_by_hand_and_cannot_be_called_is_found_all_the_same(self) -> None:
        """So that it fails where every handler may fail, and not in the middle of the dispatcher."""
        config, wrong = CommonConfig(), object()
        config.custom_handlers["custom_ping"] = wrong  # type: ignore[assignment]
        assert HandlerTable(config).find("custom_ping") is wrong
        config.custom_handlers = None  # type: ignore[assignment]
        assert HandlerTable(config).find("custom_ping") is None
