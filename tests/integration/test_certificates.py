"""The certificates that servers and clients are tested with."""

from __future__ import annotations

import contextlib
import ssl
from dataclasses import astuple
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs12

from support.tls import STORE_PASSWORD, java_stores, tls_files

if TYPE_CHECKING:
    from pathlib import Path

    from support.tls import TlsFiles


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return tls_files(tmp_path_factory.mktemp("tls") / "made")


def read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> None:
    """A server meets a client, in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    served = server.wrap_bio(to_server, to_client, server_side=True)
    asking = client.wrap_bio(to_client, to_server, server_hostname=host)
    for side in (asking, served, asking, served):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    assert served.cipher()
    assert asking.cipher()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_the_strictest_server_and_client_believe_each_other(files: TlsFiles, host: str) -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=files.ca)
    client = ssl.create_default_context(cafile=files.ca)
    server.load_cert_chain(files.cert, files.key)
    client.load_cert_chain(files.client_cert, files.client_key)
    for side in (server, client):
        side.verify_mode = ssl.CERT_REQUIRED
        side.verify_flags |= ssl.VERIFY_X509_STRICT
    shake_hands(server, client, host)


def test_nobody_else_reads_keys(files: TlsFiles) -> None:
    keys = (files.key, files.wrong_key, files.expired_key, files.client_key)
    for path in (*keys, *astuple(java_stores(files))):
        assert path.stat().st_mode & 0o777 == 0o600


def test_java_finds_each_key_with_its_chain(files: TlsFiles) -> None:
    stores = java_stores(files)
    for store, cert in ((stores.key, files.cert), (stores.wrong_key, files.wrong_cert)):
        held = pkcs12.load_pkcs12(store.read_bytes(), STORE_PASSWORD.encode())
        assert held.key
        assert held.cert
        chain = [held.cert, *held.additional_certs]
        assert [each.certificate for each in chain] == [read(cert), read(files.ca)]
