"""What an earlier process left: at work when it ended, or laid down on its way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from backupd.core import moves
from backupd.core.dependencies import Dependency
from backupd.core.errors import DependencyDownError
from backupd.ledger import batches, files, incidents

if TYPE_CHECKING:
    from backupd.core.ports import Warehouse
    from backupd.worker.context import WorkerContext

log = structlog.get_logger()


async def recover(context: WorkerContext) -> None:
    """Take up what was running, and what was down, when the last process ended."""
    ledger, policy, now = context.ledger, context.policy, context.now()
    await ledger.set_right(now)
    context.breakers.resume(await ledger.ask(incidents.outages))
    running = await ledger.ask(files.running)
    await ledger.move([moves.interrupted(file, now, policy) for file in running])
    running_batches = await ledger.ask(batches.running_batches)
    for batch in running_batches:
        await ledger.move_batch(moves.batch_interrupted(batch, now, policy))
    log.info("started", interrupted_files=len(running), interrupted_batches=len(running_batches))


async def sweep(context: WorkerContext, warehouse: Warehouse, silent: str = "") -> None:
    """Remove what earlier batches left in the warehouse.

    `silent` is the path of one that did not answer when the config was read: it is not waited for,
    and keeps its leftovers.
    """
    try:
        _demand_answer(silent)
        await warehouse.sweep(await context.ledger.ask(batches.open_batches))
    except DependencyDownError as error:
        await context.breakers.failed(error)
    else:
        await context.breakers.succeeded(Dependency.WAREHOUSE)


def _demand_answer(silent: str) -> None:
    if silent:
        message = f"the warehouse at {silent} does not answer"
        raise DependencyDownError(Dependency.WAREHOUSE, message, hint="look whether its disk hangs")
