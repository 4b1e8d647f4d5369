"""What the ledger remembers of partitions whose directories compaction replaces."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from backupd.core.compacting import Replacement, Step
from backupd.ledger import replacements
from backupd.worker import LedgerReplacements
from support.files import NOW
from support.ledgers import opened
from support.older_ledgers import make_older

if TYPE_CHECKING:
    from pathlib import Path

    from backupd.ledger import Ledger

TABLE = "`mnaas`.`t`"
MADE = Replacement(
    id="1a20846fe7b010d01c1f",
    table=TABLE,
    file_date="2026-11-23",
    old="hdfs://nn/t/file_date=2026-11-23",
    new="hdfs://nn/t/.compacted/1a20846fe7b010d01c1f/file_date=2026-11-23",
    files=("a.parquet", "b.parquet"),
    step=Step.MAKING,
    since=NOW,
)


async def known(ledger: Ledger, table: str = TABLE) -> list[Replacement]:
    return await ledger.ask(replacements.of_table, table)


async def test_each_is_known_as_it_was_written_last_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    switching = replace(MADE, step=Step.SWITCHING, since=NOW + 1)
    async with opened(path) as ledger:
        memory = LedgerReplacements(ledger)
        await asyncio.to_thread(memory.write, MADE)
        await asyncio.to_thread(memory.write, switching)
        await asyncio.to_thread(memory.write, replace(MADE, id="2" * 20, table="`other`.`t`"))
    async with opened(path) as ledger:
        assert await known(ledger) == [switching]
        memory = LedgerReplacements(ledger)
        assert await asyncio.to_thread(memory.all, TABLE) == [switching]
        await asyncio.to_thread(memory.forget, MADE.id)
        assert await known(ledger) == []
        assert len(await known(ledger, "`other`.`t`")) == 1


async def test_a_ledger_of_before_gets_the_table(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    async with opened(path):
        pass
    make_older(path, 9)
    async with opened(path) as ledger:
        await asyncio.to_thread(LedgerReplacements(ledger).write, MADE)
        assert await known(ledger) == [MADE]


async def test_impala_is_owed_a_refresh_from_the_moment_of_the_switch(tmp_path: Path) -> None:
    async with opened(tmp_path / "ledger.db") as ledger:
        memory = LedgerReplacements(ledger, TABLE)
        for step in (Step.MAKING, Step.SWITCHING, Step.ABANDONED):
            await asyncio.to_thread(memory.write, replace(MADE, step=step))
        assert await ledger.owed_refreshes() == []
        await asyncio.to_thread(memory.write, replace(MADE, step=Step.REPLACED))
        (owed,) = await ledger.owed_refreshes()
        assert (owed.name, owed.dates) == (TABLE, (MADE.file_date,))
        assert await asyncio.to_thread(memory.owes_refresh, TABLE, MADE.file_date)
        assert not await asyncio.to_thread(memory.owes_refresh, TABLE, "2026-11-24")
        await ledger.refreshed([owed])
        assert not await asyncio.to_thread(memory.owes_refresh, TABLE, MADE.file_date)


async def test_nobody_is_owed_a_refresh_where_there_is_no_impala(tmp_path: Path) -> None:
    async with opened(tmp_path / "ledger.db") as ledger:
        memory = LedgerReplacements(ledger)
        await asyncio.to_thread(memory.write, replace(MADE, step=Step.REPLACED))
        assert await ledger.owed_refreshes() == []
