"""`backupd`: run, check, restore, import-job, demo."""

from __future__ import annotations

import click

from backupd.cli.lazy import LazyProgram

# Where each command is, and its line in the list of commands.
COMMANDS = {
    "check": (
        "backupd.cli.check:check",
        "Check the config: every mistake at once, each with its key.",
    ),
    "demo": ("backupd.cli.demo:demo", "The daemon on made-up feeds, and what became of each file."),
    "import-job": (
        "backupd.cli.import_job:import_job",
        "Make a config of the old job's properties.",
    ),
    "restore": ("backupd.cli.restore:restore", "Put a snapshot of the ledger in place."),
    "run": ("backupd.cli.run:run", "Run the daemon in the foreground."),
}

EPILOG = """
Shell completion: eval "$(_BACKUPD_COMPLETE=bash_source backupd)"
"""


@click.group(
    cls=LazyProgram,
    places=COMMANDS,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="backupd")
def main() -> None:
    """Register, ship, verify, and only then remove every backup file."""
