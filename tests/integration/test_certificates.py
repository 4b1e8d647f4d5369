"""The certificates that secured servers are tested with."""

from __future__ import annotations

import ssl

import pytest

from support.certificates import Certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls") / "made")


def context(certificates: Certificates, purpose: ssl.Purpose, name: str) -> ssl.SSLContext:
    """One side, with a certificate of its own, which wants to see the other's."""
    made = ssl.create_default_context(purpose, cafile=certificates.ca_file)
    made.verify_mode = ssl.CERT_REQUIRED
    made.verify_flags |= ssl.VERIFY_X509_STRICT
    made.load_cert_chain(certificates.chain(name), certificates.key(name))
    return made


def shake_hands(certificates: Certificates, name: str, host: str) -> None:
    """A server with that certificate meets a client with one, in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    served = context(certificates, ssl.Purpose.CLIENT_AUTH, name)
    asking = context(certificates, ssl.Purpose.SERVER_AUTH, "client")
    server = served.wrap_bio(to_server, to_client, server_side=True)
    client = asking.wrap_bio(to_client, to_server, server_hostname=host)
    for side in (client, server, client, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_server_and_client_believe_each_other(certificates: Certificates, host: str) -> None:
    shake_hands(certificates, "server", host)


def test_the_certificate_of_another_host_is_not_believed(certificates: Certificates) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="not valid for 'localhost'"):
        shake_hands(certificates, "wrong", "localhost")


def test_who_has_no_ca_believes_nobody(certificates: Certificates) -> None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    served = context(certificates, ssl.Purpose.CLIENT_AUTH, "server")
    asking = ssl.create_default_context()
    server = served.wrap_bio(to_server, to_client, server_side=True)
    client = asking.wrap_bio(to_client, to_server, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    with pytest.raises(ssl.SSLWantReadError):
        server.do_handshake()
    with pytest.raises(ssl.SSLCertVerificationError, match="self-signed certificate in"):
        client.do_handshake()


@pytest.mark.parametrize("name", ["server", "wrong", "client"])
def test_nobody_else_reads_keys(certificates: Certificates, name: str) -> None:
    for path in (certificates.key(name), certificates.keystore(name)):
        assert path.stat().st_mode & 0o777 == 0o600
