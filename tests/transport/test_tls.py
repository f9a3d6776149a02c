"""TLS contexts from files, and what is said when a file or a handshake is not right."""

from __future__ import annotations

import os
import shutil
import ssl
import time
from pathlib import Path

import pytest
import trio
import trio.testing

from maim_trio._transport import tls
from maim_trio.errors import ConfigError
from tests.certificates import Certificates


@pytest.fixture
def certificates(tmp_path) -> Certificates:
    return Certificates(tmp_path)


def server(certificates, **changes):
    wanted = {"certfile": certificates.cert, "keyfile": certificates.key, "ca_certs": None, "verify_clients": False}
    return tls.server_context(**{**wanted, **changes})


def client(certificates, **changes):
    wanted = {
        "ca_certs": certificates.ca,
        "certfile": None,
        "keyfile": None,
        "verify": True,
        "check_hostname": True,
    }
    return tls.client_context(**{**wanted, **changes})


# -- contexts


def test_tls_1_2_is_the_floor_of_both_sides(certificates):
    for context in (server(certificates), client(certificates)):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_a_server_asks_for_certificates_only_when_it_is_to_verify_them(certificates):
    assert server(certificates, ca_certs=certificates.ca).verify_mode == ssl.CERT_NONE
    context = server(certificates, ca_certs=certificates.ca, verify_clients=True)
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert len(context.get_ca_certs()) == 1
    with pytest.raises(ConfigError, match="ssl_verify needs ssl_ca_certs"):
        server(certificates, verify_clients=True)


@pytest.mark.parametrize(
    ("verify", "check_hostname", "mode", "checked"),
    [
        (True, True, ssl.CERT_REQUIRED, True),
        (True, False, ssl.CERT_REQUIRED, False),
        (False, True, ssl.CERT_NONE, False),
        (False, False, ssl.CERT_NONE, False),
    ],
)
def test_a_client_verifies_what_it_is_told_to(certificates, verify, check_hostname, mode, checked):
    context = client(certificates, verify=verify, check_hostname=check_hostname)
    assert (context.verify_mode, context.check_hostname) == (mode, checked)


