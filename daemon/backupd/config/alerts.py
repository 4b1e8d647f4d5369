"""The keys of `[alerts]`: how they are read, and how they fit together."""

from __future__ import annotations

import os
from dataclasses import dataclass
from email.errors import MessageError
from email.headerregistry import Address
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from backupd.config.mistakes import Mistake
from backupd.config.readers import (
    PATH,
    SECRET_FILE,
    BadValueError,
    Key,
    Reader,
    duration,
    plain_text,
    texts,
)
from backupd.config.tables import Table
from backupd.config.urls import split

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PORTS = {"smtp": 25, "smtps": 465}


@dataclass(frozen=True, slots=True)
class SmtpUrl:
    """Where mail is handed over. `username` is "" where there is no login."""

    tls: bool  # from the first byte on; else by STARTTLS, when it is offered
    host: str
    port: int
    username: str


def smtp_url(value: object) -> SmtpUrl:
    """Read `smtp://user@host:port` or `smtps://...`."""
    url = split(value)
    if url.scheme not in _PORTS:
        raise BadValueError(f'has the scheme "{url.scheme}"')
    if not url.hostname:
        raise BadValueError("names no host")
    if url.path.strip("/") or url.query or url.fragment:
        raise BadValueError("holds more than a user, a host and a port")
    port = url.port or _PORTS[url.scheme]
    return SmtpUrl(url.scheme == "smtps", url.hostname, port, unquote(url.username or ""))


def address(value: object) -> str:
    """Read one mail address, without a name beside it."""
    text = plain_text(value)
    try:
        parsed = Address(addr_spec=text)
    except (MessageError, ValueError, IndexError) as error:
        raise BadValueError(f"holds {text!r}, which is not a valid mail address") from error
    if not (parsed.username and parsed.domain and text.isascii()):
        raise BadValueError(f"holds {text!r}, which is not a valid mail address")
    return text


def addresses(value: object) -> list[str]:
    """Read a list of mail addresses, each once."""
    return list(dict.fromkeys(map(address, texts(value))))


ADDRESSES = Reader(addresses, "a list of mail addresses such as support@example")

ALERTS = Table(
    """
    Who is notified of incidents (causes of failure: see `backupd-admin incidents`). Left out:
    nobody.
    """,
    {
        "after": Key(
            duration(),
            """
            How long an incident lasts before anyone is notified; for parked files and doubled rows
            it is at once.
            """,
            default="10m",
        ),
        "remind_every": Key(
            duration(at_least="1m"),
            "How often reminders are sent while an incident is open: {allowed}.",
            default="24h",
        ),
        "smtp_url": Key(
            Reader(smtp_url, "smtp://user@host:port or smtps://user@host:port, without a password"),
            """
            smtp:// (STARTTLS when offered; port 25) or smtps:// (port 465); the URL may include a
            user name. With a user, or with smtps, this host must trust the server's certificate,
            and the password is never sent in clear text; neither applies on loopback.
            """,
            default=None,
            example="smtp://mnaas@mail.example:587",
        ),
        "smtp_password_file": Key(
            SECRET_FILE,
            "Required with a user: the password, readable only by the daemon's user.",
            default=None,
            example="/etc/backupd/smtp-password",
        ),
        "from": Key(
            Reader(address, "a mail address such as mnaas@example"),
            "Required for mail. Addresses are plain, without a display name.",
            default=None,
            example="mnaas@example",
        ),
        "to": Key(
            ADDRESSES,
            """
            Notified when an incident opens, at each reminder, and when it closes. At most one mail
            a minute.
            """,
            default=None,
            example=["support@example"],
        ),
        "ticket_to": Key(
            ADDRESSES,
            "The ticket mailbox: one mail per incident, never a second.",
            default=None,
            example=["sdp@example"],
        ),
        "hook": Key(
            PATH,
            """
            A program of yours: it gets the incident as JSON on its standard input, and has 30
            seconds.
            """,
            default=None,
            example="/etc/backupd/on-incident",
        ),
    },
    optional=True,
)


def check_alerts(alerts: Mapping[str, Any]) -> Iterator[Mistake]:
    """Yield what does not fit together. A key whose value could not be read is missing here."""
    url = alerts.get("smtp_url")
    for name in ("to", "ticket_to"):
        if alerts.get(name) and "smtp_url" in alerts and url is None:
            problem = f"is missing, and alerts.{name} needs it"
            yield Mistake("alerts.smtp_url", problem, "smtp://host:port or smtps://host:port")
            break
    if url is not None:
        yield from _check_login(alerts, url)
        if "from" in alerts and alerts["from"] is None:
            yield Mistake("alerts.from", "is missing, and mail needs it", "a mail address")
    hook = alerts.get("hook")
    if hook is not None and not (hook.is_file() and os.access(hook, os.X_OK)):
        problem = f"names {hook}, which is not a program that this user can run"
        yield Mistake("alerts.hook", problem, "an executable file")


def _check_login(alerts: Mapping[str, Any], url: SmtpUrl) -> Iterator[Mistake]:
    has_password = alerts.get("smtp_password_file", "") is not None
    if url.username and not has_password:
        problem = "is missing, and the user in alerts.smtp_url needs it"
        yield Mistake("alerts.smtp_password_file", problem, "a file that holds the password")
    if not url.username and alerts.get("smtp_password_file") is not None:
        problem = "is there, but alerts.smtp_url names no user"
        yield Mistake("alerts.smtp_password_file", problem, "smtp_url with user@ before the host")
