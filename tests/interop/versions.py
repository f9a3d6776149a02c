"""Which versions of maim_message a test runs against, where it is not all of them."""

from __future__ import annotations

import pytest

RECENT = ("0.6.8", "0.6.5")
OLD = ("0.6.2", "0.6.0")
"""They number their messages by the millisecond. Their servers are the same program; their clients differ in the delay
before a reconnect and in the form of the single client's connection id."""
DIFFERENT_SERVERS = (*RECENT, "0.6.0")


def version_id(version: str) -> str:
    return f"maim_message-{version}"


def only_versions(*versions: str) -> pytest.MarkDecorator:
    """The test runs against these only."""
    return pytest.mark.parametrize("maim_message_version", versions, indirect=True, ids=version_id)
