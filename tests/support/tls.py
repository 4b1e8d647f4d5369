"""Certificates that live for one test, and the servers' side of TLS."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path

Tls = tuple["Path", "Path", "Path | None"]  # certificate, its key, the CA of clients or None
STORE_PASSWORD = "sesame"  # Java wants one
_DAY = timedelta(days=1)
_LIFE = 7 * _DAY
_HERE = (x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1")))
_ELSEWHERE = (x509.DNSName("elsewhere.example"),)


@dataclass(frozen=True)
class TlsFiles:
    """Files in PEM: a CA's certificate, and what it has signed."""

    ca: Path
    cert: Path  # for localhost and 127.0.0.1
    key: Path
    wrong_cert: Path  # for another host
    wrong_key: Path
    expired_cert: Path  # for this host, until yesterday
    expired_key: Path
    client_cert: Path
    client_key: Path


@dataclass(frozen=True)
class JavaStores:
    """Files in PKCS 12, as Java reads them; whoever has `STORE_PASSWORD` can open them."""

    key: Path  # with the chain, for localhost and 127.0.0.1
    wrong_key: Path  # for another host
    trust: Path


def tls_files(directory: Path) -> TlsFiles:
    """Make a CA and its certificates in a new directory."""
    directory.mkdir(parents=True)
    authority = _Authority()
    (directory / "ca.pem").write_bytes(_pem(authority.certificate))
    return TlsFiles(
        directory / "ca.pem",
        *authority.issue(directory, "server", _HERE),
        *authority.issue(directory, "wrong", _ELSEWHERE),
        *authority.issue(directory, "expired", _HERE, until=-_DAY),
        *authority.issue(directory, "client", ()),
    )


def java_stores(files: TlsFiles) -> JavaStores:
    """Put the same certificates into stores for Java, beside the files."""
    return JavaStores(
        _key_store(files.cert, files.key, files.ca),
        _key_store(files.wrong_cert, files.wrong_key, files.ca),
        _trust_store(files.ca),
    )


def server_context(tls: Tls) -> ssl.SSLContext:
    """Return what a server needs to speak TLS, and to ask clients for theirs where it has a CA."""
    cert, key, client_ca = tls
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=client_ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(cert, key)
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class _Authority:
    """A CA whose key is forgotten in the end."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named("backupd's tests")
        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        builder = self._builder(self._name, self._key.public_key(), _LIFE)
        builder = builder.add_extension(constraints, critical=True)
        self.certificate = self._signed(builder.add_extension(usage, critical=True))

    def issue(
        self,
        directory: Path,
        name: str,
        hosts: tuple[x509.GeneralName, ...],
        until: timedelta = _LIFE,
    ) -> tuple[Path, Path]:
        """Write a certificate and its key; return where they are."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(_named(name), key.public_key(), until)
        if hosts:
            names = x509.SubjectAlternativeName(hosts)
            builder = builder.add_extension(names, critical=False)
        cert_file, key_file = directory / f"{name}.pem", directory / f"{name}.key"
        cert_file.write_bytes(_pem(self._signed(builder)))
        content = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return cert_file, _secret(key_file, content)

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, until: timedelta
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder(self._name, subject, key, x509.random_serial_number())
            .not_valid_before(now - 3 * _DAY)
            .not_valid_after(now + until)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(issuer, critical=False)
        )

    def _signed(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        return builder.sign(self._key, hashes.SHA256())


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_store(cert: Path, key: Path, ca: Path) -> Path:
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    content = pkcs12.serialize_key_and_certificates(
        cert.stem.encode(), private, _certificate(cert), [_certificate(ca)], _encryption()
    )
    return _secret(cert.with_suffix(".p12"), content)


def _trust_store(ca: Path) -> Path:
    trusted = pkcs12.PKCS12Certificate(_certificate(ca), b"ca")
    content = pkcs12.serialize_java_truststore([trusted], _encryption())
    return _secret(ca.with_suffix(".p12"), content)


def _certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def _encryption() -> serialization.KeySerializationEncryption:
    return serialization.BestAvailableEncryption(STORE_PASSWORD.encode())


def _secret(path: Path, content: bytes) -> Path:
    path.touch(mode=0o600)
    path.write_bytes(content)
    return path