def test_without_authorities_of_its_own_a_client_trusts_those_of_the_system(certificates, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", certificates.ca)
    ours = client(certificates, ca_certs=None).get_ca_certs()
    assert len(ours) == 1
    monkeypatch.setenv("SSL_CERT_FILE", certificates.other_ca)
    assert client(certificates, ca_certs=None).get_ca_certs() != ours


def test_one_file_may_hold_certificate_and_key_of_a_client(certificates):
    parts = [Path(path).read_bytes() for path in (certificates.cert, certificates.key)]
    both = certificates.write("both.pem", b"".join(parts))
    assert client(certificates, certfile=both)
    with pytest.raises(ConfigError, match="ssl_keyfile needs ssl_certfile"):
        client(certificates, keyfile=certificates.key)


# -- contexts are kept


def test_a_client_context_is_made_once_for_the_same_settings(certificates):
    context = client(certificates)
    assert client(certificates) is context
    assert client(certificates, check_hostname=False) is not context
    assert client(certificates, certfile=certificates.client_cert, keyfile=certificates.client_key) is not context
    assert client(certificates, verify=False, check_hostname=True) is client(
        certificates, verify=False, check_hostname=False
    )


@pytest.mark.parametrize("changed", ["ca", "client_cert", "client_key"])
def test_a_client_context_is_made_anew_when_one_of_its_files_has_changed(certificates, changed):
    settings = {"certfile": certificates.client_cert, "keyfile": certificates.client_key}
    context = client(certificates, **settings)
    path = getattr(certificates, changed)
    os.utime(path, ns=(time.time_ns(), time.time_ns() + 1_000_000_000))
    renewed = client(certificates, **settings)
    assert renewed is not context
    shutil.copy(path, path + ".new")
    os.replace(path + ".new", path)
    assert client(certificates, **settings) is not renewed


def test_a_file_that_is_gone_is_told_also_when_its_context_is_kept(certificates):
    client(certificates)
    os.unlink(certificates.ca)
    with pytest.raises(ConfigError, match="cannot be read"):
        client(certificates)


def test_a_server_context_is_made_anew_each_time(certificates):
    assert server(certificates) is not server(certificates)


# -- files that are not right


def damaged(certificates, name):
    lines = Path(getattr(certificates, name)).read_bytes().splitlines()
    return certificates.write("damaged", b"\n".join(lines[:2] + lines[3:]))


BAD_CERTIFICATES = {
    "missing": (lambda c: "/nowhere/cert.pem", "cannot be read: No such file"),
    "unreadable": (lambda c: str(c.folder), "cannot be read: Is a directory"),
    "impossible": (lambda c: "cert\0.pem", "cannot be read: embedded null"),
    "empty": (lambda c: c.write("empty", b""), "holds no certificate in PEM form"),
    "no PEM": (lambda c: c.write("text", b"hello"), "holds no certificate in PEM form"),
    "DER": (
        lambda c: c.write("der", ssl.PEM_cert_to_DER_cert(Path(c.ca).read_text())),
        "holds no certificate in PEM form",
    ),
    "a key": (lambda c: c.key, "holds no certificate in PEM form"),
    "damaged": (lambda c: damaged(c, "ca"), "is damaged"),
}


@pytest.mark.parametrize(("make", "said"), BAD_CERTIFICATES.values(), ids=BAD_CERTIFICATES)
def test_a_certificate_that_is_not_right_is_named_with_its_field(certificates, make, said):
    path = make(certificates)
    for context, field, name in (
        (server, "certfile", "ssl_certfile"),
        (lambda c, **f: server(c, verify_clients=True, **f), "ca_certs", "ssl_ca_certs"),
        (client, "ca_certs", "ssl_ca_certs"),
        (lambda c, **f: client(c, keyfile=c.key, **f), "certfile", "ssl_certfile"),
    ):
        with pytest.raises(ConfigError, match=said) as caught:
            context(certificates, **{field: path})
        assert str(caught.value).startswith(name)
        assert "\0" in path or path in str(caught.value)


BAD_KEYS = {
    "missing": (lambda c: "/nowhere/key.pem", "ssl_keyfile /nowhere/key.pem cannot be read: No such file"),
    "unreadable": (lambda c: str(c.folder), "ssl_keyfile .* cannot be read: Is a directory"),
    "no PEM": (lambda c: c.write("text", b"hello"), "ssl_keyfile .*text holds no private key in PEM form"),
    "a certificate": (lambda c: c.cert, "ssl_keyfile .*server.pem holds no private key in PEM form"),
    "damaged": (lambda c: damaged(c, "key"), "ssl_keyfile .*damaged is damaged"),
    "of another": (
        lambda c: c.client_key,
        "ssl_keyfile .*client.key does not belong to the certificate in .*server.pem",
    ),
    "protected": (lambda c: c.protected_key(), "ssl_keyfile is protected by a password"),
}


@pytest.mark.parametrize(("make", "said"), BAD_KEYS.values(), ids=BAD_KEYS)
def test_a_key_that_is_not_right_is_named_and_nobody_is_asked_for_a_password(certificates, make, said):
    path = make(certificates)
    with pytest.raises(ConfigError, match=said):
        server(certificates, keyfile=path)
    with pytest.raises(ConfigError, match=said):
        client(certificates, certfile=certificates.cert, keyfile=path)


# -- what broke a connection


def failure(reason):
    error = ssl.SSLError(1, "with what was sent")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("WRONG_VERSION_NUMBER", "ws://"),
        ("HTTP_REQUEST", "wss://"),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "set ssl_certfile and ssl_keyfile"),
        ("UNSUPPORTED_PROTOCOL", "1.2 is the lowest"),
        ("SOMETHING_NEW", "SOMETHING_NEW"),
        (None, "connection closed"),
    ],
)
def test_a_handshake_that_failed_is_explained_without_showing_what_was_sent(reason, said):
    explanation = tls.explain(failure(reason))
    assert explanation.startswith("TLS handshake failed: ")
    assert said in explanation
    assert "with what was sent" not in explanation


def test_plain_http_is_told_from_other_failures():
    error = trio.BrokenResourceError()
    assert not tls.speaks_plain_http(error)
    error.__cause__ = failure("HTTP_REQUEST")
    assert tls.speaks_plain_http(error)
    error.__cause__ = failure("WRONG_VERSION_NUMBER")
    assert not tls.speaks_plain_http(error)


# -- certificates of peers


async def test_a_peer_without_tls_or_before_its_handshake_has_shown_no_certificate(certificates):
    ours, theirs = trio.testing.memory_stream_pair()
    assert tls.peer_certificate(ours) == ("", None)
    stream = trio.SSLStream(theirs, server(certificates), server_side=True)
    assert tls.peer_certificate(stream) == ("", None)
