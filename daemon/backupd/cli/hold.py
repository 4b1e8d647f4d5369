"""`backupd-admin hold` and `backupd-admin release`."""

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
  backupd-admin hold eLUX_HOL_01_20261123081500_000042.csv
  backupd-admin hold $(backupd-admin list --feed tolling --status waiting | cut -f 1)
"""
)
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@json_option
@pass_places
def hold(places: Places, *, files: tuple[str, ...], as_json: bool) -> None:
    """Park waiting files by hand, until `release` takes them back.

    A file that is at work or in a batch just now is refused.
    """
    _do(places, Action.HOLD, files, as_json=as_json)


@click.command(
    epilog="""\
\b
Examples:
  backupd-admin release eLUX_HOL_01_20261123081500_000042.csv
"""
)
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@json_option
@pass_places
def release(places: Places, *, files: tuple[str, ...], as_json: bool) -> None:
    """Take held files back: each starts anew at the stage where it was held."""
    _do(places, Action.RELEASE, files, as_json=as_json)


def _do(places: Places, action: Action, files: tuple[str, ...], *, as_json: bool) -> None:
    with places.reader() as reader:
        found = resolve_all(places, reader, files)
    leave(carry_out_on(places, FileRequest(action=action), [found], as_json=as_json))
