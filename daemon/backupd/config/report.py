"""The keys of `[report]`: how they are read, and what they need of `[alerts]`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backupd.config.alerts import ADDRESSES
from backupd.config.mistakes import Mistake
from backupd.config.readers import TIME_OF_DAY, TIME_ZONE, Key
from backupd.config.tables import Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

REPORT = Table(
    """
    The daily report: one mail a day about the day before, with what is incomplete and the counts
    of each feed. It goes through smtp_url of [alerts], from its sender. Left out: none is sent;
    `backupd-admin report` prints it all the same.
    """,
    {
        "at": Key(
            TIME_OF_DAY,
            """
            When it is sent, in time_zone. A daemon that was down then sends it when it is back,
            on the same day.
            """,
            default="07:00",
        ),
        "time_zone": Key(
            TIME_ZONE,
            "A time zone such as Europe/Amsterdam.",
            default="UTC",
            example="Europe/Amsterdam",
        ),
        "to": Key(ADDRESSES, "Who gets it.", example=["operations@example"]),
    },
    optional=True,
)


def check_report(
    report: Mapping[str, Any] | None, alerts: Mapping[str, Any] | None
) -> Iterator[Mistake]:
    """Yield what mail needs and `[alerts]` lacks, unless `check_alerts` says so already.

    A key whose value could not be read is missing here. `alerts` None: the section is left out.
    """
    if alerts is None:
        alerts = dict.fromkeys(["smtp_url", "from"])
    if report is None or alerts.get("smtp_url", "") is not None:
        return
    if not (alerts.get("to") or alerts.get("ticket_to")):
        allowed = "smtp://host:port or smtps://host:port"
        yield Mistake("alerts.smtp_url", "is missing, and [report] needs it", allowed)
    if alerts.get("from", "") is None:
        yield Mistake("alerts.from", "is missing, and [report] needs it", "a mail address")
