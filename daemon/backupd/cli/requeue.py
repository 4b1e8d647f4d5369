"""`backupd-admin requeue`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from backupd.cli.errors import FAILED, fail
from backupd.cli.file_requests import carry_out_on, leave
from backupd.cli.options import Places, feed_option, json_option, pass_places, stage_choice
from backupd.cli.past import resolve_all
from backupd.cli.targets import pages
from backupd.control import Action, FileRequest
from backupd.core.stages import Stage, Status
from backupd.ledger.reports import Wanted

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command(
    epilog="""\
\b
Examples:
  backupd-admin requeue eLUX_HOL_01_20261123081500_000042.csv
  backupd-admin requeue --from ship 0198f2c1a7b4d9e8f7a6 --dry-run
  backupd-admin requeue --parked --feed traffic/eLUX
"""
)
@click.argument("files", metavar="[FILE...]", nargs=-1)
@click.option("--parked", is_flag=True, help="All files that are parked.")
@feed_option
@click.option(
    "--from",
    "stage",
    type=stage_choice,
    help="The stage to begin with; else the one where it was parked (a done file: the first).",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@json_option
@pass_places
def requeue(  # noqa: PLR0913 - one parameter an option
    places: Places,
    *,
    files: tuple[str, ...],
    parked: bool,
    feed: str | None,
    stage: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Put parked (or done) files back to work; say of each what is repeated and what not.

    Never makes a second row, never ships over other content, never deletes without a fresh proof.
    A done file whose local copy is gone can be taken back only from load or merge.
    """
    _refuse_confusion(files, parked=parked, feed=feed)
    request = FileRequest(
        action=Action.REQUEUE, stage=Stage(stage) if stage else None, dry_run=dry_run
    )
    with places.reader() as reader:
        parked_ones = pages(reader, Wanted(status=Status.PARKED, feed=feed))
        groups = [resolve_all(places, reader, files)] if files else parked_ones
        tally = carry_out_on(places, request, groups, as_json=as_json)
    if not tally:
        fail(f"no file is parked{f' in feed {feed}' if feed else ''}", FAILED)
    leave(tally)


def _refuse_confusion(files: Sequence[str], *, parked: bool, feed: str | None) -> None:
    if parked == bool(files):
        raise click.UsageError("name files, or take all that are parked by --parked")
    if feed and not parked:
        raise click.UsageError("--feed goes with --parked")
