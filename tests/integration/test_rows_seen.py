"""Before a removal, the file's row is looked for, unless it was seen just now."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from backupd.core.errors import DependencyDownError, PermanentError
from backupd.core.records import Result
from backupd.core.shares import Shares
from backupd.core.stages import Stage, Status
from backupd.worker import RowsSeen, rows_seen
from support.counted_work import CountedWork
from support.fake_warehouse import FakeWarehouse
from support.files import NOW, a_running_file, task_of

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from backupd.core.ports import Warehouse, Work
    from backupd.core.records import Task
    from backupd.core.rows import RowKey


class Counting(FakeWarehouse):
    """Counts how often rows are looked for."""

    def __init__(self, *there: str) -> None:
        super().__init__()
        self.there = frozenset(there)
        self.looks = 0
        self.down = False

    async def find(self, keys: Collection[RowKey], *, by_others: bool = False) -> frozenset[str]:
        assert not by_others
        self.looks += 1
        if self.down:
            raise DependencyDownError("warehouse", "refused")
        await asyncio.sleep(0)
        return frozenset(key.file_id for key in keys) & self.there


CLEANED = Result(changes={}, detail="cleaned")


async def cleaned(_: Task) -> Result:
    return CLEANED


def seen_before(warehouse: Warehouse, work: Work = cleaned) -> Work:
    return RowsSeen(warehouse, Shares(4)).seen_before(work)


def a_task(path: Path, number: int = 1, **changes: object) -> Task:
    file = a_running_file(
        Stage.CLEANUP, id=f"f{number}", row_seen_at=NOW, file_timestamp=NOW, path=str(path / "a")
    )
    return replace(task_of(replace(file, relative_path="a")), **changes)  # type: ignore[arg-type] # any field


async def test_a_row_that_was_seen_just_now_is_not_looked_for(tmp_path: Path) -> None:
    warehouse = Counting()
    work = seen_before(warehouse)
    assert (await work(a_task(tmp_path, is_proven=True))).detail == "cleaned"
    assert warehouse.looks == 0


async def test_a_row_that_was_seen_long_ago_is_looked_for(tmp_path: Path) -> None:
    work = seen_before(Counting("f1"))
    assert (await work(a_task(tmp_path))).leaned_on == ("warehouse",)


async def test_without_its_row_nothing_is_removed(tmp_path: Path) -> None:
    work = seen_before(Counting("f2"))
    with pytest.raises(PermanentError, match="its row is not in the production table") as caught:
        await work(a_task(tmp_path))
    assert "requeue f1 from load" in caught.value.hint


async def test_a_duplicate_needs_the_row_of_the_first_file(tmp_path: Path) -> None:
    task = a_task(tmp_path)
    original = replace(task.file, id="f0", row_id="f0", status=Status.DONE)
    task = replace(task, original=original, file=replace(task.file, row_seen_at=None))
    assert (await seen_before(Counting("f0"))(task)).detail == "cleaned"
    with pytest.raises(PermanentError, match="the row of f0 is not"):
        await seen_before(Counting("f1"))(task)


async def test_while_the_warehouse_is_down_nothing_is_removed(tmp_path: Path) -> None:
    warehouse = Counting("f1")
    warehouse.down = True
    with pytest.raises(DependencyDownError):
        await seen_before(warehouse)(a_task(tmp_path))


async def test_the_rows_of_many_files_are_looked_for_together(tmp_path: Path) -> None:
    warehouse = Counting(*(f"f{number}" for number in range(100)))
    work = seen_before(warehouse)
    await asyncio.gather(*(work(a_task(tmp_path, number)) for number in range(100)))
    assert warehouse.looks < 5


async def test_rows_of_many_are_looked_for_while_few_are_cleaned_up(tmp_path: Path) -> None:
    warehouse = Counting(*(f"f{number}" for number in range(100)))
    cleaning = CountedWork(CLEANED)
    work = seen_before(warehouse, cleaning)
    await asyncio.gather(*(work(a_task(tmp_path, number)) for number in range(100)))
    assert cleaning.most == 4
    assert warehouse.looks < 5


async def test_what_waited_long_for_its_turn_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_seen, "PROOF_IS_FRESH_FOR", 0.0)
    warehouse, was_proven = Counting("f1"), []

    async def noting(task: Task) -> Result:
        was_proven.append(task.is_proven)
        return await cleaned(task)

    result = await seen_before(warehouse, noting)(a_task(tmp_path, is_proven=True))
    assert (warehouse.looks, was_proven, result.leaned_on) == (1, [False], ("warehouse",))
