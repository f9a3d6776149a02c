"""TLS, over real sockets and with real certificates."""

from __future__ import annotations

import shutil
import ssl
import warnings
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio

from maim_trio.client import WebSocketClient, create_ssl_client_config
from maim_trio.errors import NotRunning
from maim_trio.server import WebSocketServer, create_ssl_server_config
from tests.checklist.behaviour import real_sockets
from tests.checklist.world import KEY, Recorder, certificates, content
from tests.memory import Network, text_message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def _tls_server(**fields: Any) -> AsyncIterator[WebSocketServer]:
    files = certificates()
    pair = {"ssl_certfile": files.certfile, "ssl_keyfile": files.keyfile}
    async with WebSocketServer(create_ssl_server_config(host="127.0.0.1", port=0, **{**pair, **fields})) as server:
        yield server


def _client(server: WebSocketServer, host: str = "localhost", **fields: Any) -> WebSocketClient:
    fields = {"ssl_ca_certs": certificates().authority, **fields}
    return WebSocketClient(create_ssl_client_config(host=host, port=server.port, api_key=KEY, **fields))


class _Refusals(Recorder):
    """A logger that keeps the lines about attempts that failed."""

    def info(self, line: str) -> None:
        if "could not connect" in line:
            self(line)

    debug = warning = error = lambda _self, _line: None


async def _why_not(server: WebSocketServer, host: str = "localhost", **fields: Any) -> str:
    """Why the first attempt of a client fails."""
    refusals = _Refusals()
    async with _client(server, host, custom_logger=refusals, **fields) as client, trio.open_nursery() as nursery:
        nursery.start_soon(client.connect)
        (line,) = await refusals.wait()
        nursery.cancel_scope.cancel()
    return str(line)


@real_sockets
async def tls_end_to_end() -> None:
    heard = Recorder()
    async with _tls_server(on_message=heard) as server, _client(server) as client:
        assert client.config.url.startswith("wss://")
        assert await client.connect(), client.get_last_error()
        await client.send_message(text_message("secret"))
        message, metadata = await heard.wait()
        assert (content(message), metadata["client_cert"], metadata["client_cert_info"]) == ("secret", "", None)


@real_sockets
async def tls_verifies_unless_told_not_to() -> None:
    async with _tls_server() as server:
        other = certificates().other_authority
        assert "certificate" in await _why_not(server, ssl_ca_certs=other)
        async with _client(server, ssl_ca_certs=other, ssl_verify=False) as client:
            assert await client.connect(), client.get_last_error()


@real_sockets
async def tls_checks_the_host_name_unless_told_not_to() -> None:
    async with _tls_server() as server:
        assert "IP address mismatch" in await _why_not(server, host="127.0.0.1")
        async with _client(server, host="127.0.0.1", ssl_check_hostname=False) as client:
            assert await client.connect(), client.get_last_error()


@real_sockets
async def mutual_tls() -> None:
    came, files = Recorder(), certificates()
    async with _tls_server(ssl_ca_certs=files.authority, ssl_verify=True, on_connect=came) as server:
        await _why_not(server)  # without a certificate
        pair = {"ssl_certfile": files.client_certfile, "ssl_keyfile": files.client_keyfile}
        async with _client(server, **pair) as client:
            assert await client.connect(), client.get_last_error()
        ((_, metadata),) = came.calls
    assert metadata["client_cert"].startswith("-----BEGIN CERTIFICATE-----")
    assert ("email", "client@bot.example") in metadata["client_cert_info"]["subjectAltName"]


@real_sockets
async def tls_1_2_is_the_floor() -> None:
    async with _tls_server() as server:
        for version, accepted in ((ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True)):
            context = ssl.create_default_context(cafile=certificates().authority)
            with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
                context.minimum_version = context.maximum_version = version
            context.set_ciphers("DEFAULT:@SECLEVEL=0")
            stream = await trio.open_ssl_over_tcp_stream("localhost", server.port, ssl_context=context)
            try:
                await stream.do_handshake()
            except (ssl.SSLError, trio.BrokenResourceError):
                assert not accepted
            else:
                assert accepted
            await trio.aclose_forcefully(stream)


@real_sockets
async def a_certificate_is_reloaded() -> None:
    files = certificates()
    copies = {"ssl_certfile": f"{files.certfile}.live", "ssl_keyfile": f"{files.keyfile}.live"}
    shutil.copy(files.certfile, copies["ssl_certfile"])
    shutil.copy(files.keyfile, copies["ssl_keyfile"])
    async with _tls_server(**copies) as server, _client(server) as client:
        assert await client.connect(), client.get_last_error()
        shutil.copy(files.client_certfile, copies["ssl_certfile"])  # another certificate, not for localhost
        shutil.copy(files.client_keyfile, copies["ssl_keyfile"])
        server.reload_tls()
        assert client.is_connected(), "who is there stays"
        assert "certificate" in await _why_not(server)


async def only_a_tls_server_reloads_its_certificate() -> None:
    async with Network().server() as server:
        with pytest.raises(NotRunning):
            server.reload_tls()
