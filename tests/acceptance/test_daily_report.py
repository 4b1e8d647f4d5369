"""The daemon sends the report of the day before, once."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from backupd.completeness.dates import day_from
from backupd.core.incidents import Outcome
from backupd.ledger import LedgerReader, incidents
from support.daemon import Host, until
from support.mailbox import mailbox

if TYPE_CHECKING:
    from collections.abc import Mapping
    from email.message import EmailMessage
    from pathlib import Path

    from support.mailbox import Mailbox

READER = "operations@example.org"
FEEDS = {
    "feeds.traffic.timestamp_regex": r"'_(\d{14})'",
    "feeds.traffic.timestamp_format": '"%Y%m%d%H%M%S"',
}


def sending(box: Mailbox) -> Mapping[str, str]:
    """Its time is midnight: a daemon that starts later was down then."""
    return {
        "alerts.smtp_url": f'"smtp://127.0.0.1:{box.port}"',
        "alerts.from": '"backupd@example.org"',
        "report.at": '"00:00"',
        "report.to": f'["{READER}"]',
    }


def yesterday() -> str:
    return f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}"


def with_files(tmp_path: Path) -> Host:
    """A host that has dealt with two files of yesterday, one of them empty, and a duplicate."""
    host = Host(tmp_path, FEEDS)
    name = f"a_{yesterday().replace('-', '')}"
    host.deliver(f"{name}120000.csv")
    host.deliver(f"{name}130000.csv", b"A;B\n")
    assert host.once().returncode == 0
    host.deliver(f"{name}120000.csv")
    assert host.once().returncode == 0
    return host


def outcome(host: Host) -> Outcome | None:
    with closing(LedgerReader(host.root / "ledger.db")) as reader:
        notice = reader.ask(incidents.report_notice, day_from(yesterday()))
    return notice.outcome if notice else None


def sheet(mail: EmailMessage) -> dict[str, dict[str, str]]:
    (attached,) = mail.iter_attachments()
    content = attached.get_content()
    rows = csv.DictReader(io.StringIO(content))
    return {row["feed"]: row for row in rows}


async def test_it_is_sent_once_over_restarts(tmp_path: Path) -> None:
    async with mailbox(tmp_path, login=False, starttls=False) as box:
        host = await asyncio.to_thread(with_files, tmp_path)
        await asyncio.to_thread(_sent_once, host, box)


def _sent_once(host: Host, box: Mailbox) -> None:
    host.configure({**FEEDS, **sending(box)})
    for _ in range(2):
        with host.daemon() as daemon:
            until(lambda: outcome(host) is Outcome.SENT, lambda: f"{outcome(host)}")
            assert daemon.stop() == 0
    assert host.once().returncode == 0
    (mail,) = box.to(READER)
    assert yesterday() in mail["Subject"]
    row = sheet(mail)["traffic/a"]
    assert (row["files"], row["records"], row["duplicates"], row["empty"]) == ("2", "1", "1", "1")
    assert float(row["archived_within_s_100"]) >= 0
    shown = json.loads(host.admin("report", "--json").stdout)
    assert shown["date"] == yesterday()
    assert shown["feeds"][0]["files"] == 2


async def test_one_that_a_kill_interrupted_is_unknown_and_not_sent_again(tmp_path: Path) -> None:
    async with mailbox(tmp_path, login=False, starttls=False) as box:
        await asyncio.to_thread(_killed, Host(tmp_path, FEEDS | dict(sending(box))), box)


def _killed(host: Host, box: Mailbox) -> None:
    box.fault = "hangs"
    with host.daemon():  # which is killed when the block ends
        until(lambda: box.offered > 0, lambda: "no mail was offered")
    assert outcome(host) is Outcome.TRYING
    box.fault = ""
    with host.daemon() as daemon:
        until(lambda: outcome(host) is Outcome.UNKNOWN, lambda: f"{outcome(host)}")
        assert daemon.stop() == 0
    assert host.once().returncode == 0
    assert (box.offered, box.mails) == (1, [])


async def test_a_server_that_refuses_stops_no_file_and_is_told(tmp_path: Path) -> None:
    async with mailbox(tmp_path, login=False, starttls=False) as box:
        await asyncio.to_thread(_refused, Host(tmp_path, FEEDS | dict(sending(box))), box)


def _refused(host: Host, box: Mailbox) -> None:
    box.fault = "busy"
    with host.daemon() as daemon:
        until(lambda: outcome(host) is Outcome.FAILED, lambda: f"{outcome(host)}")
        name = "a_20261123120000.csv"
        host.deliver(name)
        done = "cleanup done"
        until(lambda: host.standing().get(name) == done, lambda: f"{host.standing()}")
        assert [each["cause"] for each in host.shown_incidents()] == ["mail"]
        assert daemon.stop() == 0
