"""`backupd check`: tell whether the config is right, and whether all it names works."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backupd.cli.errors import FAILED
from backupd.cli.options import config_option, load_config
from backupd.cli.untold import open_file_warnings
from backupd.config import write_paths

if TYPE_CHECKING:
    from backupd.config.sections import Config
    from backupd.core.ports import Probe


@click.command(
    epilog="""\
\b
Exit: 0 all is right; 1 a probe failed; 2 the config has mistakes.

\b
Examples:
  backupd check --config /etc/backupd/config.toml
  backupd check --probe
"""
)
@config_option
@click.option("--probe", is_flag=True, help="Also try every dependency for real.")
@click.option("--ddl", is_flag=True, help="Print the CREATE statements that this config wants.")
@click.option(
    "--write-paths", "paths", is_flag=True, help="Print the directories that must be writable."
)
def check(config_path: Path | None, probe: bool, ddl: bool, paths: bool) -> None:
    """Check the config: every mistake at once, each with its key, on stderr.

    --probe writes, reads back and removes something in the ledger's directory, each feed's
    directory, the warehouse and the archive, and prints what worked and what to do about the rest.
    """
    config = load_config(config_path)
    if paths:
        click.echo("\n".join(map(str, write_paths(config))))
    elif ddl:
        from backupd.warehouse.ddl import ddl as statements  # noqa: PLC0415 - only needed here

        click.echo(statements(config.warehouse))
    elif probe:
        sys.exit(_probe(config))
    else:
        _tell_valid(config)


def _tell_valid(config: Config) -> None:
    click.echo(f"the config is valid: {len(config.feeds)} feeds, environment {config.environment}")
    for feed in config.feeds:
        if not Path(feed.directory).is_dir():
            click.echo(f"warning: the directory of feed {feed.name} is away", err=True)
    for warning in open_file_warnings(config):
        click.echo(f"warning: {warning}", err=True)
    for section in config.inactive:
        click.echo(f"warning: [{section}] is not acted on", err=True)


def _probe(config: Config) -> int:
    from backupd.cli.probes import all_probes, show  # noqa: PLC0415 - brings the adapters

    probes: list[Probe] = asyncio.run(all_probes(config))
    show(probes)
    return 0 if all(probe.ok for probe in probes) else FAILED
