"""`backupd-admin report`."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backupd.alerts import yesterday
from backupd.alerts.sending import sent
from backupd.cli import render
from backupd.cli.errors import FAILED, fail
from backupd.cli.incidents import incident_json
from backupd.cli.options import Places, json_option, pass_places
from backupd.cli.times import iso
from backupd.completeness.dates import day_from
from backupd.core.errors import BackupdError
from backupd.core.incidents import Outcome
from backupd.daily import as_mail, as_page, as_text, report_of
from backupd.localfs.directory import Directory
from backupd.localfs.whole import write_whole

if TYPE_CHECKING:
    from datetime import datetime

    from backupd.config.sections import Config
    from backupd.daily.model import Amount, DayReport, FeedDay

_STDOUT = "-"


@click.command(
    epilog="""\
\b
Examples:
  backupd-admin report
  backupd-admin report --date 2026-11-30 --html report.html
  backupd-admin report --mail
  backupd-admin report --json | jq '.feeds[] | select(.state == "incomplete") | .feed'
"""
)
@click.option(
    "--date",
    metavar="DATE",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Of this date, such as 2026-11-30; else of the day before.",
)
@click.option("--mail", is_flag=True, help="Send it now to those in [report] to.")
@click.option("--html", metavar="FILE", help="Write it as HTML; - is standard output.")
@json_option
@pass_places
def report(
    places: Places, *, date: datetime | None, mail: bool, html: str | None, as_json: bool
) -> None:
    """Print the daily report: what is incomplete, then each feed's counts against the usual ones.

    --mail sends one more mail: that of the daemon goes out all the same. It reads the password
    file, so run it as the daemon's user. Exit 1 where nobody got it.
    """
    if as_json and html == _STDOUT:
        raise click.UsageError("--json and --html - both write to standard output")
    config = places.checked_config(with_secrets=mail)
    made = _made(places, config, _day(config, date))
    if html is not None:
        _write(html, as_page(made))
    answer = _send(config, made) if mail else None
    if as_json:
        render.emit_json(_as_json(made) | (answer or {}))
    elif answer:
        click.echo(f"{answer['to']}: {answer['answer']}")
    elif html is None:
        click.echo(as_text(made), nl=False)
    sys.exit(0 if answer is None or answer["sent"] else FAILED)


def _day(config: Config, date: datetime | None) -> int:
    now = time.time()
    last = yesterday(config.report.time_zone if config.report else "UTC", now)
    if date is None:
        return last
    day = day_from(date.date().isoformat())
    if day > last + 1:
        raise click.UsageError(f"--date {date:%Y-%m-%d} has not come yet")
    return day


def _made(places: Places, config: Config, day: int) -> DayReport:
    feeds = [feed.name for feed in config.feeds]
    with places.reader() as reader:
        return report_of(reader, feeds, config.expectations, day)


# -- HTML ------------------------------------------------------------------------------------------


def _write(target: str, page: str) -> None:
    if target == _STDOUT:
        click.echo(page.encode(), nl=False)
        return
    path = Path(target).absolute()
    try:
        _demand_replaceable(path)
        with Directory(os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as above:
            write_whole(above, path.name, page.encode())
    except OSError as error:
        raise BackupdError(f"cannot write {path}: {error.strerror}") from error


def _demand_replaceable(path: Path) -> None:
    """Only a plain file can be replaced by another one at a stroke, and nothing be lost by it."""
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(path.lstat().st_mode):
            raise BackupdError(f"{path} is there and is no plain file: it is not replaced")


# -- mail ------------------------------------------------------------------------------------------


def _send(config: Config, made: DayReport) -> dict[str, Any]:
    """Send it; return what is to be told of it."""
    if config.report is None or config.alerts is None:
        fail("no recipients configured: the config has no [report]", FAILED)
    to = config.report.to
    told = {"sent": True, "to": ", ".join(to)}
    if config.environment == "dev":
        return told | {"answer": "skipped (dev)"}
    message = as_mail(made, config.alerts.sender, to, again=True)
    outcome, detail = asyncio.run(sent(config.alerts, to, message)).of(to)
    if outcome is not Outcome.SENT:
        return told | {"sent": False, "answer": detail}
    taken = "taken by the mail server"
    return told | {"answer": f"{taken}, {detail}" if detail else taken}


# -- JSON ------------------------------------------------------------------------------------------


def _as_json(made: DayReport) -> dict[str, Any]:
    return {
        "date": made.date,
        "host": made.host,
        "at": iso(made.made_at),
        "has_news": made.has_news,
        "incomplete": [each.feed for each in made.incomplete],
        "feeds": [_feed_json(each) for each in made.feeds],
        "incidents": [incident_json(each) for each in made.incidents],
    }


def _feed_json(feed: FeedDay) -> dict[str, Any]:
    return {
        "feed": feed.feed,
        "state": feed.state,
        **_amount_json(feed.came, ""),
        **_amount_json(feed.usual, "usual_"),
        "missing": list(feed.wrong),
        "late": list(feed.late),
        "unusual": list(feed.unusual),
        "excused": list(feed.excuses),
        "of_files": None if feed.files is None else asdict(feed.files),
    }


def _amount_json(amount: Amount | None, before: str) -> dict[str, int | None]:
    values = amount or (None, None, None)
    names = ("files", "records", "bytes")
    return {f"{before}{name}": value for name, value in zip(names, values, strict=True)}
