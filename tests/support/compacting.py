"""A process that merges batches into one date and compacts it at the same time, to be killed.

    python -m support.compacting DIRECTORY [rounds]

Below DIRECTORY are a ledger, a warehouse, `begun`: a line a batch, written before its load, and
`loaded`: the last batch that was loaded. The last batch of an earlier process is repeated first, as
a daemon does it. Without `rounds` it goes on until it is killed.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from backupd.config.sections import WarehouseSection
from backupd.core.errors import RewindError
from backupd.core.records import new_id
from backupd.ledger import Ledger
from backupd.warehouse.embedded.warehouse import EmbeddedWarehouse
from backupd.worker import LedgerPlace
from support.rows import COLUMNS, NOON, batch_of, production_row

if TYPE_CHECKING:
    from collections.abc import Sequence

DATE = "2026-11-23"
ROWS = 3  # of a batch


async def main(directory: Path, rounds: int | None) -> None:
    ledger = Ledger(directory / "ledger.db")
    root = directory / "warehouse"
    section = WarehouseSection(kind="embedded", columns=COLUMNS, embedded_root=root)
    warehouse = EmbeddedWarehouse(section, LedgerPlace(ledger, "warehouse"))
    last = begun(directory)[-1:]
    await warehouse.sweep([batch_id for batch_id, _ in last])
    for batch_id, ids in last:
        await make(warehouse, directory, batch_id, ids)
    print("ready", flush=True)  # noqa: T201 - to the one who kills
    for _ in itertools.count() if rounds is None else range(rounds):
        await asyncio.gather(warehouse.compact(DATE), some_batches(warehouse, directory))
    await warehouse.aclose()
    await ledger.close()


def begun(directory: Path) -> list[tuple[str, list[str]]]:
    """Return the batches that were begun, with the ids of their files."""
    path = directory / "begun"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def some_batches(warehouse: EmbeddedWarehouse, directory: Path) -> None:
    for _ in range(4):
        batch_id, ids = new_id(NOON), [new_id(NOON) for _ in range(ROWS)]
        with (directory / "begun").open("a") as file:
            file.write(json.dumps([batch_id, ids]) + "\n")
        await make(warehouse, directory, batch_id, ids)


async def make(
    warehouse: EmbeddedWarehouse, directory: Path, batch_id: str, ids: Sequence[str]
) -> None:
    """Load and merge; where the load of an earlier process came to its end, only merge."""
    rows = [production_row(batch_id, file_id=file_id) for file_id in ids]
    loaded = directory / "loaded"
    if loaded.exists() and loaded.read_text() == batch_id:
        with suppress(RewindError):
            await warehouse.merge(batch_of(rows), rows)
            return
    await warehouse.load(batch_of(rows), rows)
    loaded.write_text(batch_id)
    await warehouse.merge(batch_of(rows), rows)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else None))
