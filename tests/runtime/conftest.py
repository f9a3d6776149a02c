"""The same servers in virtual time as the server's own tests have, and connections that are cut."""

from __future__ import annotations

import pytest

from tests.cuts import CuttingNetwork
from tests.server.conftest import log, network, pytest_collection_modifyitems

__all__ = ["cutting", "log", "network", "pytest_collection_modifyitems"]


@pytest.fixture
def cutting(network) -> CuttingNetwork:
    """A network in virtual time whose connections can be cut."""
    return CuttingNetwork()
