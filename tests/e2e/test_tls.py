"""TLS from end to end over real sockets: who gets in, who does not, and what both sides are told."""

from __future__ import annotations

import json
import shutil
import ssl
import warnings

import pytest
import trio

from maim_trio._transport.tls import server_stream, unsent_alert
from maim_trio.client import WebSocketClient, WebSocketMultiClient, create_ssl_client_config
from maim_trio.errors import NotConnected
from maim_trio.server import ServerConfig, WebSocketServer, create_ssl_server_config
from tests.certificates import Certificates
from tests.e2e.talk import KEY, Echo, Lines, Talker, echo, why_not
from tests.memory import text_message


@pytest.fixture(scope="module")
def certificates(tmp_path_factory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


# -- who gets in


async def test_messages_travel_both_ways_and_both_sides_know_it_is_tls(certificates):
    async with echo(certificates) as server:
        client = Talker(server.url(), **certificates.trusting)
        assert client.config.ssl_enabled  # from the URL
        async with client:
            assert await client.connect()
            await client.talks()
        assert (server.metadata[-1]["client_cert"], server.metadata[-1]["client_cert_info"]) == ("", None)
        assert server.metadata[-1]["client_ip"] == "127.0.0.1"


async def test_large_messages_pass_in_both_directions(certificates):
    async with Echo(certificates) as server, Talker(server.url(), **certificates.trusting) as client:
        assert await client.connect()
        large = "x" * (3 << 20)
        assert await client.send_message(text_message(large, to=KEY))
        assert await client._heard.receive() == large


async def test_ssl_enabled_makes_tls_of_any_url(certificates):
    async with echo(certificates) as server:
        client = Talker(server.url("ws"), ssl_enabled=True, **certificates.trusting)
        async with client:
            assert await client.connect()
            await client.talks()


@pytest.mark.parametrize("form", ["url", "host and port"])
async def test_both_documented_forms_of_create_ssl_client_config_connect(certificates, form):
    async with echo(certificates) as server:
        if form == "url":
            config = create_ssl_client_config(url=server.url(), api_key="k1", ssl_verify=True, **certificates.trusting)
        else:
            config = create_ssl_client_config(host="localhost", port=server.port, api_key="k1", **certificates.trusting)
        async with WebSocketClient(config) as client:
            assert await client.connect(), client.get_last_error()


async def test_create_ssl_server_config_is_all_a_server_needs(certificates):
    config = create_ssl_server_config(
        "127.0.0.1", 0, certificates.cert, certificates.key, on_auth=lambda metadata: True
    )
    async with WebSocketServer(config) as server:
        client = Talker(f"wss://localhost:{server.port}/ws", **certificates.trusting)
        async with client:
            assert await client.connect()


async def test_a_multi_client_mixes_connections_with_and_without_tls(certificates):
    plain = WebSocketServer(ServerConfig(host="127.0.0.1", port=0, on_auth=lambda metadata: True))
    async with echo(certificates) as server, plain, WebSocketMultiClient() as client:
        client.config.register_ssl_connection("tls", server.url("ws"), "k1", "p", certificates.ca)
        client.register_connection("plain", f"ws://127.0.0.1:{plain.port}/ws", "k2")
        assert await client.connect() == {"tls": True, "plain": True}


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_names_and_addresses_are_verified_alike(certificates, host):
    async with echo(certificates) as server:
        client = Talker(server.url(host=host), **certificates.trusting)
        async with client:
            assert await client.connect(), client.get_last_error()


# -- who does not


async def test_an_expired_certificate_is_not_accepted(certificates):
    cert, key = certificates.expired()
    async with Echo(certificates, ssl_certfile=cert, ssl_keyfile=key) as server:
        error = await why_not(server.url(), **certificates.trusting)
        assert "TLS certificate not accepted: certificate has expired" in error
        assert "did not accept our certificate: it has expired" in await server.lines.wait("handshake failed")


async def test_a_certificate_for_another_host_is_not_accepted_unless_told_so(certificates):
    cert, key = certificates.another("elsewhere", "bot.example")
    async with Echo(certificates, ssl_certfile=cert, ssl_keyfile=key) as server:
        error = await why_not(server.url(), **certificates.trusting)
        assert "TLS certificate not accepted: Hostname mismatch" in error
        async with Talker(server.url(), ssl_check_hostname=False, **certificates.trusting) as client:
            assert await client.connect()
        error = await why_not(server.url(), ssl_check_hostname=False, ssl_ca_certs=certificates.other_ca)
        assert "TLS certificate not accepted" in error  # the authority counts all the same


async def test_a_certificate_of_another_authority_is_not_accepted_unless_told_so(certificates):
    async with echo(certificates) as server:
        for trusted in ({"ssl_ca_certs": certificates.other_ca}, {}):  # {}: the system's
            error = await why_not(server.url(), **trusted)
            assert "TLS certificate not accepted: unable to get local issuer certificate" in error
        async with Talker(server.url(), ssl_verify=False) as client:
            assert await client.connect()
            await client.talks()


async def test_what_the_client_does_not_accept_is_one_line_in_the_log_of_the_server(certificates):
    async with echo(certificates) as server:
        await why_not(server.url(), ssl_ca_certs=certificates.other_ca)
        line = await server.lines.wait("handshake failed")
        assert "did not accept our certificate" in line
        assert server.lines.lines == [line]


async def test_connect_tells_at_once_what_will_not_mend_by_itself(certificates):
    """And an unchanged client finds a server that has mended it, as after a renewal that went wrong for a moment."""
    old_cert, old_key = certificates.expired()
    async with Echo(certificates, ssl_certfile=old_cert, ssl_keyfile=old_key) as server:
        async with Talker(server.url(), connect_timeout=60, reconnect_delay=0.1, **certificates.trusting) as client:
            with trio.fail_after(5):
                assert await client.connect() is False
                assert "it has to be renewed, or the clock of this machine is wrong" in client.get_last_error()
                shutil.copy(certificates.cert, old_cert)
                shutil.copy(certificates.key, old_key)
                server.reload_tls()
                await client.wait_connected()
            await client.talks()
        strict = {"connect_timeout": 60, "auto_reconnect": False, "ssl_ca_certs": certificates.other_ca}
        with trio.fail_after(5):
            async with Talker(server.url(), **strict) as client:
                assert await client.connect() is False
                assert "ssl_ca_certs names the file of its authority" in client.get_last_error()
                with pytest.raises(NotConnected, match="auto_reconnect is off"):
                    await client.wait_connected()


# -- mutual TLS


@pytest.fixture
def mutual(certificates):
    return {"ssl_verify": True, "ssl_ca_certs": certificates.ca}


async def test_the_certificate_of_a_client_is_in_the_metadata_of_every_callback(certificates, mutual):
    seen = []
    async with Echo(certificates, **mutual, on_connect=lambda uuid, metadata: seen.append(metadata)) as server:
        async with Talker(server.url(), **certificates.identified) as client:
            assert await client.connect(), client.get_last_error()
            await client.talks()
        for metadata in (*server.metadata, *seen):
            pem = metadata["client_cert"]
            assert pem.startswith("-----BEGIN CERTIFICATE-----")
            assert "expired" not in pem.lower()  # what the guide's example asks
            assert ("commonName", "bot-1") in [pair for rdn in metadata["client_cert_info"]["subject"] for pair in rdn]
            json.dumps(metadata["client_cert_info"])
        assert len(seen) == 1


async def test_a_client_without_a_certificate_is_told_what_is_missing(certificates, mutual):
    async with echo(certificates, **mutual) as server:
        error = await why_not(server.url(), **certificates.trusting)
        assert "set ssl_certfile and ssl_keyfile" in error
        assert "the client showed no certificate" in await server.lines.wait("handshake failed")


async def test_a_client_with_a_certificate_of_another_authority_or_an_old_one_is_refused(certificates, mutual):
    expired_cert, expired_key = certificates.expired_client()
    async with echo(certificates, **mutual) as server:
        for cert, key in ((certificates.strange_cert, certificates.strange_key), (expired_cert, expired_key)):
            error = await why_not(server.url(), ssl_certfile=cert, ssl_keyfile=key, **certificates.trusting)
            assert "did not accept our certificate" in error
        await server.lines.wait("certificate has expired")
        assert len(server.metadata) == 1  # on_auth was asked for the good client only


async def test_a_plain_server_config_with_authorities_asks_nobody(certificates):
    async with echo(certificates, ssl_ca_certs=certificates.ca) as server:
        async with Talker(server.url(), **certificates.identified) as client:
            assert await client.connect()
        assert server.metadata[-1]["client_cert"] == ""


# -- versions


async def shake(port, context):
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    tls = trio.SSLStream(stream, context, server_hostname="localhost")
    try:
        await tls.do_handshake()
        return tls._ssl_object.version()  # trio shows it nowhere else
    finally:
        await trio.aclose_forcefully(tls)


def context_of(certificates, version):
    context = ssl.create_default_context(cafile=certificates.ca)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")  # or OpenSSL would not even try
    return context


async def test_tls_1_1_is_refused_and_newer_versions_are_not(certificates):
    async with echo(certificates) as server:
        assert await shake(server.port, context_of(certificates, ssl.TLSVersion.TLSv1_2)) == "TLSv1.2"
        assert await shake(server.port, context_of(certificates, ssl.TLSVersion.TLSv1_3)) == "TLSv1.3"
        with pytest.raises(trio.BrokenResourceError):
            await shake(server.port, context_of(certificates, ssl.TLSVersion.TLSv1_1))
        assert "1.2 is the lowest" in await server.lines.wait("no version of TLS in common")


async def test_a_client_refuses_a_server_that_knows_only_tls_1_1(certificates, nursery):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.load_cert_chain(certificates.cert, certificates.key)

    async def old(stream):
        tls = server_stream(stream, context)
        with pytest.raises(trio.BrokenResourceError):
            await tls.do_handshake()
        await stream.send_all(unsent_alert(tls))
        await stream.aclose()

    listeners = await nursery.start(trio.serve_tcp, old, 0)
    port = listeners[0].socket.getsockname()[1]
    error = await why_not(f"wss://localhost:{port}/ws", **certificates.trusting)
    assert "no version of TLS in common" in error


# -- TLS and plain do not fit


async def test_a_plain_client_on_the_tls_port_is_told_to_use_wss(certificates):
    async with echo(certificates) as server:
        client = Talker(server.url("ws"))
        async with client:
            assert await client.connect() is False  # at once: nothing will change
            assert "this port speaks TLS: the url must begin with wss://" in client.get_last_error()
        line = await server.lines.wait("handshake failed")
        assert "plain HTTP where TLS was expected" in line
        assert [line for line in server.lines.lines if "handshake" in line] == [line]
        assert KEY not in "".join(server.lines.lines)


async def test_a_browser_or_curl_on_the_tls_port_gets_an_answer_it_can_show(certificates):
    async with echo(certificates) as server:
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        async for data in stream:
            answer += data
        await stream.aclose()
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"wss://" in answer


async def test_a_tls_client_on_the_plain_port_is_told_to_use_ws(certificates):
    lines = Lines()
    plain = WebSocketServer(ServerConfig(host="127.0.0.1", port=0, on_auth=lambda metadata: True, custom_logger=lines))
    async with plain:
        url = f"127.0.0.1:{plain.port}/ws"
        async with Talker(f"ws://{url}") as good:
            assert await good.connect()
            lines.lines.clear()
            error = await why_not(f"wss://{url}")
            assert "should perhaps begin with ws://" in error
            assert "TLS where plain HTTP was expected" in await lines.wait("handshake failed")
            assert good.lost == []
            assert good.is_connected()


async def test_a_foreign_tls_server_that_hangs_up_without_a_word_is_suspected_too(nursery):
    async def hangs_up(stream):
        await stream.receive_some()
        await stream.aclose()

    listeners = await nursery.start(trio.serve_tcp, hangs_up, 0)
    port = listeners[0].socket.getsockname()[1]
    error = await why_not(f"ws://127.0.0.1:{port}/ws")
    assert "if the server expects TLS, the url must begin with wss://" in error


@pytest.mark.parametrize("reads", [True, False])
async def test_over_tls_what_hangs_up_without_a_word_is_suspected_of_speaking_none(nursery, reads):
    async def hangs_up(stream):
        if reads:
            await stream.receive_some()
        await stream.aclose()

    listeners = await nursery.start(trio.serve_tcp, hangs_up, 0)
    error = await why_not(f"wss://127.0.0.1:{listeners[0].socket.getsockname()[1]}/ws")
    assert "speaks no TLS there" in error
    assert "ws://" in error
