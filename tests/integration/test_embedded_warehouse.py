"""The embedded warehouse on a real directory: its layout, its readers, its faults."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pyarrow import parquet as pq

from backupd.config.sections import WarehouseSection
from backupd.core.errors import (
    DependencyDownError,
    PermanentError,
    RewindError,
    TransientError,
)
from backupd.core.records import new_id
from backupd.core.rows import RowKey
from backupd.warehouse import open_warehouse
from backupd.warehouse.embedded import warehouse as embedded
from support.rows import COLUMNS, NOON, new_batch, production_row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from backupd.core.ports import Warehouse
    from backupd.core.records import Batch
    from backupd.core.rows import ProductionRow


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "warehouse"


@pytest.fixture
async def warehouse(root: Path) -> AsyncIterator[Warehouse]:
    section = WarehouseSection(kind="embedded", columns=COLUMNS, embedded_root=root)
    opened = open_warehouse(section)
    yield opened
    await opened.aclose()


def files_below(directory: Path) -> list[str]:
    return sorted(
        str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()
    )


async def test_a_batch_is_a_file_a_date_named_by_its_id(warehouse: Warehouse, root: Path) -> None:
    batch, rows = new_batch(4, days=2)
    staged = await warehouse.load(batch, rows)
    expected = [
        f"file_date=2026-11-23/{batch.id}.parquet",
        f"file_date=2026-11-24/{batch.id}.parquet",
    ]
    assert staged == str(root / "staging" / batch.id)
    assert files_below(root / "staging" / batch.id) == expected
    assert files_below(root / "production") == []
    await warehouse.merge(batch, rows)
    assert files_below(root / "production") == expected
    assert list((root / "staging").iterdir()) == []


async def test_another_reader_finds_the_rows_by_partition(warehouse: Warehouse, root: Path) -> None:
    batch, rows = new_batch(4, days=2)
    await warehouse.load(batch, rows)
    await warehouse.merge(batch, rows)
    table = pq.read_table(root / "production", filters=[("file_date", "=", "2026-11-24")])
    assert table.column_names == list(COLUMNS)
    assert set(table["file_id"].to_pylist()) == {rows[1].file_id, rows[3].file_id}
    assert str(table["file_timestamp"][0].as_py()) == "2026-11-24 12:00:00.123456"


async def test_columns_and_partition_have_the_names_of_the_table(root: Path) -> None:
    columns = COLUMNS | {"file_id": "id", "file_date": "day"}
    section = WarehouseSection(kind="embedded", columns=columns, embedded_root=root)
    warehouse = open_warehouse(section)
    batch, rows = new_batch()
    await warehouse.load(batch, rows)
    assert await warehouse.merge(batch, rows) == Counter(row.file_id for row in rows)
    assert await warehouse.find([RowKey(rows[0].file_id, rows[0].file_date)]) == {rows[0].file_id}
    assert files_below(root / "production") == [f"day=2026-11-23/{batch.id}.parquet"]
    assert pq.read_table(root / "production").column_names == list(columns.values())
    await warehouse.aclose()


async def test_a_reader_sees_whole_files_at_any_moment(warehouse: Warehouse, root: Path) -> None:
    await warehouse.merge(*await loaded(warehouse))
    counts: list[int] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            counts.append(pq.read_table(root / "production", columns=["file_id"]).num_rows)

    reader = asyncio.create_task(asyncio.to_thread(read))
    for _ in range(20):
        await warehouse.merge(*await loaded(warehouse))
    done.set()
    await reader
    assert counts == sorted(counts)
    assert all(count % 50 == 0 for count in counts)


async def loaded(warehouse: Warehouse) -> tuple[Batch, list[ProductionRow]]:
    batch, rows = new_batch(50)
    await warehouse.load(batch, rows)
    return batch, rows


async def test_a_merge_that_ended_between_two_dates_goes_on(
    warehouse: Warehouse, root: Path
) -> None:
    batch, rows = new_batch(4, days=2)
    await warehouse.load(batch, rows)
    name = f"file_date=2026-11-23/{batch.id}.parquet"
    (root / "production" / name).parent.mkdir()
    (root / "staging" / batch.id / name).rename(root / "production" / name)
    assert await warehouse.merge(batch, rows) == Counter(row.file_id for row in rows)
    assert await warehouse.merge(batch, rows) == Counter(row.file_id for row in rows)
    assert len(files_below(root / "production")) == 2


async def test_what_was_renamed_but_not_flushed_is_flushed_by_the_next_try(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, rows = new_batch()
    await warehouse.load(batch, rows)
    synced: list[str] = []
    real = os.fsync

    def cut(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        synced.append(name)
        if name == "file_date=2026-11-23" and synced.count(name) == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", cut)
    with pytest.raises(DependencyDownError):
        await warehouse.merge(batch, rows)
    assert await warehouse.merge(batch, rows) == Counter(row.file_id for row in rows)
    assert synced.count("file_date=2026-11-23") == 2


async def test_leftovers_of_a_cut_load_are_replaced(warehouse: Warehouse, root: Path) -> None:
    batch, rows = new_batch()
    leftover = root / "staging" / batch.id / "file_date=1999-12-31" / f".{batch.id}.parquet.tmp"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half a fi")
    with pytest.raises(RewindError):
        await warehouse.merge(batch, rows)
    await warehouse.load(batch, rows)
    assert not leftover.exists()
    assert await warehouse.merge(batch, rows) == Counter(row.file_id for row in rows)


async def test_a_cut_load_is_swept(warehouse: Warehouse, root: Path) -> None:
    stale = root / "staging" / new_id(NOON)
    (stale / "file_date=1999-12-31").mkdir(parents=True)
    (stale / "file_date=1999-12-31" / ".x.parquet.tmp").touch()
    assert await warehouse.sweep([]) == [str(stale)]
    assert not stale.exists()


async def test_a_sweep_leaves_what_is_not_ours(warehouse: Warehouse, root: Path) -> None:
    foreign = root / "staging" / "notes"
    foreign.mkdir(parents=True)
    assert await warehouse.sweep([]) == []
    assert foreign.exists()


@pytest.mark.parametrize("name", ["", ".", "..", "../production", "0123456789abcdef012/"])
async def test_nothing_but_a_batchs_directory_is_ever_discarded(
    warehouse: Warehouse, name: str
) -> None:
    batch, rows = new_batch()
    await warehouse.load(batch, rows)
    with pytest.raises(ValueError, match="not a valid batch id"):
        await warehouse.discard(name)
    assert await warehouse.merge(batch, rows)


async def test_a_date_that_is_none_parks_its_file(warehouse: Warehouse) -> None:
    batch, rows = new_batch()
    bad = production_row(batch.id, name="bad.csv", at=-60_000_000_000)
    with pytest.raises(PermanentError, match=r"bad\.csv"):
        await warehouse.load(batch, [*rows, bad])


async def test_a_damaged_file_is_never_taken_for_an_empty_one(
    warehouse: Warehouse, root: Path
) -> None:
    batch, rows = new_batch()
    await warehouse.load(batch, rows)
    await warehouse.merge(batch, rows)
    damaged = root / "production" / "file_date=2026-11-23" / "other.parquet"
    damaged.write_bytes(b"PAR1")
    with pytest.raises(TransientError, match=str(damaged)):
        await warehouse.find([RowKey("nowhere else", rows[0].file_date)])
    of_its_batch = RowKey(rows[0].file_id, rows[0].file_date, batch.id)
    assert await warehouse.find([of_its_batch]) == {rows[0].file_id}


@pytest.mark.parametrize(
    "code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM]
)
async def test_a_fault_of_the_disk_is_the_warehouses_and_heals(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    batch, rows = new_batch()

    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(DependencyDownError, match=os.strerror(code)) as caught:
            await warehouse.load(batch, rows)
        assert caught.value.dependency == "warehouse"
        assert caught.value.hint
        probes = await warehouse.probe()
        assert not any(probe.ok for probe in probes)
        assert all(probe.hint for probe in probes)
    await warehouse.load(batch, rows)
    assert await warehouse.merge(batch, rows) == Counter(row.file_id for row in rows)


async def test_a_missing_file_system_is_told_before_anything_is_taken_for_missing(
    tmp_path: Path,
) -> None:
    section = WarehouseSection(
        kind="embedded", columns=COLUMNS, embedded_root=tmp_path / "gone" / "warehouse"
    )
    warehouse = open_warehouse(section)
    with pytest.raises(DependencyDownError, match="gone"):
        await warehouse.find([RowKey("x", "2026-11-23")])
    await warehouse.aclose()


async def test_a_warehouse_that_vanished_is_not_taken_for_a_new_one(
    warehouse: Warehouse, root: Path
) -> None:
    batch, rows = new_batch()
    await warehouse.load(batch, rows)
    await warehouse.merge(batch, rows)
    mounted = root.rename(root.with_name("elsewhere"))
    root.mkdir()
    with pytest.raises(DependencyDownError, match="production") as caught:
        await warehouse.find([RowKey(rows[0].file_id, rows[0].file_date)])
    assert "mounted" in caught.value.hint
    root.rmdir()
    mounted.rename(root)
    assert await warehouse.find([RowKey(rows[0].file_id, rows[0].file_date)])


async def test_a_disk_that_hangs_is_down_and_the_next_call_waits_its_turn(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, rows = new_batch()
    hangs = threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(embedded, "ANSWER_WITHIN", 0.05)
        patch.setattr(embedded, "write_whole", lambda *_: hangs.wait())
        with pytest.raises(DependencyDownError, match="did not answer"):
            await warehouse.load(batch, rows)
    hangs.set()
    await warehouse.load(batch, rows)
    assert await warehouse.merge(batch, rows) == Counter(row.file_id for row in rows)
