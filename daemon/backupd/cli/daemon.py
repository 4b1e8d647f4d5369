"""`backupd`: run, check, restore, import-job, demo."""

from __future__ import annotations

import click

from backupd.cli.check import check
from backupd.cli.demo import demo
from backupd.cli.import_job import import_job
from backupd.cli.program import Program
from backupd.cli.restore import restore
from backupd.cli.run import run

EPILOG = """
Shell completion: eval "$(_BACKUPD_COMPLETE=bash_source backupd)"
"""


@click.group(cls=Program, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="backupd")
def main() -> None:
    """Register, ship, verify, and only then remove every backup file."""


main.add_command(run)
main.add_command(check)
main.add_command(restore)
main.add_command(import_job)
main.add_command(demo)
