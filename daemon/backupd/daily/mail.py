"""The mail of the report: text and HTML, the sheet attached."""

from __future__ import annotations

import re
from email.utils import make_msgid
from typing import TYPE_CHECKING

from backupd.alerts.messages import plain_message
from backupd.daily.page import as_page
from backupd.daily.sheet import as_csv
from backupd.daily.text import as_text
from backupd.daily.words import subject

if TYPE_CHECKING:
    from collections.abc import Sequence
    from email.message import EmailMessage

    from backupd.daily.model import DayReport

_NO_PART_OF_A_NAME = re.compile(r"[^A-Za-z0-9.-]+")


def as_mail(report: DayReport, sender: str, to: Sequence[str], *, again: bool) -> EmailMessage:
    """Return it. The mail of a day has the same name whenever it is sent, unless it is `again`."""
    message = plain_message(subject(report), as_text(report), sender, to, report.made_at)
    domain = sender.rpartition("@")[2]
    host = _NO_PART_OF_A_NAME.sub("-", report.host)
    name = f"<report.{report.date}.{host}@{domain}>"
    message["Message-ID"] = make_msgid("report", domain) if again else name
    message.add_alternative(as_page(report), subtype="html", cte="quoted-printable")
    name = f"backupd-{report.date}.csv"
    sheet = as_csv(report).encode()
    message.add_attachment(
        sheet, maintype="text", subtype="csv", filename=name, params={"charset": "utf-8"}
    )
    return message
