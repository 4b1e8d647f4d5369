"""`backupd-admin completeness`."""

from __future__ import annotations

import csv
import io
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from rich.text import Text

from backupd.cli import render
from backupd.cli.earlier import EarlierReader
from backupd.cli.errors import FAILED, fail
from backupd.cli.options import Places, feed_option, json_option, pass_places
from backupd.cli.times import since_option, span
from backupd.completeness.dates import day_from, day_of, day_text
from backupd.completeness.findings import missing_names, silence
from backupd.completeness.judging import judge, silent_since
from backupd.completeness.usual import LOOK_BACK
from backupd.core.cells import harmless
from backupd.ledger import arrivals

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from rich.console import RenderableType

    from backupd.completeness.expectations import Bounds, Expectations
    from backupd.completeness.judging import Known, Verdict

_USUAL_DATES = 7  # before today
_FURTHEST = 366  # days ahead that can be asked for


class Row(NamedTuple):
    """One date of a feed."""

    feed: str
    expected: Expectations
    known: Known
    verdict: Verdict


@click.command(
    epilog="""\
\b
Exit: 0 nothing is incomplete; 1 something is that is not excused.

\b
Examples:
  backupd-admin completeness
  backupd-admin completeness --date 2026-11-30 --feed traffic
  backupd-admin completeness --since 2026-11-01 --csv
  backupd-admin completeness --json | jq 'select(.complete == false)'
"""
)
@click.option("--date", metavar="DATE", type=click.DateTime(["%Y-%m-%d"]), help="This date alone.")
@since_option("From this date on: 2026-11-23, 30d. Left out: the last seven dates, and today.")
@feed_option
@click.option("--csv", "as_csv", is_flag=True, help="CSV with the keys of --json.")
@json_option
@pass_places
def completeness(  # noqa: PLR0913 - one parameter an option
    places: Places,
    *,
    date: datetime | None,
    since: float | None,
    feed: str | None,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Show by feed and date what was expected, what came, what is missing.

    For feeds of which something is expected: [feeds.<file type>.expect] in the config. A date is
    that of the files, UTC.
    """
    if date and since is not None:
        raise click.UsageError("--date and --since do not go together")
    if as_csv and as_json:
        raise click.UsageError("--csv and --json do not go together")
    now = time.time()
    expected = _expected(places, feed)
    rows = list(_rows(places, expected, _days(date, since, now), now))
    if as_json:
        render.emit_json(*map(row_json, rows))
    elif as_csv:
        click.echo(_csv(rows), nl=False)
    else:
        _show(rows, now)
    if any(row.verdict.complete is False for row in rows):
        sys.exit(FAILED)


def _expected(places: Places, feed: str | None) -> dict[str, Expectations]:
    """Return what is expected of a feed, of a file type's feeds, or (None) of all."""
    expectations = places.checked_config(with_secrets=False).expectations
    found = {
        name: each
        for name, each in expectations.items()
        if feed is None or feed in {name, name.partition("/")[0]}
    }
    if not found:
        of = f"of {feed}" if feed else "of any feed"
        fail(f"nothing is expected {of}: see [feeds.<file type>.expect] in the config", FAILED)
    return found


def _days(date: datetime | None, since: float | None, now: float) -> range:
    today = day_of(now)
    if date:
        day = day_from(date.date().isoformat())
        if day > today + _FURTHEST:
            raise click.UsageError(f"--date {date:%Y-%m-%d} is more than a year ahead")
        return range(day, day + 1)
    first = today - _USUAL_DATES if since is None else day_of(since)
    return range(min(first, today), today + 1)


def _rows(
    places: Places, expected: Mapping[str, Expectations], days: range, now: float
) -> Iterator[Row]:
    with places.reader() as reader:
        watched = reader.ask(arrivals.known, days[0] - LOOK_BACK, days[-1], expected)
        earlier = EarlierReader(places, reader)
        for name, each in sorted(expected.items()):
            if name not in watched:
                click.echo(f"note: {name} is not counted yet: start or reload the daemon", err=True)
                continue
            known = earlier.with_earlier(name, each, watched[name], days)
            yield from (
                Row(name, each, known, verdict) for verdict in judge(each, known, days, now)
            )


# -- JSON and CSV --------------------------------------------------------------------------------


def row_json(row: Row) -> dict[str, Any]:
    """Return a date of a feed under the keys that scripts rely on."""
    verdict = row.verdict
    return {
        "feed": row.feed,
        "date": day_text(verdict.day),
        "expected_files": _bounds(row.expected.files) if verdict.is_expected else None,
        "arrived_files": verdict.arrived,
        "on_time": verdict.on_time,
        "late": verdict.late,
        "late_by_s": round(verdict.late_by, 1),
        "missing": verdict.missing,
        "gaps": [
            {"source": gap.source or None, "from": gap.low, "to": gap.high} for gap in verdict.gaps
        ],
        "missing_names": [render.name_json(name) for name in missing_names(row.known, verdict)],
        "unusual": list(verdict.odd),
        "records": verdict.records,
        "usual_records": verdict.usual,
        "complete": verdict.complete,
        "excused": _excused(row),
    }


def _bounds(bounds: Bounds | None) -> int | dict[str, int | None] | None:
    if bounds is None:
        return None
    if bounds.least == bounds.most:
        return bounds.least
    return {"min": bounds.least, "max": bounds.most}


def _excused(row: Row) -> list[str]:
    return [each.why for each in row.known.excuses if each.day == row.verdict.day]


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    for number, row in enumerate(rows):
        values = {
            **row_json(row),
            "expected_files": _expected_text(row),
            "gaps": _gaps(row),
            "missing_names": " ".join(missing_names(row.known, row.verdict)),
            "unusual": "; ".join(row.verdict.odd),
            "excused": "; ".join(_excused(row)),
        }
        if number == 0:
            writer.writerow(values)
        writer.writerow(map(harmless, values.values()))
    return text.getvalue()


# -- for people ----------------------------------------------------------------------------------


def _show(rows: Sequence[Row], now: float) -> None:
    if rows:
        render.show(_table(rows), *_notes(rows), *_silent(rows, now))
    else:
        click.echo("nothing is known yet")


def _table(rows: Sequence[Row]) -> RenderableType:
    numbers = ("expected", "arrived", "late", "late by", "missing", "records", "usual")
    made = render.table("feed", "date", *numbers, "gaps", "complete", numbers=numbers)
    for row in rows:
        verdict = row.verdict
        made.add_row(
            row.feed,
            day_text(verdict.day),
            _expected_text(row),
            f"{verdict.arrived:,}",
            render.or_dot(verdict.late),
            span(verdict.late_by) if verdict.late_by else ".",
            Text(render.or_dot(verdict.missing), style="bold red" if verdict.missing else ""),
            f"{verdict.records:,}",
            "" if verdict.usual is None else f"{verdict.usual:,}",
            Text(_gaps(row), style="bold red"),
            _state(row),
        )
    return made


def _notes(rows: Sequence[Row]) -> Iterator[RenderableType]:
    """Say what is unusual, and what is excused."""
    for row in rows:
        of = f"{row.feed} {day_text(row.verdict.day)}"
        yield from (Text(f"{of}: {words}", style="yellow") for words in row.verdict.odd)
        yield from (f"{of}: excused: {why}" for why in _excused(row))


def _silent(rows: Sequence[Row], now: float) -> Iterator[RenderableType]:
    """Say which feeds are late just now, where today is shown."""
    for row in rows:
        since = silent_since(row.expected, row.known, now)
        if since is not None and row.verdict.day == day_of(now):
            yield Text(f"{row.feed}: {silence(row.expected, since)}", style="bold red")


def _expected_text(row: Row) -> str:
    bounds = row.expected.files
    return str(bounds) if bounds and row.verdict.is_expected else ""


def _gaps(row: Row) -> str:
    return ", ".join(map(str, row.verdict.gaps))


def _state(row: Row) -> Text:
    verdict = row.verdict
    if verdict.is_excused:
        return Text("excused", style="cyan")
    if verdict.complete is None:
        return Text("not due yet")
    return Text("yes", style="green") if verdict.complete else Text("no", style="bold red")
