"""The command itself: plan, deliver, run a daemon meanwhile, print the outcome."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backupd.cli import progress
from backupd.cli.demo.feeds import FEWEST, Plan, deliver, plan
from backupd.cli.demo.outcome import print_outcome, read
from backupd.cli.demo.place import prepare
from backupd.cli.errors import FAILED, fail
from backupd.cli.run import finished
from backupd.core.errors import BackupdError
from backupd.core.incidents import Kind
from backupd.core.stages import Status
from backupd.ledger import Ledger, incidents, reports
from backupd.ops import logs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from backupd.cli.demo.feeds import Delivery
    from backupd.config.sections import Config
    from backupd.supervisor import Supervisor


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
    its way and will be parked, one comes twice, one comes again with other content. A feed lacks a
    file, and is late then. Everything is in one directory: feeds, archive, warehouse, ledger, the
    daily report as a page, and a config to go on with.
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


_LOOK_EVERY = 0.1  # seconds
_ARRIVING_FOR = 2.0  # seconds over which files arrive while the daemon is watching
_NOTICED_WITHIN = 20.0  # seconds in which the feed that is behind should be noticed
_LACKING = {Kind.GAP, Kind.LATE}
_PATIENCE = 60.0  # seconds in which no file comes to its end until the demo gives up


async def run(config: Config, plan: Plan) -> bool:
    """Run the daemon until all that is delivered was dealt with; return whether it came so far.

    A minute in which no file comes to its end stops it too, as do SIGINT and SIGTERM.
    """
    # Imported here: it brings every adapter's library, which `--help` does without.
    from backupd.supervisor import Supervisor  # noqa: PLC0415

    ledger = Ledger(config.ledger.path)
    try:
        async with progress.shown(ledger), asyncio.TaskGroup() as group:
            supervisor = Supervisor(config, ledger)
            customers = group.create_task(_Customers(supervisor, ledger, plan).act())
            await supervisor.run(once=False)
            customers.cancel()
    finally:
        await ledger.close()
    return not customers.cancelled() and customers.result()


class _Customers:
    """Those who deliver, and then wait until each of their files was dealt with."""

    def __init__(self, supervisor: Supervisor, ledger: Ledger, plan: Plan) -> None:
        self._supervisor = supervisor
        self._ledger = ledger
        self._plan = plan

    async def act(self) -> bool:
        """Deliver what comes later, wait, stop the daemon; return whether all was dealt with."""
        await self._supervisor.ready.wait()
        await self._deliver(self._plan.later, pause=_ARRIVING_FOR / len(self._plan.later))
        # A name is free for another delivery once the daemon is through with the first one.
        through = await self._until(self._may_redeliver)
        if through:
            await self._deliver(self._plan.redelivered, pause=0)
            through = await self._until(self._is_through)
        if through:
            await self._await_incidents()
        self._supervisor.stop()
        return through

    async def _deliver(self, deliveries: Sequence[Delivery], *, pause: float) -> None:
        for delivery in deliveries:
            await asyncio.sleep(pause)
            await asyncio.to_thread(deliver, delivery)

    async def _may_redeliver(self) -> bool:
        return all([await self._is_done(each) for each in self._plan.redelivered])

    async def _is_done(self, delivery: Delivery) -> bool:
        files = await self._ledger.ask(reports.matching, str(delivery.path))
        return any(file.status is Status.DONE for file in files)

    async def _is_through(self) -> bool:
        return await self._dealt_with() == self._plan.files

    async def _await_incidents(self) -> None:
        """Give the daemon time to notice what does not come; without that the demo goes on."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_NOTICED_WITHIN):
                while not await self._open_kinds() >= _LACKING:  # noqa: ASYNC110 - the ledger wakes nobody
                    await asyncio.sleep(_LOOK_EVERY)

    async def _open_kinds(self) -> set[Kind]:
        return {each.kind for each in await self._ledger.ask(incidents.all_open)}

    async def _dealt_with(self) -> int:
        counts = await self._ledger.ask(reports.counts)
        ends = {Status.DONE, Status.PARKED}
        return sum(count.files for count in counts if count.status in ends)

    async def _until(self, true: Callable[[], Awaitable[bool]]) -> bool:
        """Wait; False once nothing has moved for too long."""
        before, since = -1, time.monotonic()
        while not await true():
            dealt_with = await self._dealt_with()
            if dealt_with != before:
                before, since = dealt_with, time.monotonic()
            elif time.monotonic() - since > _PATIENCE:
                return False
            await asyncio.sleep(_LOOK_EVERY)
        return True
