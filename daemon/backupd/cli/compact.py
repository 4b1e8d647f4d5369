"""`backupd-admin compact`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from backupd.cli import render
from backupd.cli.asking import compact_dates
from backupd.cli.errors import FAILED, fail
from backupd.cli.options import Places, json_option, pass_places
from backupd.cli.progress import size_text
from backupd.core.numbers import counted

if TYPE_CHECKING:
    from backupd.core.rows import Compaction


@click.command(
    epilog="""\
\b
Examples:
  backupd-admin compact
  backupd-admin compact --before 2026-11-01 --json | jq -r 'select(.left) | .date'
"""
)
@click.option(
    "--before",
    metavar="DATE",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Dates before this one; else before today, UTC.",
)
@json_option
@pass_places
def compact(places: Places, *, before: datetime | None, as_json: bool) -> None:
    """Make one Parquet file of each past date's many.

    In Hive the daemon does that by itself (compact_after, compact_files), and has to run; what is
    said here of files holds there too, where a partition is read from another directory afterwards
    and no query fails: docs/hive.md. In the embedded warehouse:

    Rows and columns stay as they are: the new file is compared with the old ones row by row, then
    put in their place in one step. Whoever lists the date's directory sees the old files or the
    new one; a query that listed it just before and opens its files just after fails, because they
    are not there any more, and is to be run again. One that passes over files that are gone, as
    pyarrow's datasets do, may see fewer rows in that moment: compact when no such reader runs.

    A date in which anything is not ours is left as it is: a file of another name, one that the
    ledger does not know or that was changed, a link, a directory.

    Loads and merges go on meanwhile. The old files are below `replaced` in the warehouse's root for
    a day.

    \b
    Exit: 0 each date has one file; 1 a date was left as it is, or it could not be done.
    """  # noqa: D301 - click's mark for text to be left as it is
    limit = (before or datetime.now(UTC)).date().isoformat()
    compacted = left = 0
    for outcome in compact_dates(places, limit):
        compacted += not outcome.left
        left += bool(outcome.left)
        _print(outcome, as_json=as_json)
    if left:
        fail(f"{counted(left, 'date')} left as found", FAILED)
    if not compacted and not as_json:
        click.echo(f"nothing to do: no date before {limit} has more than one file")


def _print(outcome: Compaction, *, as_json: bool) -> None:
    if as_json:
        render.emit_json(_as_json(outcome))
    if outcome.left:
        render.item(render.console(stderr=True), outcome.date, f"left as it is: {outcome.left}")
    elif not as_json:
        click.echo(f"{outcome.date}: {_said(outcome)}")


def _said(outcome: Compaction) -> str:
    files = f"{counted(outcome.files_before, 'file')}, now {outcome.files_after:,}"
    if outcome.rows is None:
        return files
    return f"{files}: {counted(outcome.rows, 'row')}, {size_text(outcome.size_bytes or 0)}"


def _as_json(outcome: Compaction) -> dict[str, Any]:
    return {
        "date": outcome.date,
        "files_before": outcome.files_before,
        "files_after": outcome.files_after,
        "rows": outcome.rows,
        "bytes": outcome.size_bytes,
        "left": outcome.left or None,
    }
