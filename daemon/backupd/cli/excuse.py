"""`backupd-admin excuse`."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import click

from backupd.cli import render
from backupd.cli.asking import record_excuse
from backupd.cli.errors import FAILED, fail
from backupd.cli.options import Places, json_option, pass_places
from backupd.cli.times import iso
from backupd.completeness.dates import day_from
from backupd.completeness.judging import Excuse
from backupd.ledger import watching

if TYPE_CHECKING:
    from datetime import datetime

_RANGE = re.compile(r"([0-9]{1,15})(?:-([0-9]{1,15}))?")


@click.command(
    epilog="""\
\b
Examples:
  backupd-admin excuse traffic/eLUX --date 2026-12-25 --why "the switch was off"
  backupd-admin excuse traffic/eLUX --date 2026-11-30 --sequence 17-19 --why "ticket 4711"
"""
)
@click.argument("feed", metavar="FEED")
@click.option("--date", required=True, metavar="DATE", type=click.DateTime(["%Y-%m-%d"]))
@click.option("--sequence", metavar="N-M", help="These numbers alone; else all of the date.")
@click.option("--why", required=True, metavar="TEXT", help="Why; shown from then on.")
@json_option
@pass_places
def excuse(  # noqa: PLR0913 - one parameter an option
    places: Places, *, feed: str, date: datetime, sequence: str | None, why: str, as_json: bool
) -> None:
    """Say what of a feed's date will never come: its incident ends, and the reason stays for ever.

    FEED is one feed, such as traffic/eLUX.
    """
    if not why.strip():
        raise click.UsageError("--why must not be empty")
    low, high = _numbers(sequence)
    with places.reader() as reader:
        if feed not in reader.ask(watching.terms):
            fail(f"nothing is expected of {feed}: backupd-admin completeness", FAILED)
    day = day_from(date.date().isoformat())
    said = Excuse(feed=feed, day=day, low=low, high=high, why=why.strip(), at=time.time())
    record_excuse(places, said)
    what = f"numbers {sequence} of {date:%Y-%m-%d}" if sequence else f"{date:%Y-%m-%d}"
    if as_json:
        render.emit_json(
            {
                "feed": feed,
                "date": f"{date:%Y-%m-%d}",
                "from": low,
                "to": high,
                "why": said.why,
                "at": iso(said.at),
            }
        )
    else:
        click.echo(f"{feed}: {what} excused: {said.why}")


def _numbers(sequence: str | None) -> tuple[int | None, int | None]:
    if sequence is None:
        return None, None
    match = _RANGE.fullmatch(sequence)
    if match is None:
        raise click.UsageError("--sequence is a number, or two as 17-19")
    low = int(match[1])
    high = int(match[2]) if match[2] else low
    if high < low:
        raise click.UsageError(f"--sequence goes from {low} back to {high}")
    return low, high
