"""Certificates for tests, good and bad, as the files that a configuration names."""

from __future__ import annotations

import datetime
from functools import partial
from pathlib import Path
from typing import Any

import trustme
from cryptography.hazmat.primitives import serialization

LOCAL = ("localhost", "127.0.0.1", "::1")

_issue = partial(trustme.CA.issue_cert, key_type=trustme.KeyType.ECDSA)


class Certificates:
    """An authority and what it has signed, written to a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        self._stranger = trustme.CA(key_type=trustme.KeyType.ECDSA)
        self.ca = self.write("ca.pem", self._authority.cert_pem.bytes())
        self.other_ca = self.write("other_ca.pem", self._stranger.cert_pem.bytes())
        self.cert, self.key = self.pair("server", _issue(self._authority, *LOCAL))
        self.client_cert, self.client_key = self.pair("client", _issue(self._authority, common_name="bot-1"))
        self.strange_cert, self.strange_key = self.pair("strange", _issue(self._stranger, *LOCAL))

    def write(self, name: str, content: bytes) -> str:
        path = self.folder / name
        path.write_bytes(content)
        return str(path)

    def pair(self, name: str, issued: trustme.LeafCert) -> tuple[str, str]:
        """The files of a certificate with its chain, and of its key."""
        chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
        return self.write(f"{name}.pem", chain), self.write(f"{name}.key", issued.private_key_pem.bytes())

    def another(self, name: str, *hosts: str) -> tuple[str, str]:
        """A further certificate of the same authority, good for these hosts."""
        return self.pair(name, _issue(self._authority, *(hosts or LOCAL)))

    def expired(self) -> tuple[str, str]:
        yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
        before = yesterday - datetime.timedelta(days=1)
        return self.pair("expired", _issue(self._authority, *LOCAL, not_before=before, not_after=yesterday))

    def expired_client(self) -> tuple[str, str]:
        yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
        before = yesterday - datetime.timedelta(days=1)
        issued = _issue(self._authority, common_name="bot-1", not_before=before, not_after=yesterday)
        return self.pair("expired_client", issued)

    def protected_key(self) -> str:
        """The server's key, under a password."""
        key = serialization.load_pem_private_key(Path(self.key).read_bytes(), None)
        return self.write(
            "protected.key",
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"sesame"),
            ),
        )

    @property
    def serving(self) -> dict[str, Any]:
        """The fields of a server's configuration."""
        return {"ssl_enabled": True, "ssl_certfile": self.cert, "ssl_keyfile": self.key}

    @property
    def trusting(self) -> dict[str, Any]:
        """The fields of a client's configuration."""
        return {"ssl_ca_certs": self.ca}

    @property
    def identified(self) -> dict[str, Any]:
        """The fields of a client's configuration that shows a certificate of its own."""
        return {**self.trusting, "ssl_certfile": self.client_cert, "ssl_keyfile": self.client_key}
