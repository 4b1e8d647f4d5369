"""The command itself: plan, deliver, run, print the outcome."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path

import click

from backupd.cli.demo.feeds import FEWEST, Plan, deliver, plan
from backupd.cli.demo.outcome import print_outcome, read
from backupd.cli.demo.place import prepare
from backupd.cli.demo.run import run
from backupd.cli.errors import FAILED, fail
from backupd.cli.run import finished
from backupd.core.errors import BackupdError
from backupd.ops import logs


@click.command(
    epilog="""\
\b
Exit: 0 all went as it should (the damaged file parked, all others done); 1 it did not.

\b
Examples:
  backupd demo
  backupd demo --dir /tmp/backupd-demo --files 5000
"""
)
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="A new or empty directory; else a new temporary one. It stays, to be looked at.",
)
@click.option(
    "--files",
    type=click.IntRange(min=FEWEST),
    default=200,
    show_default=True,
    metavar="N",
    help=f"How many files are delivered, {FEWEST} at least.",
)
def demo(directory: Path | None, files: int) -> None:
    """Run the daemon on made-up feeds that look real, and show what becomes of each file.

    Some files lie there when the daemon starts, some come while it is watching. One was damaged on
    its way and will be parked, one comes twice, one comes again with other content. Everything is
    in one directory: feeds, archive, warehouse, ledger, and a config to go on with.
    """
    try:
        config_path, config = prepare(directory)
        planned = plan(config.feeds, files, time.time())
        _announce(planned, config_path.parent)
        for delivery in planned.first:
            deliver(delivery)
    except BackupdError as error:
        fail(error, FAILED)
    logs.set_up(logging.WARNING)  # what goes well is shown as progress
    through = finished(run(config, planned))
    outcome = read(planned, config_path, config)
    print_outcome(outcome)
    sys.exit(0 if through and outcome.is_as_planned else FAILED)


def _announce(planned: Plan, directory: Path) -> None:
    late = planned.files - len(planned.first)
    click.echo(f"Feeds, archive, warehouse, ledger and config.toml are in {directory}")
    click.echo(f"{planned.files} files: {len(planned.first)} lie there, {late} come meanwhile\n")
