"""The files of TLS: checked before anything listens or dials, and read again while a server runs."""

from __future__ import annotations

import shutil
import ssl

import pytest
import trio

from maim_trio.client import WebSocketClient, create_ssl_client_config
from maim_trio.errors import ConfigError, NotRunning
from maim_trio.server import ServerConfig, WebSocketServer, create_ssl_server_config
from tests.certificates import Certificates
from tests.e2e.talk import KEY, Echo, Lines, Talker, echo, why_not


@pytest.fixture(scope="module")
def certificates(tmp_path_factory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


# -- files are checked before anything listens or dials


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ssl_certfile": None}, "ServerConfig needs ssl_certfile"),
        ({"ssl_keyfile": ""}, "ServerConfig needs ssl_keyfile"),
        ({"ssl_verify": True}, "ServerConfig needs ssl_ca_certs"),
        ({"ssl_certfile": "/nowhere.pem"}, "ssl_certfile /nowhere.pem cannot be read"),
        ({"ssl_verify": True, "ssl_ca_certs": "/nowhere.pem"}, "ssl_ca_certs /nowhere.pem cannot be read"),
    ],
)
def test_a_server_is_not_made_of_files_that_are_not_right(certificates, caplog, changes, said):
    config = create_ssl_server_config(**{"ssl_certfile": certificates.cert, "ssl_keyfile": certificates.key, **changes})
    assert not config.validate()
    assert said in caplog.text
    with pytest.raises(ConfigError, match=said):
        WebSocketServer(config)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ssl_ca_certs": "/nowhere.pem"}, "ssl_ca_certs /nowhere.pem cannot be read"),
        ({"ssl_certfile": "/nowhere.pem", "ssl_keyfile": "/x"}, "ssl_certfile /nowhere.pem cannot be read"),
        ({"ssl_keyfile": "/nowhere.pem"}, "ssl_keyfile needs ssl_certfile"),
    ],
)
def test_a_client_is_not_made_of_files_that_are_not_right(certificates, caplog, changes, said):
    config = create_ssl_client_config("wss://localhost:1/ws", KEY, **changes)
    assert not config.validate()
    assert said in caplog.text
    with pytest.raises(ConfigError, match=said):
        WebSocketClient(config)
    assert KEY not in caplog.text


async def test_files_that_are_gone_since_are_told_at_the_start(certificates, tmp_path, nursery):
    cert = shutil.copy(certificates.cert, tmp_path)
    server = Echo(certificates, ssl_certfile=str(cert))
    client = Talker("wss://localhost:1/ws", ssl_ca_certs=shutil.copy(certificates.ca, tmp_path))
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(ConfigError, match=r"ssl_certfile .* cannot be read"):
        await server.start(nursery)
    with pytest.raises(ConfigError, match=r"ssl_ca_certs .* cannot be read"):
        async with client:
            raise AssertionError("not reached")


# -- reloading


@pytest.fixture
def rotating(certificates, tmp_path):
    """Files whose content a test replaces, and a function that does it."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def put(new_cert, new_key):
        shutil.copy(new_cert, cert)
        shutil.copy(new_key, key)

    put(certificates.cert, certificates.key)
    return {"ssl_certfile": str(cert), "ssl_keyfile": str(key)}, put


async def shown_certificate(server, certificates):
    context = ssl.create_default_context(cafile=certificates.ca)
    tls = trio.SSLStream(await trio.open_tcp_stream("127.0.0.1", server.port), context, server_hostname="localhost")
    await tls.do_handshake()
    serial = tls.getpeercert()["serialNumber"]
    await trio.aclose_forcefully(tls)
    return serial


async def test_a_reload_shows_the_new_certificate_and_drops_nobody(certificates, rotating):
    files, put = rotating
    async with echo(certificates, **files) as server:
        before = await shown_certificate(server, certificates)
        put(*certificates.another("renewed"))
        assert await shown_certificate(server, certificates) == before
        server.reload_tls()
        after = await shown_certificate(server, certificates)
        assert after != before
        async with Talker(server.url(), **certificates.trusting) as newcomer:
            assert await newcomer.connect()
            await newcomer.talks()
        assert "read again" in await server.lines.wait("TLS certificate")


async def test_a_reload_of_broken_files_is_told_and_keeps_the_old_certificate(certificates, rotating):
    files, put = rotating
    async with echo(certificates, **files) as server:
        before = await shown_certificate(server, certificates)
        put(certificates.cert, certificates.client_key)
        with pytest.raises(ConfigError, match="does not belong"):
            server.reload_tls()
        assert await shown_certificate(server, certificates) == before


async def test_a_reload_takes_over_new_paths_and_authorities(certificates):
    async with echo(certificates) as server:
        server.update_config(ssl_verify=True, ssl_ca_certs=certificates.ca)
        assert "ssl_ca_certs, ssl_verify will apply at the next start" in "".join(server.lines.lines)
        server.reload_tls()
        assert "set ssl_certfile" in await why_not(server.url(), **certificates.trusting)


async def test_reloading_needs_a_running_tls_server(certificates):
    server = Echo(certificates)
    with pytest.raises(NotRunning):
        server.reload_tls()
    async with WebSocketServer(ServerConfig(host="127.0.0.1", port=0, on_auth=lambda metadata: True)) as plain:
        with pytest.raises(NotRunning):
            plain.reload_tls()


async def test_a_client_takes_renewed_files_at_its_next_connect(certificates, rotating, tmp_path):
    ca = tmp_path / "ca.pem"
    shutil.copy(certificates.other_ca, ca)
    async with Echo(certificates) as server:
        lines = Lines()
        async with Talker(server.url(), ssl_ca_certs=str(ca), custom_logger=lines) as client:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.connect)
                await lines.wait("could not connect")
                nursery.cancel_scope.cancel()
            shutil.copy(certificates.ca, ca)
            assert await client.connect(), client.get_last_error()
