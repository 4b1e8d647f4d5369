"""What the ledger remembers of statements that batches run, for the next process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from backupd.core import moves
from backupd.core.errors import PermanentError
from backupd.core.rows import Statement
from backupd.core.stages import Stage
from backupd.ledger import hive_memory
from backupd.worker import LedgerStatements
from support.files import NOW, a_file
from support.ledgers import QUICK, numbered, opened, plant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backupd.core.records import Batch
    from backupd.ledger import Ledger

KNOWN: dict[str, Any] = {"size_bytes": 1, "record_count": 1, "sha256": "ab" * 32}


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with opened(tmp_path / "ledger.db") as ledger:
        yield ledger


def statement(batch_id: str, **changes: str) -> Statement:
    return Statement(batch_id=batch_id, text="INSERT INTO TABLE t", began_at=NOW, **changes)


async def a_batch(ledger: Ledger) -> Batch:
    """A batch of two files that is being loaded."""
    await plant(ledger, *numbered(a_file(Stage.LOAD, **KNOWN), 2))
    await ledger.form_batch(2, NOW)
    batch = await ledger.claim_batch(Stage.LOAD, NOW)
    assert batch
    return batch


async def test_an_adapters_thread_writes_reads_and_forgets(ledger: Ledger) -> None:
    log = LedgerStatements(ledger)
    known = statement("b1", session="s", operation="o")
    await asyncio.to_thread(log.write, statement("b1", session="s"))
    await asyncio.to_thread(log.write, known)
    await asyncio.to_thread(log.write, statement("b2"))
    assert await asyncio.to_thread(log.possibly_running) == [known]
    assert await ledger.ask(hive_memory.statement_of, "b2") == statement("b2")
    await asyncio.to_thread(log.forget, "b1")
    assert await asyncio.to_thread(log.possibly_running) == []


async def test_what_may_still_run_is_known_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path / "ledger.db") as ledger:
        await ledger.write_statement(statement("b1", session="s"))
    async with opened(tmp_path / "ledger.db") as ledger:
        assert await ledger.possibly_running_statements() == [statement("b1", session="s")]


@pytest.mark.parametrize(("session", "left"), [("", 0), ("s", 1)])
async def test_of_a_batch_that_goes_no_further_only_what_may_still_run_is_kept(
    ledger: Ledger, session: str, left: int
) -> None:
    batch = await a_batch(ledger)
    await ledger.write_statement(statement(batch.id, session=session))
    refused = moves.batch_failed(batch, PermanentError("no"), NOW, QUICK)
    assert await ledger.move_batch(refused)
    kept = await ledger.ask(hive_memory.statement_of, batch.id)
    assert len([kept] if kept else []) == left
