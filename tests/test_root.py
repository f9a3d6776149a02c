"""`import maim_trio`: what it gives, and that it imports the rest only when it is asked for."""

from __future__ import annotations

import pytest

import maim_trio
from maim_trio import message
from tests.test_layers import modules_loaded_by


def test_a_name_is_imported_when_it_is_used():
    loaded = modules_loaded_by("import maim_trio; maim_trio.MessageBase")

    assert "maim_trio._legacy.message" in loaded
    assert "maim_trio._legacy.converter" not in loaded


@pytest.mark.parametrize("name", ["MessageBase", "MessageConverter"])
def test_messages_and_their_converter_need_no_network(name):
    loaded = modules_loaded_by(f"from maim_trio import {name}")

    assert not {"trio", "trio_websocket", "asyncio", "ssl", "socket"} & loaded
    assert not {module for module in loaded if module.startswith(("maim_trio._runtime", "maim_trio._transport"))}


def test_dir_shows_the_names_before_they_are_imported():
    loaded = modules_loaded_by("import maim_trio; assert set(maim_trio.__all__) <= set(dir(maim_trio))")

    assert not {module for module in loaded if module.startswith("maim_trio._")}


def test_a_name_is_found_once():
    assert maim_trio.MessageBase is maim_trio.MessageBase
    assert "MessageBase" in vars(maim_trio)


def test_another_name_is_no_attribute():
    with pytest.raises(AttributeError, match="module 'maim_trio' has no attribute 'APIMessageBase'"):
        maim_trio.APIMessageBase  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'WebSocketServer'"):
        from maim_trio import WebSocketServer  # noqa: F401


def test_segments_are_the_same_and_what_is_known_about_messages_is_not():
    assert maim_trio.Seg is message.Seg
    assert maim_trio.BaseMessageInfo is not message.BaseMessageInfo
