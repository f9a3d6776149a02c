"""One place for the configurations of a program."""

from __future__ import annotations

import pytest

from maim_trio.client import ClientConfig, MultiClientConfig
from maim_trio.errors import ConfigError
from maim_trio.server import ConfigManager, ServerConfig, get_config_manager

URL = "ws://bot.example/ws"


@pytest.fixture
def manager():
    manager = ConfigManager()
    manager.set_server_config(ServerConfig(port=1))
    manager.set_client_config(ClientConfig(url=URL, api_key="key_of_client"))
    return manager


def test_it_gives_back_the_very_configurations_it_was_given(manager):
    server, client = ServerConfig(), ClientConfig(url=URL, api_key="k")
    manager.set_server_config(server)
    manager.set_client_config(client)
    assert manager.get_server_config() is server
    assert manager.get_client_config() is client


def test_an_empty_one_has_none():
    manager = ConfigManager()
    assert manager.get_server_config() is None
    assert manager.get_client_config() is None
    assert manager.validate_all_configs()


def test_a_configuration_of_many_connections_is_one_of_a_client(manager):
    config = MultiClientConfig()
    manager.set_client_config(config)
    manager.update_client_config(auto_connect_on_start=True)
    assert manager.get_client_config() is config
    assert config.auto_connect_on_start


@pytest.mark.parametrize(
    ("method", "config", "said"),
    [
        ("set_server_config", ServerConfig(ssl_enabled=True), "needs ssl_certfile, ssl_keyfile"),
        ("set_server_config", ClientConfig(url=URL, api_key="k"), "takes a ServerConfig, not ClientConfig"),
        ("set_server_config", None, "takes a ServerConfig, not NoneType"),
        ("set_client_config", ClientConfig(url=URL), "needs api_key"),
        ("set_client_config", ServerConfig(), "takes the configuration of a client, not ServerConfig"),
        ("set_client_config", {"url": URL}, "takes the configuration of a client, not dict"),
        ("set_client_config", MultiClientConfig({"a": {"url": URL}}), "needs a.api_key"),
    ],
)
def test_what_cannot_be_used_is_refused_and_the_earlier_one_stays(manager, method, config, said):
    before = manager.get_server_config(), manager.get_client_config()
    with pytest.raises(ValueError, match=said) as caught:
        getattr(manager, method)(config)
    assert isinstance(caught.value, ConfigError)
    assert (manager.get_server_config(), manager.get_client_config()) == before


def test_what_was_emptied_gets_its_defaults_when_it_is_set(manager):
    config = ServerConfig()
    config.custom_handlers = None
    manager.set_server_config(config)
    assert config.custom_handlers == {}


def test_updates_change_the_configuration_itself(manager):
    server, client = manager.get_server_config(), manager.get_client_config()
    manager.update_server_config(port=2, path="/bots")
    manager.update_client_config(platform="qq")
    assert (server.port, server.path, client.platform) == (2, "/bots", "qq")


@pytest.mark.parametrize(
    ("which", "changes"),
    [
        ("server", {"port": 2, "path": "no slash"}),
        ("server", {"port": 2, "no_such_field": 1}),
        ("server", {"port": 2, "ssl_enabled": True}),
        ("server", {"port": 2, "ssl_enabled": True, "ssl_certfile": "/nowhere", "ssl_keyfile": "/nowhere"}),
        ("client", {"platform": "qq", "api_key": ""}),
        ("client", {"platform": "qq", "url": "http://x"}),
        ("client", {"platform": "qq", "max_size": 2048, "api_key": ""}),
        ("client", {"platform": "qq", "url": "wss://x/ws", "ssl_ca_certs": "/nowhere"}),
    ],
)
def test_an_update_is_all_or_nothing(manager, which, changes):
    config = manager.get_server_config() if which == "server" else manager.get_client_config()
    before = dict(vars(config))
    with pytest.raises(ConfigError):
        getattr(manager, f"update_{which}_config")(**changes)
    assert vars(config) == before


def test_without_a_configuration_there_is_nothing_to_update():
    for which in ("server", "client"):
        with pytest.raises(ConfigError, match=f"call set_{which}_config"):
            getattr(ConfigManager(), f"update_{which}_config")(log_level="DEBUG")


def test_validating_tells_of_everything_that_is_wrong(manager, caplog):
    assert manager.validate_all_configs()
    manager.get_server_config().ssl_enabled = True
    manager.get_client_config().api_key = ""
    assert not manager.validate_all_configs()
    assert "ServerConfig needs ssl_certfile" in caplog.text
    assert "ClientConfig needs api_key" in caplog.text


def test_the_program_shares_one_manager():
    assert get_config_manager() is get_config_manager()
    assert isinstance(get_config_manager(), ConfigManager)
