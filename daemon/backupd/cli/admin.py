"""`backupd-admin`: looks at what a daemon does and did, and takes an operator's requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from backupd.cli.errors import FAILED, USAGE, fail
from backupd.cli.lazy import LazyProgram
from backupd.cli.options import Places, config_option
from backupd.config import ConfigMistakes
from backupd.core.errors import BackupdError

if TYPE_CHECKING:
    from pathlib import Path

# Where each command is, and its line in the list of commands.
COMMANDS = {
    "status": ("backupd.cli.status:status", "The daemon, counts, a row a feed, what is down."),
    "incidents": (
        "backupd.cli.incidents:incidents",
        "Causes of failure, who was notified, what to do.",
    ),
    "report": ("backupd.cli.report:report", "The daily report; sends it, or writes it as HTML."),
    "list": ("backupd.cli.list_files:list_files", "Files, filtered."),
    "show": ("backupd.cli.show:show", "One file: where it stands, why, what is next, history."),
    "requeue": ("backupd.cli.requeue:requeue", "Put parked (or done) files back to work."),
    "hold": ("backupd.cli.hold:hold", "Park files by hand."),
    "release": ("backupd.cli.hold:release", "Take held files back."),
    "dismiss": ("backupd.cli.dismiss:dismiss", "Close parked files that can never go on."),
    "completeness": (
        "backupd.cli.completeness:completeness",
        "What should have come, by feed and date, and what did not.",
    ),
    "excuse": ("backupd.cli.excuse:excuse", "Say what will never come, and why."),
    "prove": ("backupd.cli.prove:prove", "The proof on which a local copy may be deleted."),
    "reconcile": ("backupd.cli.reconcile:reconcile", "Compare ledger, warehouse and archive."),
    "compact": ("backupd.cli.compact:compact", "Make one Parquet file of each past date's many."),
    "backup": (
        "backupd.cli.backup:backup",
        "A snapshot of the ledger now, into the archive or to a file.",
    ),
    "test-alert": (
        "backupd.cli.trial:trial",
        "Send a test by every configured way: mail, ticket mailbox, hook.",
    ),
    "batch": ("backupd.cli.batch:batch", "One batch: members, manifest, statements."),
}

EPILOG = """\
FILE is a path, a file name that only one file has, or an id.

\b
Exit codes: 0 done; 1 refused, nothing matched, or something differs;
2 wrong usage or config.

\b
Examples:
  backupd-admin status
  backupd-admin list --status parked
  backupd-admin show eLUX_HOL_01_20261123081500_000042.csv
  backupd-admin requeue --parked --dry-run
  backupd-admin list --json --since 2h | jq -r .file_name

\b
Completion of commands, options, feeds and stages, for bash (or zsh, fish):
  eval "$(_BACKUPD_ADMIN_COMPLETE=bash_source backupd-admin)"
"""


class Admin(LazyProgram):
    """The program: what goes wrong becomes a sentence and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's signature
        """Run a command."""
        try:
            return super().invoke(ctx)
        except ConfigMistakes as mistakes:
            fail(str(mistakes), USAGE)
        except BackupdError as error:
            fail(error, FAILED)
        except PermissionError as error:
            fail(f"{error} (run it as root, or as the daemon's user or group)", FAILED)


@click.group(cls=Admin, places=COMMANDS, epilog=EPILOG)
@config_option
@click.pass_context
def main(context: click.Context, config_path: Path | None) -> None:
    """Look at what backupd does and did, and put files back, hold or prove them.

    Works while the daemon runs and while it does not.
    """
    context.obj = Places(config_path)
