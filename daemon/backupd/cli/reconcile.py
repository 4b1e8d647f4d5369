"""`backupd-admin reconcile`."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from backupd.archive import open_archive
from backupd.cli import render
from backupd.cli.comparing import Comparison, Difference
from backupd.cli.errors import FAILED
from backupd.cli.options import Places, feed_option, json_option, pass_places
from backupd.cli.past import asked, open_past, ours, take
from backupd.cli.targets import pages
from backupd.cli.times import since_option
from backupd.core.dependencies import Dependency
from backupd.core.names import escaped
from backupd.core.numbers import counted
from backupd.ledger import history, places, reports
from backupd.ledger.reports import Wanted
from backupd.warehouse import open_warehouse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from rich.console import Console

    from backupd.config.sections import Config
    from backupd.core.history import History
    from backupd.core.records import FileRecord, Receipt
    from backupd.ledger import LedgerReader


@click.command(
    epilog="""\
\b
Examples:
  backupd-admin reconcile --since 1d
  backupd-admin reconcile --feed traffic/eLUX --json | jq -r .id
"""
)
@feed_option
@since_option("Files first seen at or after: 2h, 3d, 2026-11-23, 2026-11-23T08:15:00Z.")
@json_option
@pass_places
def reconcile(places: Places, *, feed: str | None, since: float | None, as_json: bool) -> None:
    """Compare ledger, warehouse and archive, and list what differs; exit 1 if anything does.

    \b
    row-missing     registered, but without a row in production
    row-doubled     more than one row
    row-unknown     a row of no known file (only looked for without --feed)
    rows-damaged    a Parquet file of ours is not as it was written
    rows-unread     a date whose rows cannot be read
    copy-missing    shipped, but not in the archive
    copy-differs    the archive's copy is not what the receipt says
    copy-unchecked  the archive's copy could not be looked at
    local-left      deleted, but still there

    For doubled rows in Hive the statements are printed, on stderr, that leave one of each.

    Every archive copy is hashed, so this takes about as long as reading them all.
    """  # noqa: D301 - click's mark for text to be left as it is
    config = places.config()
    wanted = Wanted(feed=feed, since=since)
    console = render.console()
    if as_json:
        report = _print_json
    else:
        report = partial(_print_styled, console) if console.is_terminal else _print_line
    with places.reader() as reader, _bar(console, hidden=as_json) as bar:
        compared, differing, repairs = asyncio.run(_compare(config, reader, wanted, report, bar))
    sys.stderr.write(f"{counted(compared, 'file')} compared, {counted(differing, 'difference')}\n")
    if repairs:
        sys.stderr.write("To leave one row of each file, stop backupd and run in beeline:\n")
    for statement in repairs:
        sys.stderr.write(f"{statement};\n")
    if differing:
        sys.exit(FAILED)


async def _compare(
    config: Config,
    reader: LedgerReader,
    wanted: Wanted,
    report: Callable[[Difference], None],
    bar: Progress,
) -> tuple[int, int, list[str]]:
    """Return how many files were compared, how many differences reported, and what repairs rows."""
    compared = differing = 0
    doubled: set[str] = set()  # dates
    async with AsyncExitStack() as stack:
        mark = reader.ask(places.place, Dependency.WAREHOUSE)
        warehouse = open_warehouse(config.warehouse, mark=mark)
        stack.push_async_callback(warehouse.aclose)
        archive = open_archive(config.archive)
        stack.push_async_callback(archive.aclose)
        if known := reader.ask(places.place, Dependency.ARCHIVE):
            await archive.identify(known, ())
        past = open_past(config.warehouse, reader)
        if past is not None:
            stack.push_async_callback(past.aclose)
        comparison = Comparison(reader, warehouse, archive, past, all_feeds=wanted.feed is None)
        left = sum(reader.ask(history.left).values())
        task = bar.add_task("compared", total=left + reader.ask(reports.how_many, wanted))
        async for page, receipts in _pages(config, reader, wanted, past):
            async for difference in comparison.page(page, receipts):
                report(difference)
                differing += 1
                if difference.kind == "row-doubled" and difference.file:
                    doubled.add(difference.file.file_date or "")
            compared += len(page)
            bar.advance(task, len(page))
        for difference in await comparison.unknown():
            report(difference)
            differing += 1
        return compared, differing, warehouse.repairs(doubled)


async def _pages(
    config: Config, reader: LedgerReader, wanted: Wanted, past: History | None
) -> AsyncIterator[tuple[list[FileRecord], dict[str, Receipt] | None]]:
    """Yield files, some at a time: of the history with their receipts, then of the ledger."""
    if past is not None:
        found = past.find(asked(wanted))
        while page := await take(found):
            mine = ours(config.warehouse, reader, page)
            receipts = {story.file.id: story.receipt for story in mine if story.receipt}
            yield [story.file for story in mine], receipts
    for files in pages(reader, wanted):
        yield files, None


def _bar(console: Console, *, hidden: bool) -> Progress:
    """Return the progress bar, below what is printed: on a terminal, cleared at the end."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=hidden or not console.is_terminal,
    )


def _print_styled(console: Console, difference: Difference) -> None:
    name = difference.file.file_name if difference.file else "-"
    head = f"{difference.kind:14}  {difference.id}  {escaped(name)}"
    render.item(console, head, difference.detail)


def _print_line(difference: Difference) -> None:
    path = difference.file.path if difference.file else "-"
    click.echo("\t".join((difference.kind, difference.id, escaped(path), difference.detail)))


def _print_json(difference: Difference) -> None:
    file = difference.file
    render.emit_json(
        {
            "difference": difference.kind,
            "id": difference.id,
            "path": render.name_json(file.path) if file else None,
            "file_name": render.name_json(file.file_name) if file else None,
            "feed": file.feed if file else None,
            "detail": difference.detail,
        }
    )
