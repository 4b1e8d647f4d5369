"""A certificate authority for one test, and what it signed: in PEM, and for Java in PKCS 12."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from pathlib import Path

STORE_PASSWORD = "sesame"
_LIFE = timedelta(days=7)


class Certificates:
    """A CA (`ca_file`), and certificates by it; each is a `.pem`, its `.key` and a `.p12`.

    `server` is for localhost and 127.0.0.1, `wrong` for another host, `client` for a client.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True)
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("CA of the tests")
        self._ca = self._sign(self._name, self._key.public_key(), _for_a_ca(self._key))
        self.ca_file.write_bytes(self._ca.public_bytes(Encoding.PEM))
        self._write_truststore()
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        self._write("server", "localhost", [_for_a_server(x509.DNSName("localhost"), address)])
        self._write("wrong", "elsewhere", [_for_a_server(x509.DNSName("elsewhere.example"))])
        self._write("client", "backupd", [])

    @property
    def ca_file(self) -> Path:
        """Who signed them."""
        return self._directory / "ca.pem"

    @property
    def truststore(self) -> Path:
        """The same, for Java."""
        return self._directory / "ca.p12"

    def chain(self, name: str) -> Path:
        """Return a certificate in PEM."""
        return self._directory / f"{name}.pem"

    def key(self, name: str) -> Path:
        """Return its private key, which is not encrypted."""
        return self._directory / f"{name}.key"

    def keystore(self, name: str) -> Path:
        """Return both, for Java."""
        return self._directory / f"{name}.p12"

    def _write(self, name: str, common_name: str, extensions: list[x509.ExtensionType]) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(common_name)
        usage = ExtendedKeyUsageOID.SERVER_AUTH if extensions else ExtendedKeyUsageOID.CLIENT_AUTH
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        extensions = [*extensions, x509.ExtendedKeyUsage([usage]), signer]
        signed = self._sign(subject, key.public_key(), extensions)
        self.chain(name).write_bytes(signed.public_bytes(Encoding.PEM))
        plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self._write_secret(self.key(name), plain)
        store = pkcs12.serialize_key_and_certificates(
            name.encode(), key, signed, [self._ca], _encrypted()
        )
        self._write_secret(self.keystore(name), store)

    def _write_truststore(self) -> None:
        trusted = pkcs12.PKCS12Certificate(self._ca, b"ca")
        store = pkcs12.serialize_java_truststore([trusted], _encrypted())
        self._write_secret(self.truststore, store)

    @staticmethod
    def _write_secret(path: Path, content: bytes) -> None:
        path.touch(mode=0o600)
        path.write_bytes(content)

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        extensions: list[x509.ExtensionType],
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + _LIFE)
        )
        for extension in extensions:
            critical = isinstance(extension, x509.BasicConstraints)
            builder = builder.add_extension(extension, critical)
        return builder.sign(self._key, SHA256())


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _for_a_ca(key: ec.EllipticCurvePrivateKey) -> list[x509.ExtensionType]:
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
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return [x509.BasicConstraints(ca=True, path_length=None), usage, identifier]


def _for_a_server(*names: x509.GeneralName) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName(names)


def _encrypted() -> BestAvailableEncryption:
    return BestAvailableEncryption(STORE_PASSWORD.encode())
