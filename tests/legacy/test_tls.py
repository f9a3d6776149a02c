"""The legacy half over TLS, on real sockets: who trusts whom."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from maim_trio import MessageClient, MessageServer, RouteConfig, Router, TargetConfig
from tests.certificates import Certificates
from tests.legacy.memory import TOKEN, text, words_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(scope="module")
def certificates(tmp_path_factory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
async def server(certificates) -> AsyncIterator[MessageServer]:
    server = MessageServer(
        "127.0.0.1", 0, enable_token=True, ssl_certfile=certificates.cert, ssl_keyfile=certificates.key
    )
    server.add_valid_token(TOKEN)
    async with server:
        yield server


def url_of(server, scheme="wss"):
    return f"{scheme}://127.0.0.1:{server.port}/ws"


async def test_messages_travel_both_ways(server, certificates):
    send, heard = trio.open_memory_channel(10)

    async def on_message(message):
        await send.send(words_of(message))

    async with MessageClient() as client:
        for side in (server, client):
            side.register_message_handler(on_message)
        assert await client.connect(url_of(server), "qq", TOKEN, certificates.ca) is True
        assert await client.send_message(text("up")) is True
        assert await heard.receive() == "up"
        assert await server.send_message(text("down")) is True
        assert await heard.receive() == "down"


@pytest.mark.parametrize("trust", [None, True, "other_ca"])
async def test_a_certificate_is_checked_unless_told_otherwise(server, certificates, trust):
    ssl_verify = certificates.other_ca if trust == "other_ca" else trust
    async with MessageClient(connect_timeout=2) as client:
        assert await client.connect(url_of(server), "qq", TOKEN, ssl_verify) is False
        assert "TLS certificate not accepted" in client.get_last_error()
    assert server.get_stats()["total_auth_requests"] == 0  # the token was never sent


async def test_connect_tells_at_once_what_will_not_mend_by_itself(server, certificates, log):
    async with MessageClient(connect_timeout=60) as client:
        with trio.fail_after(5):
            assert await client.connect(url_of(server), "qq", TOKEN, certificates.other_ca) is False
        assert "in the older half: ssl_verify" in client.get_last_error()
        assert client.is_running()
    assert log.having("cannot connect to wss://127.0.0.1", "ERROR")


async def test_false_trusts_everybody_and_says_so(server, log):
    async with MessageClient() as client:
        assert await client.connect(url_of(server), "qq", TOKEN, False) is True
    assert log.having("ssl_verify is off", "WARNING")


async def test_a_router_gives_each_platform_its_own_trust(server, certificates):
    config = RouteConfig(
        {
            "trusting": TargetConfig(url_of(server), TOKEN, certificates.ca),
            "strict": TargetConfig(url_of(server), TOKEN, certificates.other_ca),
        }
    )
    async with Router(config, connect_timeout=2) as router:
        assert await router.connect("trusting") is True
        assert await router.connect("strict") is False
        await router.update_config(
            RouteConfig({"strict": TargetConfig(url_of(server), TOKEN, certificates.ca)})  # only ssl_verify has changed
        )
        assert await router.connect("strict") is True


async def test_a_client_without_tls_is_told_what_is_wrong(server):
    async with MessageClient(connect_timeout=2) as client:
        assert await client.connect(url_of(server, "ws"), "qq", TOKEN) is False
        assert "this port speaks TLS" in client.get_last_error()


@pytest.fixture
def both(certificates) -> str:
    """A file with a certificate and its key."""
    return certificates.write("both.pem", Path(certificates.cert).read_bytes() + Path(certificates.key).read_bytes())


async def test_key_and_certificate_may_be_in_one_file(certificates, both):
    async with MessageServer("127.0.0.1", 0, ssl_certfile=both) as server, MessageClient() as client:
        assert await client.connect(url_of(server), "qq", ssl_verify=certificates.ca) is True
