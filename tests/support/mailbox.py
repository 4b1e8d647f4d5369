"""A real mail server on loopback, with STARTTLS and login, whose faults a test chooses."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import default
from typing import TYPE_CHECKING

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from backupd.config.sections import AlertsSection, SmtpServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from email.message import EmailMessage
    from pathlib import Path

    from aiosmtpd.smtp import Envelope, Session

    from support.configs import Changes

USER, PASSWORD = "mnaas", "hunter2"
OPERATOR, TICKETS = "support@example.org", "sdp@example.org"


@dataclass
class Mail:
    """A mail as it arrived."""

    to: list[str]
    message: EmailMessage
    encrypted: bool
    login: bool


@dataclass
class Mailbox:
    """What arrived, and how the server is to behave."""

    port: int = 0
    mails: list[Mail] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)  # recipients
    offered: int = 0  # mails that were handed over, whatever became of them
    fault: str = ""  # lost: takes the mail, then drops the line; hangs; busy: 451

    def to(self, address: str) -> list[EmailMessage]:
        return [mail.message for mail in self.mails if address in mail.to]

    # -- what aiosmtpd calls -------------------------------------------------------------------

    async def handle_RCPT(  # noqa: N802 -- aiosmtpd's name and signature
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        del server, session, options
        if address in self.refused:
            return "550 no such mailbox here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 -- aiosmtpd's name
        self.offered += 1
        if self.fault == "busy":
            return "451 try later"
        if self.fault == "hangs":
            await asyncio.sleep(3600)
        content = envelope.content
        assert isinstance(content, bytes)
        message = message_from_bytes(content, policy=default)
        encrypted, login = session.ssl is not None, bool(session.authenticated)
        self.mails.append(Mail(list(envelope.rcpt_tos), message, encrypted, login))
        if self.fault == "lost":
            assert server.transport is not None
            server.transport.close()
        return "250 OK"


@asynccontextmanager
async def mailbox(
    tmp_path: Path, *, login: bool = True, starttls: bool = True
) -> AsyncIterator[Mailbox]:
    """Serve one on a free port."""
    box = Mailbox()
    context = _server_tls(tmp_path) if starttls else None
    loop = asyncio.get_running_loop()
    connected: list[SMTP] = []

    def serve() -> SMTP:
        smtp = SMTP(
            box,
            hostname="localhost",
            tls_context=context,
            auth_required=login,
            auth_require_tls=starttls,
            authenticator=_authenticate,
            loop=loop,
        )
        connected.append(smtp)
        return smtp

    server = await loop.create_server(serve, "127.0.0.1", 0)
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        server.close()
        for smtp in connected:
            if smtp.transport is not None:
                smtp.transport.close()


def section(box: Mailbox, **changes: object) -> AlertsSection:
    """Alerts that go there: to the operators and the ticket mailbox."""
    values: dict[str, object] = {
        "after": 0.0,
        "remind_every": 86_400.0,
        "smtp": server_of(box),
        "sender": "backupd@example.org",
        "to": (OPERATOR,),
        "ticket_to": (TICKETS,),
        "hook": None,
    }
    return AlertsSection(**values | changes)  # type: ignore[arg-type]


def settings(tmp_path: Path, box: Mailbox) -> Changes:
    """Return the keys of a config that lead there; who is written to is to be added."""
    secret = tmp_path / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o600)
    return {
        "alerts.smtp_url": f'"smtp://{USER}@127.0.0.1:{box.port}"',
        "alerts.smtp_password_file": f'"{secret}"',
        "alerts.from": '"backupd@example.org"',
    }


def server_of(box: Mailbox, *, username: str = USER, password: str = PASSWORD) -> SmtpServer:
    return SmtpServer(
        host="127.0.0.1", port=box.port, tls=False, username=username, password=password
    )


def _authenticate(*arguments: object) -> AuthResult:
    given = arguments[-1]
    assert isinstance(given, LoginPassword)
    right = LoginPassword(USER.encode(), PASSWORD.encode())
    return AuthResult(success=given == right, handled=False)


def _server_tls(tmp_path: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "mail.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(secret + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
