"""The configuration of a router."""

from __future__ import annotations

import pytest

from maim_trio import RouteConfig, Router, TargetConfig
from maim_trio.errors import ConfigError
from tests.legacy.memory import TOKEN, URL

PLAIN = {"route_config": {"qq": {"url": URL, "token": TOKEN, "ssl_verify": None}, "wechat": {"url": URL}}}


def test_dicts_go_in_and_come_out_and_are_not_changed():
    before = {"route_config": {platform: dict(target) for platform, target in PLAIN["route_config"].items()}}
    config = RouteConfig.from_dict(PLAIN)
    assert before == PLAIN
    assert config.route_config["qq"] == TargetConfig(URL, TOKEN)
    assert config.to_dict() == {
        "route_config": {
            "qq": {"url": URL, "token": TOKEN, "ssl_verify": None},
            "wechat": {"url": URL, "token": None, "ssl_verify": None},
        }
    }
    assert RouteConfig.from_dict(config.to_dict()) == config
    assert RouteConfig.from_dict({"route_config": config.route_config}) == config


def test_nothing_is_a_configuration_too():
    assert RouteConfig().route_config == RouteConfig(None).route_config == {}
    assert TargetConfig() == TargetConfig(None, None, None)


def test_the_repr_shows_no_token():
    assert TOKEN not in repr(RouteConfig.from_dict(PLAIN))
    assert URL in repr(TargetConfig(URL))


def test_a_misspelt_name_is_ignored_with_a_warning_that_offers_the_right_one(caplog):
    data = {"route_config": {"qq": {"ulr": URL, "tokn": TOKEN, "note": "x"}}, "version": 1}
    assert RouteConfig.from_dict(data).route_config == {"qq": TargetConfig()}
    assert TargetConfig.from_dict({"url": URL, "SSL_verify": False}) == TargetConfig(URL)
    assert caplog.messages == [
        "a router's configuration has no field version: ignored",
        "the target of platform qq has no field ulr, tokn, note: ignored; did you mean url, token?",
        "a target has no field SSL_verify: ignored; did you mean ssl_verify?",
    ]
    assert {record.levelname for record in caplog.records} == {"WARNING"}
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("data", [None, [], {}, {"route_config": None}, {"route_config": []}, {"routes": {}}])
def test_another_shape_is_named(data):
    with pytest.raises(ConfigError, match=r'must be like \{"route_config"'):
        RouteConfig.from_dict(data)


def test_a_target_of_another_shape_is_named():
    with pytest.raises(ConfigError, match="a target must be a dict, not str"):
        RouteConfig.from_dict({"route_config": {"qq": URL}})


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (TargetConfig(), "platform 'qq': url must be a string, not NoneType"),
        (TargetConfig("ws://"), "platform 'qq': url names no host"),
        (TargetConfig(URL, 5), "platform 'qq': token must be a string or None"),
        (TargetConfig("wss://x", ssl_verify="/nowhere.pem"), "platform 'qq': ssl_ca_certs /nowhere.pem cannot be read"),
        ({"url": URL}, "platform 'qq' needs a TargetConfig, not dict"),
    ],
)
def test_a_router_names_what_cannot_work_and_where(target, words):
    with pytest.raises(ConfigError) as caught:
        Router(RouteConfig({"qq": target}))
    assert words in str(caught.value)


@pytest.mark.parametrize("config", [{}, None, RouteConfig([])])
def test_a_router_takes_a_route_config(config):
    with pytest.raises(ConfigError):
        Router(config)
