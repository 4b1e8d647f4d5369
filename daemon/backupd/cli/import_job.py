"""`backupd import-job`: a config out of the properties of the bash job that backupd replaces."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backupd.cli.errors import FAILED, USAGE, fail
from backupd.config import SYSTEM_CONFIG, mistakes_in
from backupd.migration.carrying import carry_over
from backupd.migration.declarations import DumpError, read
from backupd.migration.sourcing import SourcingError, command, dump

if TYPE_CHECKING:
    from backupd.config import Mistake
    from backupd.migration.carrying import Import
    from backupd.migration.declarations import Value


@click.command(
    name="import-job",
    epilog="""\
\b
Exit: 0 made: `backupd check` accepts it once what is to be filled in is there;
      1 it has mistakes, or a file could not be read; 2 usage, or FILE is not a dump.

\b
Examples:
  backupd import-job --source job.properties > config.toml
  bash -c 'source job.properties >/dev/null; declare -p' > job.dump
  backupd import-job job.dump > config.toml
""",
)
@click.argument(
    "files",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
)
@click.option(
    "--source",
    "is_source",
    is_flag=True,
    help="FILE is a properties file: have bash read it, confined.",
)
def import_job(files: tuple[Path, ...], *, is_source: bool) -> None:
    """Make a config of the old job's properties.

    FILE is what `declare -p` prints after the properties were sourced; it is only read. Of a
    variable in several files, the last one counts. Run it on the host that has the feeds'
    directories, as the old job's user: what is there is looked at, and nothing is changed.

    With --source, bash reads each FILE as this user, where it can do nothing else: without
    network, with nothing writable. What is run is printed first. Where that cannot be had, nothing
    is run. Of the environment only HOME, USER, ENV_MODE, IMPALAD_HOST, SDP_ticket_from_email and
    SDP_Receipient_List are passed on.

    The config goes to standard output. Each key says from which variable it came. What could not
    be carried over, and what is to be filled in, goes to standard error; values are not repeated.
    """
    variables: dict[str, Value] = {}
    for file in files:
        try:
            variables |= read(_sourced(file) if is_source else _content(file))
        except SourcingError as error:
            fail(error, FAILED)
        except DumpError as error:
            fail(DumpError(f"{file}: {error}", hint=error.hint), USAGE)
    found = carry_over(variables)
    mistakes = _mistakes(found)
    click.echo(found.text, nl=False)
    _report(found, mistakes)
    sys.exit(FAILED if mistakes else 0)


def _mistakes(found: Import) -> list[Mistake]:
    """Return what is wrong with the config beside the values that are to be filled in."""
    told = {each.key for each in found.to_fill_in}
    mistakes = mistakes_in(found.text, SYSTEM_CONFIG, {})
    return [each for each in mistakes if each.key not in told or each.problem == "is missing"]


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        fail(f"cannot read {file}: {error.strerror}", FAILED)


def _sourced(file: Path) -> bytes:
    absolute = Path(os.path.abspath(file))  # noqa: PTH100 - links stay: a file may look at its name
    click.echo(f"running: {command(absolute)}", err=True)
    content, complaints = dump(absolute)
    for complaint in complaints:
        click.echo(f"bash: {complaint}", err=True)
    return content


def _report(found: Import, mistakes: list[Mistake]) -> None:
    for each in found.left_out:
        click.echo(f"left out: {each}", err=True)
    for thing in found.to_fill_in:
        click.echo(f"to fill in: {thing}", err=True)
    for mistake in mistakes:
        click.echo(f"not valid: {mistake}", err=True)
