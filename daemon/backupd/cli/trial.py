"""`backupd-admin test-alert`."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click
from rich.text import Text

from backupd.alerts.trial import try_ways
from backupd.cli import render
from backupd.cli.errors import FAILED, fail
from backupd.cli.options import Places, json_option, pass_places

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from backupd.alerts.trial import Tried


@click.command(
    name="test-alert",
    epilog="""\
\b
Examples:
  backupd-admin test-alert
  backupd-admin test-alert --json
""",
)
@json_option
@pass_places
def trial(places: Places, *, as_json: bool) -> None:
    """Send one test along every configured way: mail, ticket mailbox, hook; tell what each said.

    The mail to the ticket mailbox says that its ticket can be closed. In dev nothing is sent. Run
    it as the daemon's user: it reads the password file. Exit 1 where a way failed.
    """
    config = places.config()
    if config.alerts is None:
        fail("no recipients configured: the config has no [alerts]", FAILED)
    tried = asyncio.run(try_ways(config.alerts, dev=config.environment == "dev"))
    if not tried:
        fail("no recipients configured: [alerts] has neither to, ticket_to nor hook", FAILED)
    if as_json:
        render.emit_json(*map(asdict, tried))
    else:
        render.show(_table(tried))
    sys.exit(0 if all(each.ok for each in tried) else FAILED)


def _table(tried: Sequence[Tried]) -> Table:
    made = render.table("way", "", "to", "answer")
    for each in tried:
        mark = Text("ok", style="green") if each.ok else Text("FAILED", style="bold red")
        made.add_row(each.way, mark, each.to, each.answer)
    return made
