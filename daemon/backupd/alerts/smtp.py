"""Hands a mail to a mail server within a time limit, and reports what is certain about it."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

import aiosmtplib

from backupd.core.errors import TransientError, UnknownOutcomeError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from email.message import EmailMessage

    from backupd.config.sections import SmtpServer

DEADLINE = 15.0  # seconds for all of it: less than what the daemon gets to stop


async def send(
    server: SmtpServer, sender: str, to: Sequence[str], message: EmailMessage
) -> dict[str, str]:
    """Send a mail; return the recipients that the server refused, with its answers.

    Raises TransientError when nobody got it, that is certain; UnknownOutcomeError when the answer
    was lost after the mail had been handed over.
    """
    client = _client(server)
    handing_over = False
    try:
        async with asyncio.timeout(DEADLINE):
            await _log_in(client, server)
            await client.mail(sender)
            refused = await _offer(client, to)
            if len(refused) == len(to):
                raise TransientError(f"all recipients were refused: {'; '.join(refused.values())}")
            handing_over = True
            await client.data(message.as_bytes())
    except aiosmtplib.SMTPResponseException as error:
        raise TransientError(f"the mail server {server.host} refused: {_said(error)}") from error
    except (aiosmtplib.SMTPException, TimeoutError, OSError, ssl.SSLError) as error:
        what = str(error) or f"no answer for {DEADLINE:.0f} s"
        if handing_over:
            raise UnknownOutcomeError(
                f"the mail server {server.host} was lost after the mail was handed over: {what}"
            ) from error
        raise TransientError(f"the mail server {server.host}:{server.port}: {what}") from error
    finally:
        await _leave(client)
    return refused


def _client(server: SmtpServer) -> aiosmtplib.SMTP:
    return aiosmtplib.SMTP(
        hostname=server.host,
        port=server.port,
        use_tls=server.tls,
        start_tls=False if server.tls else None,  # None: when it is offered
        tls_context=_tls(server),
        local_hostname=socket.gethostname(),
        timeout=DEADLINE,
    )


def _tls(server: SmtpServer) -> ssl.SSLContext:
    """Certificates are checked where TLS or a password was asked for.

    STARTTLS that is merely offered would be done without just as well, so that there an unknown
    certificate is better than none. On loopback nobody stands in between.
    """
    context = ssl.create_default_context()
    if _is_loopback(server.host) or not (server.tls or server.username):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


async def _log_in(client: aiosmtplib.SMTP, server: SmtpServer) -> None:
    await client.connect()
    if not server.username:
        return
    encrypted = client.get_transport_info("sslcontext") is not None
    if not encrypted and not _is_loopback(server.host):
        raise TransientError(
            f"the mail server {server.host} offers no STARTTLS, and the password is not sent in"
            " clear over a network",
            hint="use smtps://, or a server that offers STARTTLS",
        )
    await client.login(server.username, server.password or "")


async def _offer(client: aiosmtplib.SMTP, to: Sequence[str]) -> dict[str, str]:
    refused = {}
    for address in to:
        try:
            await client.rcpt(address)
        except aiosmtplib.SMTPRecipientRefused as error:
            refused[address] = f"{address}: {_said(error)}"
    return refused


async def _leave(client: aiosmtplib.SMTP) -> None:
    """Part politely where that is quick; what was to be known is known."""
    transport = client.transport
    with suppress(aiosmtplib.SMTPException, TimeoutError, OSError):
        if client.is_connected:
            await client.quit(timeout=1)
    client.close()
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()  # else TLS waits for the server to part too, and a command may end before


def _said(error: aiosmtplib.SMTPResponseException) -> str:
    return f"{error.code} {' '.join(error.message.split())}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
