"""`backupd-admin list`."""

from __future__ import annotations

import sys
from collections import deque
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

import click

from backupd.cli import render
from backupd.cli.errors import FAILED, fail
from backupd.cli.options import Places, feed_option, json_option, pass_places, stage_choice
from backupd.cli.past import PastReader
from backupd.cli.targets import pages
from backupd.cli.times import since_option
from backupd.core.names import escaped
from backupd.core.stages import Stage, Status
from backupd.ledger import reports
from backupd.ledger.reports import Wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console

    from backupd.core.records import FileRecord
    from backupd.ledger import LedgerReader

    Printer = Callable[[Sequence[FileRecord]], None]

_ON_A_TERMINAL = 100  # files, where --limit is not given


@click.command(
    name="list",
    epilog="""\
\b
Examples:
  backupd-admin list --status parked
  backupd-admin list --feed traffic --since 2h
  backupd-admin list --stage ship --status waiting --limit 20
  backupd-admin list --json --since 2026-11-23 | jq -r .path
""",
)
@click.option("--stage", type=stage_choice, help="The stage that is owed next.")
@click.option("--status", type=click.Choice([str(each) for each in Status]))
@feed_option
@click.option("--customer", metavar="CUSTOMER")
@since_option("First seen at or after: 2h, 3d, 2026-11-23, 2026-11-23T08:15:00Z.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help="The newest N; on a terminal 100 by default, elsewhere all.",
)
@json_option
@pass_places
def list_files(  # noqa: PLR0913 - one parameter an option
    places: Places,
    *,
    stage: str | None,
    status: str | None,
    feed: str | None,
    customer: str | None,
    since: float | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """List files in the order in which they were first seen.

    On a terminal with why they wait or are parked. Elsewhere a line a file, separated by tabs:
    id, stage, status, feed, path, reason; backslashes and control characters in names are escaped.
    """
    wanted = Wanted(
        stage=Stage(stage) if stage else None,
        status=Status(status) if status else None,
        feed=feed,
        customer=customer,
        since=since,
    )
    console = render.console()
    if limit is None and console.is_terminal and not as_json:
        limit = _ON_A_TERMINAL
    if not _print_all(places, wanted, limit, _printer(console, as_json=as_json)):
        fail("no file matches", FAILED)


def _print_all(places: Places, wanted: Wanted, limit: int | None, show: Printer) -> int:
    """Print as they come, so that a million files need no more memory than a thousand."""
    printed = 0
    with places.reader() as reader:
        if limit is not None:
            before = reader.ask(reports.before_newest, wanted, limit)
            wanted = replace(wanted, after=before)
        for page in _past(places, reader, wanted, limit):
            show(page)
            printed += len(page)
        for page in pages(reader, wanted):
            show(page if limit is None else page[: limit - printed])
            printed += len(page)
    if wanted.after is not None and sys.stderr.isatty():
        sys.stderr.write(f"the newest {limit:,}; there are older ones: --limit N\n")
    return printed


def _past(
    places: Places, reader: LedgerReader, wanted: Wanted, limit: int | None
) -> Iterator[Sequence[FileRecord]]:
    """Yield the files that left for the history: they come first, being older.

    With a limit as many as the ledger does not have.
    """
    found = ([story.file for story in page] for page in PastReader(places, reader).pages(wanted))
    if limit is None:
        yield from found
        return
    if wanted.after is None and (lacking := limit - reader.ask(reports.how_many, wanted)) > 0:
        yield deque(chain.from_iterable(found), maxlen=lacking)


def _printer(console: Console, *, as_json: bool) -> Printer:
    if as_json:
        return _print_json
    return (lambda page: _print_table(console, page)) if console.is_terminal else _print_lines


def _print_json(page: Sequence[FileRecord]) -> None:
    render.emit_json(*map(render.file_json, page))


def _print_lines(page: Sequence[FileRecord]) -> None:
    render.emit_lines(["\t".join(_fields(file)) for file in page])


def _fields(file: FileRecord) -> tuple[str, ...]:
    reason = " ".join(file.reason.split())  # keeps to its line
    return file.id, file.stage, file.status, file.feed, escaped(file.path), reason


def _print_table(console: Console, page: Sequence[FileRecord]) -> None:
    made = render.table("id", "stands at", "file and why")
    for file in page:
        made.add_row(
            file.id, render.standing(file.stage, file.status), render.name_and_reason(file)
        )
    console.print(made)
