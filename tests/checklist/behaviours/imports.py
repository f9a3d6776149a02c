"""What importing does."""

from __future__ import annotations

from tests.test_layers import modules_loaded_by


def messages_are_light() -> None:
    loaded = modules_loaded_by("import maim_trio.message")
    assert "maim_trio.message" in loaded
    assert not {"trio", "maim_trio.server", "maim_trio.client", "maim_trio._transport"} & loaded


def the_root_is_light() -> None:
    assert {name for name in modules_loaded_by("import maim_trio") if name.startswith("maim_trio")} == {"maim_trio"}
