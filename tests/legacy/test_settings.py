"""What can be set on legacy servers and clients."""

from __future__ import annotations

import pytest

from maim_trio._legacy.settings import ClientSettings, ServerSettings
from maim_trio.client import ClientConfig
from maim_trio.errors import ConfigError
from maim_trio.server import ServerConfig


@pytest.mark.parametrize(
    ("settings", "config"), [(ServerSettings(), ServerConfig()), (ClientSettings(), ClientConfig())]
)
def test_what_has_a_name_of_the_api_server_has_its_default_too(settings, config):
    shared = vars(settings).keys() & vars(config).keys()
    assert len(shared) > 15
    assert {name: getattr(settings, name) for name in shared} == {name: getattr(config, name) for name in shared}


def test_the_limits_of_a_connection_are_those_that_were_set():
    limits = ServerSettings(max_message_size=2000, message_cache_max_bytes=3000, handshake_timeout=4).limits()
    assert (limits.max_message, limits.max_queued, limits.handshake_timeout) == (2000, 3000, 4)
    assert ClientSettings(connect_timeout=5, close_timeout=6, send_timeout=7).limits().handshake_timeout == 5


def test_tls_and_the_tcp_mode_do_not_go_together():
    assert "mode 'tcp'" in (ServerSettings(mode="tcp", ssl_certfile="x.pem").problem() or "")


def test_errors_name_the_class_that_the_user_knows():
    with pytest.raises(ConfigError, match=r"^MessageServer\.max_connections must be"):
        ServerSettings(max_connections=0)
    with pytest.raises(ConfigError, match=r"^MessageClient has no field max_conections$"):
        ClientSettings().update({"max_conections": 5})
