"""`backupd-admin dismiss`."""

from __future__ import annotations

import click

from backupd.cli.file_requests import carry_out_on, leave
from backupd.cli.options import Places, json_option, pass_places
from backupd.cli.past import resolve_all
from backupd.control import Action, FileRequest


@click.command(
    epilog="""\
\b
Examples:
  backupd-admin dismiss eLUX_HOL_01_20261123081500_000042.csv --why "a test, ticket 4711"
  backupd-admin dismiss 0198f2c1a7b4d9e8f7a6 --why "lost with the disk, sent by mail"
"""
)
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--why", required=True, metavar="TEXT", help="Why; shown with the file from then on.")
@json_option
@pass_places
def dismiss(places: Places, *, files: tuple[str, ...], why: str, as_json: bool) -> None:
    """Close parked files that can never go on, or are not wanted.

    They are done, without a proof: `show`, `list` and `prove` tell so, with the reason. Nothing is
    removed, neither here nor in the archive; a local file stays, and is not taken again as it is.
    """
    if not why.strip():
        raise click.UsageError("--why must not be empty")
    with places.reader() as reader:
        found = resolve_all(places, reader, files)
    leave(
        carry_out_on(places, FileRequest(action=Action.DISMISS, why=why), [found], as_json=as_json)
    )
