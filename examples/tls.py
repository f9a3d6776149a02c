"""TLS, and mutual TLS: the client checks the server's certificate, and the server the client's.

python examples/tls.py                  # makes certificates with the command `openssl`, in a temporary folder
python examples/tls.py FOLDER           # takes ca.crt, server.crt, server.key, client.crt, client.key from there

Server and clients are in one program, on free ports. A real server has its own certificate, of an authority that
everybody knows; then clients need no more than a wss:// URL: create_client_config("wss://chat.example/ws", key).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import trio

from maim_trio.client import WebSocketClient, create_client_config, create_ssl_client_config
from maim_trio.server import AuthResult, WebSocketServer, create_ssl_server_config

NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
LEAF = "basicConstraints=CA:FALSE\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def make_authority(folder: Path) -> None:
    usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
    openssl(folder, "req", "-x509", *NEW_KEY, *usage, "-subj", "/CN=Example CA", "-keyout", "ca.key", "-out", "ca.crt")


def make_certificate(folder: Path, name: str, common_name: str, names: str) -> None:
    """NAME.crt and NAME.key, signed by the authority. `names` are those that a peer compares with the host name."""
    (folder / f"{name}.ext").write_text(f"{LEAF}subjectAltName={names}\n")
    openssl(folder, "req", *NEW_KEY, "-subj", f"/CN={common_name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
    signed_by = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30"]
    openssl(folder, "x509", "-req", "-in", f"{name}.csr", *signed_by, "-extfile", f"{name}.ext", "-out", f"{name}.crt")


def on_auth(metadata: dict[str, Any]) -> AuthResult:
    certificate = metadata["client_cert_info"]  # None unless the server asks for one; the PEM is in client_cert
    if certificate is None:
        return AuthResult(True, "somebody")
    subject = dict(field for (field,) in certificate["subject"])
    print(f"  server: a certificate for {subject['commonName']!r} was shown")
    return AuthResult(True, subject["commonName"])


async def attempt(what: str, config: Any) -> None:
    """Says whether a client with this configuration gets in."""
    # It tries again for `connect_timeout` seconds: a certificate may be renewed, a server may be starting.
    config.update({"log_level": "CRITICAL", "auto_reconnect": False, "connect_timeout": 1.5})
    async with WebSocketClient(config) as client:
        connected = await client.connect()
        print(f"  {what}: {'connected' if connected else f'no connection: {client.get_last_error()}'}")


async def main(folder: Path) -> None:
    ca, cert, key = (str(folder / name) for name in ("ca.crt", "server.crt", "server.key"))
    mine: dict[str, Any] = {"ssl_certfile": str(folder / "client.crt"), "ssl_keyfile": str(folder / "client.key")}
    # Files that are missing, unreadable or do not belong together raise ConfigError in WebSocketServer(...).
    common: dict[str, Any] = {"on_auth": on_auth, "log_level": "CRITICAL"}

    print("TLS")
    async with WebSocketServer(create_ssl_server_config("127.0.0.1", 0, cert, key, **common)) as server:
        url = f"wss://localhost:{server.port}/ws"
        await attempt("with the authority", create_ssl_client_config(url, "a-key", ssl_ca_certs=ca))
        await attempt("without it", create_ssl_client_config(url, "a-key"))
        await attempt("without TLS", create_client_config(url.replace("wss:", "ws:"), "a-key"))

    print("mutual TLS")
    config = create_ssl_server_config("127.0.0.1", 0, cert, key, ssl_verify=True, ssl_ca_certs=ca, **common)
    async with WebSocketServer(config) as server:
        url = f"wss://localhost:{server.port}/ws"
        await attempt("without a certificate", create_ssl_client_config(url, "a-key", ssl_ca_certs=ca))
        await attempt("with a certificate", create_ssl_client_config(url, "a-key", ssl_ca_certs=ca, **mine))

        # Certificates expire. New files are read again while the server runs, and who is connected stays connected.
        async with WebSocketClient(create_ssl_client_config(url, "a-key", ssl_ca_certs=ca, **mine)) as client:
            await client.connect()
            server.reload_tls()
            print("  reloaded; still connected:", client.is_connected())


if __name__ == "__main__":
    if len(sys.argv) > 1:
        trio.run(main, Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            make_authority(Path(temporary))
            make_certificate(Path(temporary), "server", "localhost", "DNS:localhost,IP:127.0.0.1")
            make_certificate(Path(temporary), "client", "bot-1", "DNS:bot-1")
            trio.run(main, Path(temporary))
