"""A process whose ledger gets done files, and that moves them to a history, to be killed.

    python -m support.leaving DIRECTORY [to-the-end]

Below DIRECTORY are a ledger, a warehouse, and `made`: a line a file, written once the ledger has
it. Without `to-the-end` it goes on until it is killed.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from backupd.config.sections import LedgerSection
from backupd.ledger import Ledger
from backupd.warehouse.embedded.history import EmbeddedHistory
from backupd.warehouse.embedded.roots import marked
from backupd.worker import HistoryHealth, HistoryLane, LedgerPlace
from backupd.worker import history as moving
from support.done_files import a_done_file
from support.files import NOW
from support.ledgers import FEED, Bench, finished

if TYPE_CHECKING:
    from backupd.core.records import FileRecord

FILES = 300  # each time
DAY = 86_400.0


async def main(directory: Path, *, to_the_end: bool) -> None:
    # Small steps: so that a kill comes between any two of them.
    moving._BATCH, moving._AT_ONCE = 40, 8
    ledger = Ledger(directory / "ledger.db")
    root = directory / "warehouse"
    root.mkdir(exist_ok=True)
    await ledger.remember_place("warehouse", marked(root), NOW)
    if not to_the_end:
        await make(ledger, directory / "made")
    history = EmbeddedHistory(root, LedgerPlace(ledger, "warehouse"))
    context = Bench(ledger=ledger, feeds=[FEED]).context
    section = LedgerSection(path=ledger.path, keep=1, remember=1e9, backup_every=0, backups_kept=1)
    lane = HistoryLane(context, history, HistoryHealth(context), "here", section)
    print("ready", flush=True)  # noqa: T201 - to the one who kills
    while lane.is_at_work:
        await lane._look()
    if not to_the_end:
        await asyncio.sleep(3600)
    await history.aclose()
    await ledger.close()


async def make(ledger: Ledger, path: Path) -> None:
    before = made(path.parent)
    done = [_file(len(before) + number) for number in range(FILES)]
    await finished(ledger, *done)
    with path.open("a") as file:
        file.writelines(f"{each.id}\n" for each in done)


def _file(number: int) -> FileRecord:
    return a_done_file(number, done_at=NOW + (number % 3) * DAY - 10 * 365 * DAY)


def made(directory: Path) -> list[str]:
    """Return the ids of the files that the ledger got."""
    path = directory / "made"
    return path.read_text().splitlines() if path.exists() else []


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), to_the_end=len(sys.argv) > 2))
